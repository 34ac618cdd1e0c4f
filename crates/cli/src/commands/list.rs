//! `list`: the models of the store.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use longshore_manifest::{Digest, ModelName, Store, document::Import};
use serde::Serialize;

use crate::{
    advice::FAILED,
    causes::is_of_machine,
    door, errors,
    format::{clock, size},
    lines::Lines,
    printer::{Printer, VERSION},
    table::{Align, table},
};

#[derive(Serialize)]
struct Report {
    version: u32,
    models: Vec<Model>,
    /// Models whose documents cannot be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<Unreadable>,
    /// Unfinished pulls.
    pulls: Vec<Pull>,
}

#[derive(Serialize)]
struct Pull {
    reference: String,
    name: ModelName,
    bytes: u64,
    moved_bytes: u64,
    is_running: bool,
}

#[derive(Serialize)]
struct Model {
    name: ModelName,
    digest: Digest,
    size: u64,
    unique_size: u64,
    /// `gguf`, where it is that.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    scheme: String,
    architecture: String,
    /// Seconds since 1970.
    modified: Option<u64>,
}

#[derive(Serialize)]
struct Unreadable {
    name: ModelName,
    problem: String,
}

/// The requested scheme, else that of the quantized tensors: a source that was quantized may have several.
fn scheme(import: Option<Import>, file_type: String) -> String {
    let is_coded = import.as_ref().is_some_and(|import| import.kind == "prequantized");
    match import.and_then(|import| import.quantize) {
        Some(asked) => asked,
        None if !file_type.is_empty() => file_type,
        None if is_coded => "mixed".into(),
        None => "none".into(),
    }
}

pub(super) fn run(store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let mut report = Report { version: VERSION, models: Vec::new(), unreadable: Vec::new(), pulls: pulls(store)? };
    let mut is_failure = false;
    for entry in store.list()? {
        match entry.summary {
            Ok(found) => report.models.push(Model {
                name: entry.name,
                digest: found.digest,
                size: found.size,
                unique_size: found.unique_size,
                format: Some(found.format).filter(|format| format == "gguf"),
                scheme: scheme(found.import, found.file_type),
                architecture: found.facts.architecture.unwrap_or_default(),
                modified: entry.modified.and_then(since_1970),
            }),
            Err(error) => {
                is_failure |= is_of_machine(&error);
                let problem = errors::text(&error);
                printer.warn(&format!("{}: {problem}", entry.name));
                report.unreadable.push(Unreadable { name: entry.name, problem });
            }
        }
    }
    // The order of reading: names without a host stand among those with one.
    report.models.sort_by_cached_key(|model| model.name.to_string());
    printer.report(&report, || human(&report, printer.columns()))?;
    for pull in &report.pulls {
        let state = if pull.is_running { "is being pulled" } else { "is not finished" };
        let (kept, all) = (size(pull.moved_bytes), size(pull.bytes));
        printer.note(&format!("{} {state} from {}: {kept} kept, of {all} there", pull.name, pull.reference));
    }
    if report.models.is_empty() && report.unreadable.is_empty() && report.pulls.is_empty() {
        let root = store.root();
        let what = if root.exists() { "no models in" } else { "no store yet at" };
        printer.note(&format!("{what} {}", door::path(root)));
        if !printer.is_json() {
            printer.hint("longshore import SOURCE NAME adds one");
        }
    }
    Ok(if is_failure { FAILED.into() } else { ExitCode::SUCCESS })
}

fn pulls(store: &Store) -> anyhow::Result<Vec<Pull>> {
    let pull = |entry: longshore_manifest::store::PullEntry| Pull {
        reference: entry.record.reference,
        name: entry.record.name,
        bytes: entry.record.bytes,
        moved_bytes: entry.kept_bytes,
        is_running: entry.is_running,
    };
    Ok(store.pulls()?.into_iter().map(pull).collect())
}

fn human(report: &Report, room: Option<usize>) -> Lines {
    if report.models.is_empty() {
        return Lines::new();
    }
    let columns = [
        ("NAME", Align::Left),
        ("DIGEST", Align::Left),
        ("SIZE", Align::Right),
        ("UNIQUE", Align::Right),
        ("SCHEME", Align::Left),
        ("ARCHITECTURE", Align::Left),
        ("AGE", Align::Right),
    ];
    let row = |model: &Model| {
        vec![
            model.name.to_string(),
            model.digest.short(),
            size(model.size),
            size(model.unique_size),
            model.format.as_ref().map_or_else(String::new, |format| format!("{format} ")) + &model.scheme,
            short(&model.architecture).to_owned(),
            model.modified.map_or_else(String::new, ago),
        ]
    };
    table(&columns, &report.models.iter().map(row).collect::<Vec<_>>(), room)
}

fn since_1970(time: SystemTime) -> Option<u64> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// Age of the entry.
fn ago(seconds: u64) -> String {
    clock((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).elapsed().unwrap_or_default())
}

/// An architecture without what most of them end in; `show` and `--json` have the whole name.
fn short(architecture: &str) -> &str {
    ["ForCausalLM", "ForConditionalGeneration"]
        .iter()
        .find_map(|end| architecture.strip_suffix(end))
        .unwrap_or(architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_never_none_where_there_are_codes() {
        let import = |kind: &str, quantize: Option<&str>| {
            Some(Import { kind: kind.into(), quantize: quantize.map(Into::into), ..Import::default() })
        };
        assert_eq!(scheme(import("float", None), String::new()), "none");
        assert_eq!(scheme(import("float", Some("int4-g32")), "int4".into()), "int4-g32");
        assert_eq!(scheme(import("prequantized", None), "nvfp4".into()), "nvfp4");
        assert_eq!(scheme(import("prequantized", None), String::new()), "mixed");
        assert_eq!(scheme(None, "Q4_K_M".into()), "Q4_K_M");
    }
}
