//! `verify`: hash blobs again and check that all documents agree.

use std::process::ExitCode;

use longshore_manifest::{Digest, ModelName, Store, store::VerifyOptions};
use serde::Serialize;

use super::VERSION;
use crate::{
    args::Verify,
    errors::NO,
    format::{plural, size},
    printer::Printer,
    progress::Bar,
};

#[derive(Serialize)]
struct Report {
    version: u32,
    blobs: usize,
    bytes: u64,
    models: usize,
    bad: Vec<Bad>,
}

#[derive(Serialize)]
struct Bad {
    digest: Option<Digest>,
    problem: String,
    models: Vec<ModelName>,
}

pub(super) fn run(args: Verify, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mut options = VerifyOptions::default();
    options.names = args.names;
    let outcome = {
        let bar = Bar::new(printer);
        store.verify(&options, &bar)?
    };
    let bad = outcome.bad.iter().map(|bad| Bad {
        digest: bad.digest,
        problem: bad.problem.to_string(),
        models: bad.models.clone(),
    });
    let report = Report {
        version: VERSION,
        blobs: outcome.blobs,
        bytes: outcome.bytes,
        models: outcome.models,
        bad: bad.collect(),
    };
    printer.report(&report, || {
        let bad: String = report.bad.iter().map(line).collect();
        let checked = format!(
            "{} in {} checked, {}",
            size(report.bytes),
            plural(report.blobs, "blob"),
            plural(report.models, "model")
        );
        match report.bad.len() {
            0 => format!("{checked}: all good\n"),
            bad_count => format!("{bad}{checked}: {bad_count} bad\n"),
        }
    })?;
    if report.bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let can_import = report.bad.iter().any(|bad| bad.digest.is_some() && !bad.models.is_empty());
    if can_import && !store.is_foreign() && !printer.is_json() {
        printer.hint("importing a harmed model's source again under its name replaces its bad blobs");
    }
    Ok(ExitCode::from(NO))
}

fn line(bad: &Bad) -> String {
    let digest = bad.digest.map_or_else(String::new, |digest| format!("{digest}  "));
    let models: Vec<String> = bad.models.iter().map(ToString::to_string).collect();
    let needed =
        if models.is_empty() { "no model needs it".into() } else { format!("needed by {}", models.join(", ")) };
    format!("{digest}{}  ({needed})\n", bad.problem)
}
