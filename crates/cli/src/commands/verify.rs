//! `verify`: hash blobs again and check that all documents agree; with `--repair`, build bad blobs again.

use std::{ops::Range, path::Path, process::ExitCode, sync::Arc};

use longshore_manifest::{
    Digest, ModelName, Store,
    store::{self, Problem, VerifyOptions, VerifyOutcome},
};
use longshore_packer::{ImportanceFile, RepairOptions, RepairOutcome, Source, SourceError, SourceOptions, Unrepaired};
use serde::Serialize;

use crate::{
    advice::{Advice, NO},
    args::tend::Verify,
    causes::is_of_machine,
    errors::text,
    format::{plural, size},
    lines::Lines,
    printer::{Printer, VERSION},
    progress::Bar,
};

#[derive(Serialize)]
struct Report {
    version: u32,
    blobs: usize,
    bytes: u64,
    models: usize,
    /// Blobs that only the digests of their chunks were compared of; with `--fast` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_chunks: Option<usize>,
    bad: Vec<Bad>,
    /// With `--repair` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<Vec<Repaired>>,
}

#[derive(Serialize)]
struct Bad {
    digest: Option<Digest>,
    problem: String,
    /// Names that its models give it.
    names: Vec<String>,
    models: Vec<ModelName>,
    /// Where it is damaged, in bytes from its start, each range without its end; absent where that is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<[u64; 2]>,
    /// Why it was not repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_repaired: Option<String>,
    #[serde(skip)]
    hint: Option<String>,
    /// Problems of the machine, such as a failing disk, that leave the state of a blob unknown.
    #[serde(skip)]
    failure: Option<String>,
}

#[derive(Serialize)]
struct Repaired {
    digest: Digest,
    size: u64,
    problem: String,
    names: Vec<String>,
    models: Vec<ModelName>,
}

pub(super) fn run(args: Verify, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let report = match &args.repair {
        Some(source) => repaired(&args, source, store, printer)?,
        None => verify(args.names, args.fast, store, printer)?,
    };
    printer.report(&report, || human(&report))?;
    if report.bad.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let hints = if printer.is_json() { Vec::new() } else { hints(&report, store) };
    let mut failures = report.bad.iter().filter_map(|bad| bad.failure.as_deref());
    if let Some(first) = failures.next() {
        let text = match failures.count() {
            0 => first.to_owned(),
            others => format!("{first}; {others} more could not be read"),
        };
        return Err(hints.into_iter().fold(Advice::failure(text), Advice::hint).into());
    }
    for hint in &hints {
        printer.hint(hint);
    }
    Ok(ExitCode::from(NO))
}

fn verify(names: Vec<ModelName>, fast: bool, store: &Store, printer: &Printer) -> anyhow::Result<Report> {
    let bar = Bar::new(printer);
    let mut outcome = store.verify(&VerifyOptions { names, fast, chunks: false }, &bar)?;
    let bad = std::mem::take(&mut outcome.bad).into_iter().map(Bad::from).collect();
    Ok(Report { by_chunks: fast.then_some(outcome.by_chunks), ..Report::new(&outcome, bad, None) })
}

fn repair(args: &Verify, source: &Path, store: &Store, printer: &Printer) -> anyhow::Result<Report> {
    let options = RepairOptions {
        names: args.names.clone(),
        policy: args.policy.as_ref().map(super::policy::open).transpose()?,
        importance: args.importance.as_ref().map(ImportanceFile::open).transpose()?.map(Arc::new),
        threads: args.threads,
    };
    // Links may lead anywhere: bytes are kept only if they are those that the store had.
    let opening = SourceOptions { follow_links: true, ..SourceOptions::default() };
    let mut source = match Source::open_with(source, &opening) {
        Err(error @ SourceError::Adapter { .. }) => attachment(args, source, &opening, store, error)?,
        opened => opened?,
    };
    if let Some(draft) = &args.draft {
        source = source.with_draft(Source::open_with(draft, &opening)?)?;
    }
    for adapter in &args.adapter {
        source = source.with_adapter(&adapter.dir, adapter.weight, &opening.limits)?;
    }
    let RepairOutcome { repaired, left, verified, .. } = {
        let bar = Bar::new(printer);
        longshore_packer::repair(store, source, &options, &bar)?
    };
    let repaired = repaired.into_iter().map(|blob| Repaired {
        digest: blob.digest,
        size: blob.size,
        problem: blob.problem,
        names: blob.names,
        models: blob.models,
    });
    Ok(Report::new(&verified, left.into_iter().map(Bad::from).collect(), Some(repaired.collect())))
}

/// Opens an adapter, a directory or a file, for the models that are made of adapters. What is built again is the same for all bases, and
/// where the record of one is lost, the repair finds it among the models.
fn attachment(
    args: &Verify,
    dir: &Path,
    opening: &SourceOptions,
    store: &Store,
    error: SourceError,
) -> anyhow::Result<Source> {
    let names = if args.names.is_empty() { store.names()? } else { args.names.clone() };
    let known = || names.iter().find_map(|name| Some(store.model(name).ok()?.config.base?.digest));
    let is_lost = |name: &&ModelName| store.manifest(name).is_ok() && store.model(name).is_err();
    let lost = || names.iter().find(is_lost).and_then(|name| Some(store.manifest(name).ok()?.0));
    match known().or_else(lost) {
        Some(base) => Ok(Source::open_attachment(dir, base, &opening.limits)?),
        None => Err(error.into()),
    }
}

/// Repairs from a registry or from a checkpoint, whichever the source is.
fn repaired(args: &Verify, source: &Path, store: &Store, printer: &Printer) -> anyhow::Result<Report> {
    #[cfg(feature = "net")]
    if let Some(reference) = super::net::mend::registry_of(source)? {
        return from_registry(args, &reference, store, printer);
    }
    repair(args, source, store, printer)
}

/// Has bad blobs again from a registry.
#[cfg(feature = "net")]
fn from_registry(
    args: &Verify,
    reference: &longshore_registry::Reference,
    store: &Store,
    printer: &Printer,
) -> anyhow::Result<Report> {
    let bar = Bar::new(printer);
    let options = VerifyOptions { names: args.names.clone(), chunks: true, ..VerifyOptions::default() };
    let verify = || store.verify(&options, &bar);
    let mut before = verify()?;
    let of_bytes = before.bad.iter().filter(|bad| bad.problem.is_of_bytes());
    let bad: Vec<Digest> = of_bytes.filter_map(|bad| bad.digest).collect();
    if bad.is_empty() {
        let left = std::mem::take(&mut before.bad).into_iter().map(Bad::from).collect();
        return Ok(Report::new(&before, left, Some(Vec::new())));
    }
    let mended = super::net::mend::mend(reference, args.ca_cert.as_deref(), store, &bad, &bar)?;
    let mut after = verify()?;
    let repaired = before.bad.into_iter().filter(|bad| bad.problem.is_of_bytes()).filter_map(|bad| {
        let digest = bad.digest?;
        let (_, size) = *mended.blobs.iter().find(|(found, _)| *found == digest)?;
        let Bad { problem, names, models, .. } = Bad::from(bad);
        Some(Repaired { digest, size, problem, names, models })
    });
    let repaired = repaired.collect();
    let left = std::mem::take(&mut after.bad).into_iter().map(|bad| {
        let is_of_bytes = bad.problem.is_of_bytes();
        let wrong = mended.wrong.iter().find(|(digest, _)| Some(*digest) == bad.digest);
        let why = match wrong {
            Some((_, found)) => Some(format!("{reference} sends bytes with the digest {found}")),
            None => is_of_bytes.then(|| format!("{reference} does not have it")),
        };
        Bad { not_repaired: why, ..Bad::from(bad) }
    });
    let left = left.collect();
    Ok(Report::new(&after, left, Some(repaired)))
}

impl Report {
    fn new(outcome: &VerifyOutcome, bad: Vec<Bad>, repaired: Option<Vec<Repaired>>) -> Self {
        let VerifyOutcome { blobs, bytes, models, .. } = *outcome;
        Self { version: VERSION, blobs, bytes, models, by_chunks: None, bad, repaired }
    }
}

impl From<store::Bad> for Bad {
    fn from(bad: store::Bad) -> Self {
        let store::Bad { digest, problem, names, models, .. } = bad;
        let is_failure = problem.system_error().is_some_and(|error| is_of_machine(error));
        let ranges = match &problem {
            Problem::Content { ranges, .. } => ranges.iter().map(|&Range { start, end }| [start, end]).collect(),
            _ => Vec::new(),
        };
        let problem = problem.to_string();
        let failure = is_failure.then(|| problem.clone());
        Self { digest, problem, names, models, ranges, not_repaired: None, hint: None, failure }
    }
}

impl From<Unrepaired> for Bad {
    fn from(left: Unrepaired) -> Self {
        let Unrepaired { bad, why, hint, .. } = left;
        let (is_failure, why, bad) = (is_of_machine(&why), text(&why), Self::from(bad));
        let failure = bad.failure.or_else(|| is_failure.then(|| why.clone()));
        Self { not_repaired: Some(why), hint, failure, ..bad }
    }
}

fn human(report: &Report) -> Lines {
    let mut lines = Lines::new();
    report.bad.iter().for_each(|bad| lines.line(&bad.line()));
    let mut repaired = String::new();
    if let Some(blobs) = &report.repaired {
        for blob in blobs {
            let Repaired { digest, problem, names, models, .. } = blob;
            lines.line(&format!("{digest}  {}repaired; before: {problem}  ({})", called(names), needed(models)));
        }
        repaired = format!("{} repaired, ", blobs.len());
    }
    let by_chunks = match report.by_chunks {
        None => String::new(),
        Some(0) => " (none of them has digests of chunks)".to_owned(),
        Some(some) => format!(" ({some} of them by the digests of their chunks alone)"),
    };
    let checked = format!(
        "{} in {} checked{by_chunks}, {}",
        size(report.bytes),
        plural(report.blobs, "blob"),
        plural(report.models, "model")
    );
    match report.bad.len() {
        0 => lines.line(&format!("{checked}: {repaired}all good")),
        bad => lines.line(&format!("{checked}: {repaired}{bad} bad")),
    }
    lines
}

impl Bad {
    fn line(&self) -> String {
        let digest = self.digest.map_or_else(String::new, |digest| format!("{digest}  "));
        let why = self.not_repaired.as_ref().map(|why| format!("; not repaired: {why}")).unwrap_or_default();
        format!("{digest}{}{}{why}  ({})", called(&self.names), self.problem, needed(&self.models))
    }
}

/// Names that models give a blob, if they have any.
fn called(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [name] => format!("{name}  "),
        [name, others @ ..] => format!("{name} and {} more  ", others.len()),
    }
}

fn needed(models: &[ModelName]) -> String {
    let models: Vec<String> = models.iter().map(ToString::to_string).collect();
    if models.is_empty() { "no model needs it".into() } else { format!("needed by {}", models.join(", ")) }
}

fn hints(report: &Report, store: &Store) -> Vec<String> {
    if report.repaired.is_some() {
        let mut hints: Vec<String> = report.bad.iter().filter_map(|bad| bad.hint.clone()).collect();
        hints.sort_unstable();
        hints.dedup();
        return hints;
    }
    let is_needed = |bad: &&Bad| bad.digest.is_some() && !bad.models.is_empty();
    let needed = report.bad.iter().find(is_needed).filter(|_| !store.is_foreign()).map(|bad| &bad.models[0]);
    let hint = |name| format!("longshore verify {name} --repair SOURCE builds bad blobs again from what was imported");
    needed.map(hint).into_iter().collect()
}
