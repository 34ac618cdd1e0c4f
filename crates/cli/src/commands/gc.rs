//! `gc`: delete what no name reaches.

use std::{fmt::Write as _, process::ExitCode};

use longshore_manifest::{Digest, Store};
use serde::Serialize;

use super::VERSION;
use crate::{
    args::Gc,
    format::{plural, size},
    printer::Printer,
};

#[derive(Serialize)]
struct Report {
    version: u32,
    dry_run: bool,
    blobs: Vec<Blob>,
    temporary_bytes: u64,
    freed_bytes: u64,
}

#[derive(Serialize)]
struct Blob {
    digest: Digest,
    size: u64,
}

pub(super) fn run(args: &Gc, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let outcome = store.gc(args.dry_run)?;
    let report = Report {
        version: VERSION,
        dry_run: args.dry_run,
        blobs: outcome.blobs.iter().map(|&(digest, size)| Blob { digest, size }).collect(),
        temporary_bytes: outcome.temporary_bytes,
        freed_bytes: outcome.bytes(),
    };
    printer.report(&report, || {
        let mut text = String::new();
        if args.dry_run || printer.is_verbose() {
            text.extend(outcome.blobs.iter().map(|(digest, bytes)| format!("{digest}  {}\n", size(*bytes))));
        }
        let verb = if args.dry_run { "would free" } else { "freed" };
        let blobs = plural(outcome.blobs.len(), "blob");
        let _ = match outcome.temporary_bytes {
            0 => writeln!(text, "{verb} {} ({blobs})", size(outcome.bytes())),
            left => writeln!(
                text,
                "{verb} {} ({blobs}, and {} that interrupted imports left)",
                size(outcome.bytes()),
                size(left)
            ),
        };
        text
    })?;
    Ok(ExitCode::SUCCESS)
}
