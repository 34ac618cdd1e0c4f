//! `pull REF [NAME]`: a model into the store.

use std::process::ExitCode;

use longshore_manifest::{Digest, ModelName, Store};
use serde::Serialize;

use super::{
    fetch::{self, Ahead, Fetched},
    reference::Place,
    stored::There,
};
use crate::{
    advice::Advice,
    args::net::PullArgs,
    format::{plural, seconds, size},
    lines::Lines,
    printer::{Printer, STRONG, VERSION},
    table::facts,
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    reference: String,
    name: &'a ModelName,
    #[serde(flatten)]
    fetched: Fetched,
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
    fetch::check(&place, args)?;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => place.name()?,
    };
    let there = There::of(&place, &name, store);
    let is_derived = args.name.is_none();
    // A name that the user wrote is given to what a registry has, whatever it was given to before.
    let is_asked = |there: &There| !matches!(place, Place::Registry(_)) || is_derived && !there.is_unfinished;
    let asks = args.dry_run || there.as_ref().is_some_and(is_asked);
    let ahead = asks.then(|| fetch::ahead(&place, args, store, printer)).transpose()?;
    let known = there.as_ref().zip(ahead.as_ref());
    let same = known.and_then(|(there, ahead)| there.same(ahead));
    if let (true, None, Some((there, ahead))) = (is_derived, &same, known)
        && !there.goes_on(ahead, &name, store)
    {
        return Err(there.taken(&place, &name, ahead).into());
    }
    // A model of a registry costs only its documents to bring again, which ends whatever a killed pull left.
    let found = same.filter(|_| !matches!(place, Place::Registry(_))).filter(|there| there.is_whole(store));
    let found = found.map(|there| there.digest);
    match (ahead, found) {
        (Some(ahead), found) if args.dry_run => {
            let ahead = if found.is_some() { Ahead { missing: 0, missing_bytes: 0, ..ahead } } else { ahead };
            planned(&place, &name, ahead, printer)
        }
        (Some(Ahead { bytes, commit, remote, .. }), Some(digest)) => {
            // Nothing depends on it: the model is there.
            let _ = remote.map(|remote| remote.end(store, &name));
            printer.note(&format!(
                "{name} is there already: nothing was fetched, and only lengths were compared; `longshore verify {name}` reads the bytes"
            ));
            let fetched = Fetched { digest, bytes, moved_bytes: 0, reused_bytes: bytes, commit, seconds: 0.0 };
            say(&Report { version: VERSION, reference: place.to_string(), name: &name, fetched }, printer)
        }
        _ => {
            let fetched = fetch::fetch(&place, args, &name, store, printer)?;
            say(&Report { version: VERSION, reference: place.to_string(), name: &name, fetched }, printer)
        }
    }
}

/// Says what a pull would do.
fn planned(place: &Place, name: &ModelName, ahead: Ahead, printer: &Printer) -> anyhow::Result<ExitCode> {
    let Ahead { digest, commit, bytes, missing, missing_bytes, files, .. } = ahead;
    let (reference, there) = (place.to_string(), size(bytes.saturating_sub(missing_bytes)));
    let report =
        Planned { version: VERSION, dry_run: true, reference, name, digest, commit, bytes, missing_bytes, files };
    printer.report(&report, || {
        let Some(commit) = &report.commit else {
            let blobs = plural(missing, "blob");
            let missing = size(missing_bytes);
            return Lines::of(&format!(
                "would fetch {missing} in {blobs} as {name}; {there} are there already; nothing was written"
            ));
        };
        let mut lines = Lines::new();
        report.files.iter().for_each(|(path, bytes)| lines.line(&format!("{path}  {}", size(*bytes))));
        let files = match place {
            Place::Ollama(_) => plural(report.files.len(), "blob"),
            _ => plural(report.files.len(), "file"),
        };
        let of = if matches!(place, Place::Ollama(_)) { "manifest" } else { "commit" };
        lines.line(&format!("would fetch {} in {files} of {of} {commit}; nothing was written", size(missing_bytes)));
        lines
    })?;
    Ok(ExitCode::SUCCESS)
}

fn say(report: &Report<'_>, printer: &Printer) -> anyhow::Result<ExitCode> {
    printer.report(report, || {
        let Fetched { digest, moved_bytes, reused_bytes, commit, seconds: took, .. } = &report.fetched;
        let fetched = format!("{}; {} were there already", size(*moved_bytes), size(*reused_bytes));
        let mut lines = vec![("from", report.reference.clone()), ("fetched", fetched)];
        lines.extend(commit.as_ref().map(|commit| ("commit", commit.clone())));
        lines.push(("took", seconds(*took)));
        let mut text = Lines::new();
        text.styled(STRONG, &report.name.to_string(), &format!("  {}", digest.short()));
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
