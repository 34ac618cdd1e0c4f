//! `push NAME REF`: a stored model into a registry.

use std::{process::ExitCode, time::Instant};

use longshore_manifest::{Digest, Store};
use longshore_registry::{Reference, push, push_plan};
use serde::Serialize;

use super::client;
use crate::{
    args::net::PushArgs,
    format::{plural, seconds, size},
    lines::Lines,
    printer::{Printer, STRONG, VERSION},
    progress::Bar,
    table::facts,
};

#[derive(Serialize)]
struct Report {
    version: u32,
    reference: String,
    digest: Digest,
    /// Digest in the registry.
    artifact: Digest,
    bytes: u64,
    moved_bytes: u64,
    reused_bytes: u64,
    seconds: f64,
}

#[derive(Serialize)]
struct Planned {
    version: u32,
    dry_run: bool,
    reference: String,
    digest: Digest,
    artifact: Digest,
    layers: usize,
    bytes: u64,
    missing: usize,
    missing_bytes: u64,
    /// Bytes of these that other repositories of the registry are known to have.
    elsewhere_bytes: u64,
}

pub(in crate::commands) fn run(args: &PushArgs, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let reference: Reference = args.reference.parse()?;
    // An unknown name is said before anything is asked of the registry.
    store.manifest(&args.name)?;
    let registry = client::registry(&reference, args.ca_cert.as_deref(), true)?;
    if args.dry_run {
        let plan = {
            let bar = Bar::new(printer);
            push_plan(&registry, store, &args.name, &bar)?
        };
        let report = Planned {
            version: VERSION,
            dry_run: true,
            reference: reference.to_string(),
            digest: plan.digest,
            artifact: plan.artifact,
            layers: plan.layers,
            bytes: plan.bytes,
            missing: plan.missing,
            missing_bytes: plan.missing_bytes,
            elsewhere_bytes: plan.elsewhere_bytes,
        };
        printer.report(&report, || {
            let there = size(plan.bytes.saturating_sub(plan.missing_bytes));
            let elsewhere = match plan.elsewhere_bytes {
                0 => String::new(),
                bytes => format!(", but for {} that other repositories there have", size(bytes)),
            };
            Lines::of(&format!(
                "would send {} in {} of {}{elsewhere}; {there} are there already; nothing was sent",
                size(plan.missing_bytes),
                plural(plan.missing, "layer"),
                plan.layers
            ))
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let pushed = {
        let bar = Bar::new(printer);
        store.steadily(&args.name, || push(&registry, store, &args.name, &bar).map_err(anyhow::Error::from))?
    };
    let report = Report {
        version: VERSION,
        reference: reference.to_string(),
        digest: pushed.digest,
        artifact: pushed.artifact,
        bytes: pushed.bytes,
        moved_bytes: pushed.moved_bytes,
        reused_bytes: pushed.reused_bytes,
        seconds: started.elapsed().as_secs_f64(),
    };
    printer.report(&report, || {
        let sent = format!("{}; {} were there already", size(report.moved_bytes), size(report.reused_bytes));
        let lines = vec![("sent", sent), ("as", report.artifact.to_string()), ("took", seconds(report.seconds))];
        let mut text = Lines::new();
        text.styled(STRONG, &report.reference, &format!("  {}", report.digest.short()));
        text.append(&facts(&lines, printer.columns()));
        text
    })?;
    Ok(ExitCode::SUCCESS)
}
