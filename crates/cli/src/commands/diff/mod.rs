//! `diff A B`: two models, tensor by tensor.

mod values;

use std::{
    collections::{BTreeMap, HashMap},
    process::ExitCode,
};

use longshore_manifest::{
    Digest, FsError, Model, ModelName, Store,
    document::{Part, TensorEntry, TensorTable},
    weights,
};
use serde::Serialize;
use values::{ByName, Difference};

use crate::{
    advice::NO,
    args::look::Diff,
    format::{plural, size},
    lines::Lines,
    printer::{Printer, VERSION},
};

/// Bytes of two blobs that are compared at a time.
const CHUNK: usize = 64 << 10;

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    a: &'a ModelName,
    b: &'a ModelName,
    only_a: Vec<&'a str>,
    only_b: Vec<&'a str>,
    different: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Differing<'a>>>,
    same: usize,
    shared_bytes: u64,
}

/// A tensor whose values differ.
#[derive(Serialize)]
struct Differing<'a> {
    name: &'a str,
    #[serde(flatten)]
    difference: Difference,
}

pub(super) fn run(args: &Diff, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    if is_one(store, &args.a, &args.b) {
        return store.with_model(&args.a, |model| diff(args, store, (&model, &model), printer));
    }
    store.with_model(&args.a, |a| store.with_model(&args.b, |b| diff(args, store, (&a, &b), printer)))
}

/// Whether two names are those of one manifest. It is read once then, or the model might be replaced in between and differ from itself.
fn is_one(store: &Store, a: &ModelName, b: &ModelName) -> bool {
    let place = |name| store.manifest_path(name).canonicalize().ok();
    a == b || place(a).is_some_and(|found| place(b) == Some(found))
}

fn diff(args: &Diff, store: &Store, (a, b): (&Model, &Model), printer: &Printer) -> anyhow::Result<ExitCode> {
    let (a_table, b_table) = (store.table(a)?, store.table(b)?);
    weights::check(store, &a_table)?;
    weights::check(store, &b_table)?;
    let (left, right) = (tensors(&a_table), tensors(&b_table));
    let mut report = Report {
        version: VERSION,
        a: &args.a,
        b: &args.b,
        only_a: left.keys().filter(|name| !right.contains_key(*name)).map(String::as_str).collect(),
        only_b: right.keys().filter(|name| !left.contains_key(*name)).map(String::as_str).collect(),
        different: Vec::new(),
        values: args.values.then(Vec::new),
        same: 0,
        shared_bytes: shared(a, b),
    };
    let opened = if args.values { Some((values::open(store, a)?, values::open(store, b)?)) } else { None };
    let opened = opened.as_ref().map(|(a, b)| (ByName::of(a), ByName::of(b)));
    for (name, tensor) in &left {
        match (right.get(name), &opened, &mut report.values) {
            (Some(other), Some((a, b)), Some(values)) if !is_one_tensor(tensor, other) => match a.difference(b, name) {
                None => report.same += 1,
                Some(difference) => {
                    report.different.push(name);
                    values.push(Differing { name, difference });
                }
            },
            (Some(_), Some(_), _) => report.same += 1,
            (Some(other), None, _) if same(store, tensor, other)? => report.same += 1,
            (Some(_), None, _) => report.different.push(name),
            (None, ..) => {}
        }
    }
    let equal = report.only_a.is_empty() && report.only_b.is_empty() && report.different.is_empty();
    printer.report(&report, || {
        let mut lines = Lines::new();
        for (mark, names) in [("-", &report.only_a), ("+", &report.only_b)] {
            for name in names {
                lines.line(&format!("{mark} {name}"));
            }
        }
        match &report.values {
            None => report.different.iter().for_each(|name| lines.line(&format!("~ {name}"))),
            Some(values) => {
                for Differing { name, difference } in values {
                    lines.line(&format!("~ {name}: {difference}"));
                }
            }
        }
        let Report { only_a, only_b, different, same, .. } = &report;
        lines.line(&format!(
            "{} same, {} different (~), {} only in {} (-), {} only in {} (+); {} shared",
            plural(*same, "tensor"),
            different.len(),
            only_a.len(),
            args.a,
            only_b.len(),
            args.b,
            size(report.shared_bytes)
        ));
        lines
    })?;
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// A tensor with the blob that holds it.
struct Found<'m> {
    blob: Digest,
    entry: &'m TensorEntry,
}

/// The tensors by name, after `<component>/` in a pipeline.
fn tensors(table: &TensorTable) -> BTreeMap<String, Found<'_>> {
    let found = table.tensors().map(|(blob, entry)| {
        let prefix = blob.component.as_ref().map_or_else(String::new, |component| format!("{component}/"));
        (prefix + &entry.name, Found { blob: blob.digest, entry })
    });
    found.collect()
}

/// Whether two tensors are those of one blob, with one meaning.
fn is_one_tensor(a: &Found<'_>, b: &Found<'_>) -> bool {
    a.blob == b.blob && a.entry.offset == b.entry.offset
}

/// Whether two tensors of one name hold the same values in the same form. Blobs of one digest settle it; others may still
/// hold the same tensor beside others, so that their bytes have to be compared.
fn same(store: &Store, a: &Found<'_>, b: &Found<'_>) -> Result<bool, FsError> {
    if a.blob == b.blob {
        return Ok(true);
    }
    let alike = a.entry.dtype == b.entry.dtype
        && a.entry.shape == b.entry.shape
        && a.entry.quantization == b.entry.quantization
        && a.entry.parts.len() == b.entry.parts.len();
    if !alike {
        return Ok(false);
    }
    for part in &a.entry.parts {
        let Some(other) = b.entry.part(part.role).filter(|other| other.length == part.length) else { return Ok(false) };
        let place = |found: &Found<'_>, part: &Part| (part.blob.unwrap_or(found.blob), part.offset);
        if !same_bytes(store, place(a, part), place(b, other), part.length)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether `length` bytes from the offsets in two blobs are the same. They are read, and not mapped: a model may have more blobs than the
/// system maps.
fn same_bytes(store: &Store, a: (Digest, u64), b: (Digest, u64), length: u64) -> Result<bool, FsError> {
    if a == b {
        return Ok(true);
    }
    let (left, right) = (store.open_blob(&a.0)?, store.open_blob(&b.0)?);
    let mut buffers = [vec![0; CHUNK], vec![0; CHUNK]];
    let mut at = 0;
    while at < length {
        let len = usize::try_from(length - at).unwrap_or(CHUNK).min(CHUNK);
        let [one, other] = &mut buffers;
        left.read_exact_at(&mut one[..len], a.1 + at)?;
        right.read_exact_at(&mut other[..len], b.1 + at)?;
        if one[..len] != other[..len] {
            return Ok(false);
        }
        at += len as u64;
    }
    Ok(true)
}

/// The bytes of blobs that both models have.
fn shared(a: &Model, b: &Model) -> u64 {
    let blobs = |model: &Model| -> HashMap<Digest, u64> {
        model.manifest.blobs().map(|blob| (blob.digest, blob.size)).collect()
    };
    let other = blobs(b);
    blobs(a).iter().filter(|(digest, _)| other.contains_key(*digest)).map(|(_, size)| size).sum()
}
