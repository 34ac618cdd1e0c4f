//! `rm NAME…`: remove names, and the blobs that only they reach.

use std::process::ExitCode;

use longshore_manifest::{ModelName, Progress as _, Store};
use serde::Serialize;

use crate::{
    advice::Advice,
    args::tend::Rm,
    errors,
    format::{plural, size},
    hints,
    lines::Lines,
    printer::{Printer, VERSION},
    progress::Bar,
};

#[derive(Serialize)]
struct Report {
    version: u32,
    removed: Vec<ModelName>,
    freed_blobs: usize,
    freed_bytes: u64,
    kept_blobs: usize,
    kept_bytes: u64,
}

/// The attachments of a model that has no other name, as far as they can be read.
fn attachments(store: &Store, name: &ModelName) -> Vec<ModelName> {
    let digest = |name: &ModelName| Some(store.manifest(name).ok()?.0);
    let Some(of) = digest(name) else { return Vec::new() };
    let found = store.attachments(&of).unwrap_or_default();
    let is_other = |other: &ModelName| other != name && digest(other) == Some(of);
    if found.is_empty() || store.names().is_ok_and(|names| names.iter().any(is_other)) { Vec::new() } else { found }
}

pub(super) fn run(args: &Rm, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mut report =
        Report { version: VERSION, removed: Vec::new(), freed_blobs: 0, freed_bytes: 0, kept_blobs: 0, kept_bytes: 0 };
    let mut failed = 0;
    // An interrupt ends the command between two names, so that what a name frees is freed.
    let bar = Bar::new(printer);
    for (at, name) in args.names.iter().enumerate() {
        if bar.cancelled() {
            let left = plural(args.names.len() - at, "name");
            failed = errors::report(&Advice::interrupted(format!("stopped: {left} not removed")).into());
            break;
        }
        let attachments = attachments(store, name);
        match store.remove(name) {
            Ok(removed) => {
                report.freed_blobs += removed.blobs.len();
                report.freed_bytes += removed.bytes();
                report.kept_blobs += removed.in_use.len();
                report.kept_bytes += removed.in_use.iter().map(|(_, size)| *size).sum::<u64>();
                report.removed.push(name.clone());
                let left: Vec<_> =
                    attachments.iter().filter(|name| !args.names.contains(name)).map(ModelName::to_string).collect();
                if !left.is_empty() {
                    printer.warn(&format!(
                        "attachments of {name} are left, and of no use without it: {}",
                        left.join(", ")
                    ));
                }
                if let Some(reason) = removed.left {
                    printer.warn(&format!(
                        "the blobs of {name} were left for a later `longshore gc`: {}",
                        errors::text(&reason)
                    ));
                    for hint in hints::of(&reason.into()) {
                        printer.hint(&hint);
                    }
                }
            }
            // The others are removed all the same.
            Err(error) => failed = failed.max(errors::report(&error.into())),
        }
    }
    printer.report(&report, || {
        let mut lines = Lines::new();
        for name in &report.removed {
            lines.line(&format!("removed {name}"));
        }
        if !report.removed.is_empty() {
            lines.line(&format!("freed {} ({})", size(report.freed_bytes), plural(report.freed_blobs, "blob")));
        }
        if report.kept_blobs > 0 {
            let (blobs, bytes) = (plural(report.kept_blobs, "blob"), size(report.kept_bytes));
            lines.line(&format!("kept {blobs}, {bytes}, needed by a running import"));
        }
        lines
    })?;
    Ok(ExitCode::from(failed))
}
