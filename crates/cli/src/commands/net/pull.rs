//! `pull REF [NAME]`: a model into the store.

use std::{process::ExitCode, time::Instant};

use longshore_hub::{Hub, HubOptions, HubReference, Ollama, Remote, Selection, pull_ollama};
use longshore_manifest::{Digest, ModelName, Store};
use longshore_packer::{ImportOptions, PlanOptions};
use longshore_registry::{PullOptions, Reference, pull, pull_plan};
use serde::Serialize;

use super::{client, reference::Place};
use crate::{
    advice::Advice,
    args::Quantize,
    format::{plural, seconds, size},
    lines::Lines,
    net_args::PullArgs,
    printer::{Printer, STRONG, VERSION},
    progress::Bar,
    table::facts,
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    reference: String,
    name: &'a ModelName,
    digest: Digest,
    bytes: u64,
    moved_bytes: u64,
    reused_bytes: u64,
    /// Commit of a hub's repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    seconds: f64,
}

#[derive(Serialize)]
struct Planned<'a> {
    version: u32,
    dry_run: bool,
    reference: String,
    name: &'a ModelName,
    /// Digest of the model, which a registry knows before.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    bytes: u64,
    missing_bytes: u64,
    /// Paths and bytes of a hub's files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<(String, u64)>,
}

pub(in crate::commands) fn run(args: &PullArgs, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let place = Place::parse(&args.reference, args.revision.as_deref())?;
    if args.abandon {
        return abandon(&place, args, store, printer);
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => place.name()?,
    };
    match &place {
        Place::Registry(reference) => from_registry(args, reference, &name, store, printer),
        Place::Hub(reference) => from_hub(args, reference, &name, store, printer),
        Place::Ollama(model) => from_ollama(args, model, &name, store, printer),
    }
}

/// Says that a name which the user did not write is taken.
fn taken(name: &ModelName) -> Advice {
    Advice::input(format!("{name} is another model's name in the store"))
        .hint(format!("write a name after the reference; {name} itself replaces that model"))
}

fn from_registry(
    args: &PullArgs,
    reference: &Reference,
    name: &ModelName,
    store: &Store,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let is_selected =
        args.quantize.is_some() || args.policy.is_some() || !args.include.is_empty() || !args.exclude.is_empty();
    if is_selected {
        let text = "--quantize, --policy, --include and --exclude are for references to a hub (hf:…)";
        return Err(Advice::failure(text).hint("`longshore import` makes another model of a stored one").into());
    }
    let registry = client::registry(reference, args.ca_cert.as_deref(), false)?;
    let plan = if args.dry_run || args.name.is_none() && store.manifest_path(name).exists() {
        let bar = Bar::new(printer);
        Some(pull_plan(&registry, store, &bar)?)
    } else {
        None
    };
    if let (None, Some(plan), Ok((digest, _))) = (&args.name, &plan, store.manifest(name))
        && digest != plan.digest
    {
        return Err(taken(name).into());
    }
    if let (true, Some(plan)) = (args.dry_run, &plan) {
        let report = Planned {
            version: VERSION,
            dry_run: true,
            reference: reference.to_string(),
            name,
            digest: Some(plan.digest),
            commit: None,
            bytes: plan.bytes,
            missing_bytes: plan.missing_bytes,
            files: Vec::new(),
        };
        printer.report(&report, || {
            let there = size(plan.bytes.saturating_sub(plan.missing_bytes));
            Lines::of(&format!(
                "would fetch {} in {} as {name}; {there} are there already; nothing was written",
                size(plan.missing_bytes),
                plural(plan.missing, "blob")
            ))
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let pulled = {
        let bar = Bar::new(printer);
        pull(&registry, store, name, &PullOptions::default(), &bar)?
    };
    if let Some(reason) = &pulled.committed.left {
        crate::commands::gc::warn_of_left(printer, reason);
    }
    let report = Report {
        version: VERSION,
        reference: reference.to_string(),
        name,
        digest: pulled.digest,
        bytes: pulled.bytes,
        moved_bytes: pulled.moved_bytes,
        reused_bytes: pulled.reused_bytes,
        commit: None,
        seconds: started.elapsed().as_secs_f64(),
    };
    say(&report, printer)
}

fn from_hub(
    args: &PullArgs,
    reference: &HubReference,
    name: &ModelName,
    store: &Store,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    if args.name.is_none() && store.manifest_path(name).exists() {
        return Err(taken(name).into());
    }
    let selection = Selection::new(&args.include, &args.exclude)?;
    let hub = Hub::new(&client::client(args.ca_cert.as_deref())?, HubOptions::of_environment()?);
    if args.dry_run {
        let remote = {
            let bar = Bar::new(printer);
            Remote::of(&hub, reference, &selection, &bar)?
        };
        let report = Planned {
            version: VERSION,
            dry_run: true,
            reference: reference.to_string(),
            name,
            digest: None,
            commit: Some(remote.commit.clone()),
            bytes: remote.bytes(),
            missing_bytes: remote.bytes(),
            files: remote.files.clone(),
        };
        printer.report(&report, || {
            let mut lines = Lines::new();
            remote.files.iter().for_each(|(path, bytes)| lines.line(&format!("{path}  {}", size(*bytes))));
            let files = plural(remote.files.len(), "file");
            lines.line(&format!(
                "would fetch {} in {files} of commit {}; nothing was written",
                size(remote.bytes()),
                remote.commit
            ));
            lines
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = import_options(args, selection)?;
    let pulled = {
        let bar = Bar::new(printer);
        longshore_hub::pull(&hub, reference, store, name, &options, &bar)?
    };
    imported(&reference.to_string(), pulled, name, started, printer)
}

fn from_ollama(
    args: &PullArgs,
    model: &ModelName,
    name: &ModelName,
    store: &Store,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    if !args.include.is_empty() || !args.exclude.is_empty() || args.dry_run {
        let text = "--include, --exclude and --dry-run are not for references to Ollama's registry";
        return Err(Advice::failure(text).into());
    }
    if args.name.is_none() && store.manifest_path(name).exists() {
        return Err(taken(name).into());
    }
    let ollama = Ollama::new(client::client(args.ca_cert.as_deref())?, None);
    let options = import_options(args, Selection::default())?;
    let pulled = {
        let bar = Bar::new(printer);
        pull_ollama(&ollama, model, store, name, &options, &bar)?
    };
    imported(&format!("ollama:{model}"), pulled, name, started, printer)
}

fn import_options(args: &PullArgs, selection: Selection) -> anyhow::Result<longshore_hub::PullOptions> {
    let policy = match &args.policy {
        Some(policy) => crate::commands::policy::open(policy)?,
        None => longshore_quant::policy::Policy::default(),
    };
    let plan = PlanOptions {
        scheme: args.quantize.and_then(Quantize::scheme),
        policy,
        floats: matches!(args.quantize, Some(Quantize::None)),
        take_over: args.quantize.map(Quantize::take_over).unwrap_or_default(),
        ..PlanOptions::default()
    };
    Ok(longshore_hub::PullOptions { plan, import: ImportOptions::default(), selection })
}

/// Says what an import from elsewhere did.
fn imported(
    reference: &str,
    pulled: longshore_hub::Pulled,
    name: &ModelName,
    started: Instant,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    for warning in pulled.warnings.iter().chain(&pulled.outcome.warnings) {
        printer.warn(warning);
    }
    if let Some(reason) = &pulled.outcome.left {
        crate::commands::gc::warn_of_left(printer, reason);
    }
    let report = Report {
        version: VERSION,
        reference: reference.to_owned(),
        name,
        digest: pulled.outcome.digest,
        bytes: pulled.bytes,
        moved_bytes: pulled.moved_bytes,
        reused_bytes: pulled.bytes.saturating_sub(pulled.moved_bytes),
        commit: Some(pulled.commit),
        seconds: started.elapsed().as_secs_f64(),
    };
    say(&report, printer)
}

fn say(report: &Report<'_>, printer: &Printer) -> anyhow::Result<ExitCode> {
    printer.report(report, || {
        let fetched = format!("{}; {} were there already", size(report.moved_bytes), size(report.reused_bytes));
        let mut lines = vec![("from", report.reference.clone()), ("fetched", fetched)];
        lines.extend(report.commit.as_ref().map(|commit| ("commit", commit.clone())));
        lines.push(("took", seconds(report.seconds)));
        let mut text = Lines::new();
        text.styled(STRONG, &report.name.to_string(), &format!("  {}", report.digest.short()));
        text.append(&facts(&lines, printer.columns()));
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Abandoned {
    version: u32,
    reference: String,
    freed_bytes: u64,
}

/// Gives up every unfinished pull of a reference.
fn abandon(place: &Place, args: &PullArgs, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let reference = place.to_string();
    let pulls = store.pulls()?;
    let is_meant = |pull: &&longshore_manifest::store::PullEntry| {
        pull.record.reference == reference && args.name.as_ref().is_none_or(|name| *name == pull.record.name)
    };
    let meant: Vec<_> = pulls.iter().filter(is_meant).collect();
    if meant.is_empty() {
        return Err(Advice::input(format!("there is no unfinished pull of {reference}"))
            .hint("longshore list shows unfinished pulls")
            .into());
    }
    let mut freed_bytes = 0;
    for pull in meant {
        let (removed, bytes) = store.abandon_pull(pull)?;
        freed_bytes += removed.bytes() + bytes;
        if let Some(reason) = &removed.left {
            crate::commands::gc::warn_of_left(printer, reason);
        }
    }
    printer.report(&Abandoned { version: VERSION, reference, freed_bytes }, || {
        Lines::of(&format!("gave up; freed {}", size(freed_bytes)))
    })?;
    Ok(ExitCode::SUCCESS)
}
