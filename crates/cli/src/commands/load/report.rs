//! Report of a load: one document, of which each device fills in its part, and the lines for people that devices share.

use longshore_manifest::weights;
use serde::Serialize;

use crate::{
    args::load::Load,
    format::{plural, seconds, size, three_digits, to_f64},
    lines::Lines,
    printer::VERSION,
};

#[derive(Serialize)]
pub(super) struct Report {
    version: u32,
    pub(super) device: String,
    pub(super) tensors: usize,
    pub(super) bytes: u64,
    /// One per repeat.
    pub(super) seconds: Vec<f64>,
    #[serde(flatten)]
    pub(super) start: Option<Start>,
    #[serde(rename = "limit")]
    pub(super) bound: Bound,
    /// Cold bytes of the first load; absent where all bytes were in the page cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cold: Option<Cold>,
    /// Verified blobs of the last load; absent where the device does not count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) verified: Option<Verified>,
    /// Bytes of the blobs that were read into memory instead of mapped; absent if all were mapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) read_bytes: Option<u64>,
    /// Bytes of memory for what was cut into pieces or converted; absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) made_bytes: Option<u64>,
    /// Remarks about parts of the model that were not recognised.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
    /// In bytes; absent where the platform does not say.
    pub(super) peak_rss: Option<u64>,
}

/// Costs of the first load on a device only.
#[derive(Serialize)]
pub(super) struct Start {
    /// The median of all loads but the first, which makes the ring of pinned memory too; absent where there is no other.
    pub(super) steady_seconds: Option<f64>,
    /// To find the driver and make the device's context, which no load counts.
    pub(super) context_seconds: f64,
}

/// Bound of a load's speed, measured in the same run.
#[derive(Serialize)]
pub(super) struct Bound {
    what: &'static str,
    /// Not a number, and null in the document, where it could not be measured.
    pub(super) gb_per_s: f64,
    /// The least of all repeats; absent where it is a rate that is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

/// Bytes that were read past the page cache.
#[derive(Serialize)]
pub(super) struct Cold {
    pub(super) bytes: u64,
    /// Bytes of these that were read many reads at once; the others were read one read at a time.
    pub(super) io_uring_bytes: u64,
}

#[derive(Serialize)]
pub(super) struct Verified {
    pub(super) blobs: usize,
    /// Blobs of which only a part was wanted, so that they could not be checked.
    pub(super) partly_read: usize,
    /// Blobs whose chunks were hashed, and not the whole; absent where there were none.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) by_chunks: usize,
}

impl From<weights::Verified> for Verified {
    fn from(weights::Verified { blobs, by_chunks, .. }: weights::Verified) -> Self {
        Self { blobs, partly_read: 0, by_chunks }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Report {
    /// A report before the first load; `bound` names the measurement of the bound.
    pub(super) fn new(device: impl Into<String>, bound: &'static str) -> Self {
        Self {
            version: VERSION,
            device: device.into(),
            tensors: 0,
            bytes: 0,
            seconds: Vec::new(),
            start: None,
            bound: Bound { what: bound, gb_per_s: f64::NAN, seconds: None },
            cold: None,
            verified: None,
            read_bytes: None,
            made_bytes: None,
            notes: Vec::new(),
            peak_rss: None,
        }
    }

    /// Notes how long it took to do what the bound measures, with as many bytes as the last load.
    pub(super) fn note_bound(&mut self, seconds: f64) {
        let least = self.bound.seconds.map_or(seconds, |least| least.min(seconds));
        (self.bound.seconds, self.bound.gb_per_s) = (Some(least), rate(self.bytes, least));
    }

    /// The loaded model, and its present state.
    pub(super) fn heading(&self, name: &str, place: &str) -> Lines {
        Lines::of(&format!("{name}: {}, {} {place}", plural(self.tensors, "tensor"), size(self.bytes)))
    }

    /// Time of each load, and the bound beside it.
    pub(super) fn timings(&self, lines: &mut Lines, args: &Load) {
        let loaded = if args.verify { "loaded and verified" } else { "loaded" };
        let line = |time| format!("{} ({} GB/s)", seconds(time), three_digits(rate(self.bytes, time)));
        for time in &self.seconds {
            lines.line(&format!("  {loaded} in {}", line(*time)));
        }
        self.limit(lines);
    }

    /// Number of blobs that were verified by the digests of their chunks, if any.
    pub(super) fn chunks(&self, lines: &mut Lines) {
        if let Some(Verified { blobs, by_chunks, .. }) =
            self.verified.as_ref().filter(|verified| verified.by_chunks > 0)
        {
            let of = plural(*blobs, "blob");
            lines.line(&format!("  verified  {of}, {by_chunks} of them by the digests of their chunks alone"));
        }
    }

    /// The bound.
    pub(super) fn limit(&self, lines: &mut Lines) {
        let Bound { what, gb_per_s, seconds: least } = &self.bound;
        let rate = format!("{} GB/s", three_digits(*gb_per_s));
        let found = match least {
            Some(least) => format!("{} ({rate})", seconds(*least)),
            None if gb_per_s.is_nan() => "could not be measured".to_owned(),
            None => rate,
        };
        lines.line(&format!("  limit     {found}: {what}"));
    }

    /// Memory that the load took, with a remark.
    pub(super) fn memory(&self, lines: &mut Lines, rest: &str) {
        if let Some(peak) = self.peak_rss {
            lines.line(&format!("  peak memory {}{rest}", size(peak)));
        }
    }
}

pub(super) fn rate(bytes: u64, seconds: f64) -> f64 {
    to_f64(bytes) / 1e9 / seconds.max(1e-9)
}

/// The most memory that the process has held at once, mapped pages that were touched included, in bytes.
pub(super) fn peak_rss() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
