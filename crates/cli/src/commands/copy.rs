//! `copy A B`: a second name.

use std::process::ExitCode;

use longshore_manifest::{Digest, ModelName, Store};
use serde::Serialize;

use crate::{
    args::tend::Copy,
    format::{plural, size},
    lines::Lines,
    printer::{Printer, VERSION},
    progress::Bar,
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    name: &'a ModelName,
    digest: Digest,
    freed_bytes: u64,
}

pub(super) fn run(args: &Copy, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let committed = {
        // An interrupt ends the command when the copy is done, which takes no longer than cleaning up.
        let _bar = Bar::new(printer);
        store.copy(&args.from, &args.to)?
    };
    if let Some(reason) = &committed.left {
        super::gc::warn_of_left(printer, reason);
    }
    let report =
        Report { version: VERSION, name: &args.to, digest: committed.digest, freed_bytes: committed.freed_bytes };
    printer.report(&report, || {
        let mut lines = Lines::of(&format!("{} is now {} too", args.from, args.to));
        if report.freed_bytes > 0 {
            lines.line(&format!("freed {} ({})", size(report.freed_bytes), plural(committed.freed_blobs, "blob")));
        }
        lines
    })?;
    Ok(ExitCode::SUCCESS)
}
