//! `experts plan NAME`, `experts replay TRACE`: which experts belong where, and what a cache would hit.

mod plan;
mod replay;
mod trace;

use std::process::ExitCode;

use longshore_manifest::Store;

use crate::{args::experts::ExpertsVerb, printer::Printer};

pub(super) fn run(
    verb: &ExpertsVerb,
    store: impl FnOnce() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    match verb {
        ExpertsVerb::Plan(args) => plan::run(args, store, printer),
        ExpertsVerb::Replay(args) => replay::run(args, printer),
    }
}
