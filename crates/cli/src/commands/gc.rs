//! `gc`: delete what no name reaches.

use std::process::ExitCode;

use longshore_manifest::{
    Digest, Store,
    store::{GcError, GcOptions, GcOutcome},
};
use serde::Serialize;

use crate::{
    args::tend::Gc,
    duration, errors,
    format::{plural, size},
    lines::Lines,
    printer::{Printer, VERSION},
    progress::Bar,
};

#[derive(Serialize)]
struct Report {
    version: u32,
    dry_run: bool,
    blobs: Vec<Blob>,
    temporary_bytes: u64,
    /// Bytes of unfinished pulls, with `--pulls`.
    abandoned_bytes: u64,
    freed_bytes: u64,
    kept_blobs: usize,
    kept_bytes: u64,
}

#[derive(Serialize)]
struct Blob {
    digest: Digest,
    size: u64,
}

pub(super) fn run(args: &Gc, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let abandoned_bytes = abandon(args, store, printer)?;
    let outcome = {
        let bar = Bar::new(printer);
        store.gc(&GcOptions { dry_run: args.dry_run, grace: args.grace }, &bar)?
    };
    if let Some(reason) = &outcome.left {
        printer.warn(&format!("not all that interrupted imports left is removed: {}", errors::text(reason)));
    }
    let report = Report {
        version: VERSION,
        dry_run: args.dry_run,
        blobs: outcome.blobs.iter().map(|&(digest, size)| Blob { digest, size }).collect(),
        temporary_bytes: outcome.temporary_bytes,
        abandoned_bytes,
        freed_bytes: outcome.bytes() + abandoned_bytes,
        kept_blobs: outcome.young.len() + outcome.in_use.len(),
        kept_bytes: outcome.young_bytes() + in_use_bytes(&outcome),
    };
    printer.report(&report, || {
        let mut lines = Lines::new();
        if args.dry_run || printer.is_verbose() {
            outcome.blobs.iter().for_each(|(digest, bytes)| lines.line(&format!("{digest}  {}", size(*bytes))));
        }
        let verb = if args.dry_run { "would free" } else { "freed" };
        let blobs = plural(outcome.blobs.len(), "blob");
        let and = match outcome.temporary_bytes {
            0 => String::new(),
            left => format!(", and {} that interrupted imports left", size(left)),
        };
        let pulls = match abandoned_bytes {
            0 => String::new(),
            bytes => format!(", and {} of unfinished pulls", size(bytes)),
        };
        lines.line(&format!("{verb} {} ({blobs}{and}{pulls})", size(outcome.bytes() + abandoned_bytes)));
        if !outcome.young.is_empty() {
            let (blobs, bytes) = (plural(outcome.young.len(), "blob"), size(outcome.young_bytes()));
            let grace = duration::text(args.grace);
            lines.line(&format!("kept {blobs}, {bytes}, younger than {grace}; --grace 0s deletes such blobs too"));
        }
        if !outcome.in_use.is_empty() {
            let (blobs, bytes) = (plural(outcome.in_use.len(), "blob"), size(in_use_bytes(&outcome)));
            lines.line(&format!("kept {blobs}, {bytes}, needed by a running import"));
        }
        lines
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Gives up the unfinished pulls that no process works on, if that was asked for. Returns the bytes of their files and blobs.
fn abandon(args: &Gc, store: &Store, printer: &Printer) -> anyhow::Result<u64> {
    if !args.pulls {
        return Ok(0);
    }
    let mut freed = 0;
    for pull in store.pulls()? {
        if pull.is_running {
            printer.warn(&format!("another process is pulling {}", pull.record.reference));
        } else if args.dry_run {
            freed += pull.kept_bytes;
        } else {
            let (removed, bytes) = store.abandon_pull(&pull)?;
            freed += removed.bytes() + bytes;
        }
    }
    Ok(freed)
}

fn in_use_bytes(outcome: &GcOutcome) -> u64 {
    outcome.in_use.iter().map(|(_, size)| *size).sum()
}

/// Says that blobs that nobody needs stay: no reason for a command to fail.
pub(super) fn warn_of_left(printer: &Printer, reason: &GcError) {
    printer.warn(&format!("blobs that nobody needs were left for a later `longshore gc`: {}", errors::text(reason)));
}
