//! `copy A B`: a second name.

use std::process::ExitCode;

use longshore_manifest::{Digest, ModelName, Store};
use serde::Serialize;

use crate::{
    args::Copy,
    format::{plural, size},
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
        let freed = match report.freed_bytes {
            0 => String::new(),
            bytes => format!("freed {} ({})\n", size(bytes), plural(committed.freed_blobs, "blob")),
        };
        format!("{} is now {} too\n{freed}", args.from, args.to)
    })?;
    Ok(ExitCode::SUCCESS)
}
