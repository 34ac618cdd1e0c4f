//! Fills memory: small jobs that threads take one by one.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::index;
#[cfg(feature = "decode")]
use super::{blocks::MapBlocks, decode::Decode};
use crate::{
    Digest, Progress, parallel,
    weights::{
        BlobBytes, Source, WeightsError,
        plan::{Cast, Extent, PartView, View},
    },
};

/// Most bytes that one job fills.
pub(super) const CHUNK: u64 = 1 << 20;

/// One job: memory to fill, and from what.
pub(super) struct Job<'a> {
    pub(super) tensor: &'a str,
    /// File that is read.
    pub(super) digest: Digest,
    pub(super) work: Work<'a>,
    pub(super) out: &'a mut [u8],
}

pub(super) enum Work<'a> {
    Copy {
        bytes: &'a BlobBytes,
        extent: Extent,
        cast: Option<Cast>,
    },
    #[cfg(feature = "decode")]
    Decode(Decode<'a>),
    /// Blocks that become a scheme's codes, which are the job's `out`.
    #[cfg(feature = "decode")]
    Blocks(MapBlocks<'a>),
}

/// Adds jobs that fill `out` with the bytes of a part.
pub(super) fn copies<'a>(
    view: &'a View,
    part: &'a PartView,
    bytes: &'a BlobBytes,
    mut out: &'a mut [u8],
    jobs: &mut Vec<Job<'a>>,
) {
    let cast = part.origin.cast;
    let (before, after) = cast.map_or((1, 1), Cast::widths);
    // A multiple of every element's width.
    let step = CHUNK / after * before;
    for extent in &part.origin.extents {
        let mut done = 0;
        while done < extent.len() {
            let next = (done + step).min(extent.len());
            for extent in extent.slice(done, next) {
                let (mine, rest) = std::mem::take(&mut out).split_at_mut(index(extent.len() / before * after));
                out = rest;
                let work = Work::Copy { bytes, extent, cast };
                jobs.push(Job { tensor: &view.name, digest: part.origin.digest, work, out: mine });
            }
            done = next;
        }
    }
}

/// Runs the jobs on all threads of the rayon pool.
pub(super) fn run(source: &Source, jobs: Vec<Job<'_>>, progress: &dyn Progress) -> Result<(), WeightsError> {
    let (jobs, failed) = (Mutex::new(jobs.into_iter()), AtomicBool::new(false));
    let work = || {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(job) = job.filter(|_| !failed.load(Ordering::Relaxed)) else { return Ok(()) };
            let len = job.out.len() as u64;
            let (tensor, digest) = (job.tensor, job.digest);
            let outcome = if progress.cancelled() { Err(WeightsError::Cancelled) } else { Ok(()) };
            let outcome = outcome.and_then(|()| {
                job.run().map_err(|error| WeightsError::Read {
                    tensor: tensor.to_owned(),
                    path: source.path(&digest),
                    source: error,
                })
            });
            if outcome.is_err() {
                failed.store(true, Ordering::Relaxed);
                return outcome;
            }
            progress.advance(len);
        }
    };
    parallel::on_all_threads(work).into_iter().collect()
}

impl Job<'_> {
    fn run(self) -> io::Result<()> {
        match self.work {
            Work::Copy { bytes, extent, cast } => {
                populate(bytes, extent.offset, extent.end())?;
                let run = index(extent.run);
                let share = self.out.len() / index(extent.count).max(1);
                for (number, out) in (0..extent.count).zip(self.out.chunks_exact_mut(share.max(1))) {
                    let from = index(extent.offset + number * extent.stride);
                    let from = &bytes[from..from + run];
                    match cast {
                        None => out.copy_from_slice(from),
                        #[cfg(feature = "decode")]
                        Some(cast) => cast.convert(from, out),
                        #[cfg(not(feature = "decode"))]
                        Some(_) => unreachable!("BUG: a build that converts nothing has planned to convert"),
                    }
                }
                Ok(())
            }
            #[cfg(feature = "decode")]
            Work::Decode(decode) => decode.run(self.out),
            #[cfg(feature = "decode")]
            Work::Blocks(blocks) => blocks.run(self.out),
        }
    }
}

/// Has the system load the pages of a range of a file, so that one that is not to be had is an error and not a signal.
pub(in super::super) fn populate(bytes: &BlobBytes, start: u64, end: u64) -> io::Result<()> {
    /// A multiple of the size of every page.
    const PAGE: usize = 64 << 10;
    let start = index(start) / PAGE * PAGE;
    bytes.populate(start, index(end) - start)
}
