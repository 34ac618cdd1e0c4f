//! `copy A B`: a second name.

use std::process::ExitCode;

use longshore_manifest::{Digest, ModelName, Store};
use serde::Serialize;

use super::VERSION;
use crate::{args::Copy, printer::Printer};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    name: &'a ModelName,
    digest: Digest,
}

pub(super) fn run(args: &Copy, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let committed = store.copy(&args.from, &args.to)?;
    let report = Report { version: VERSION, name: &args.to, digest: committed.digest };
    printer.report(&report, || format!("{} is now {} too\n", args.from, args.to))?;
    Ok(ExitCode::SUCCESS)
}
