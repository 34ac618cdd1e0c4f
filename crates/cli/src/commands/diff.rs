//! `diff A B`: two models, tensor by tensor.

use std::{
    collections::{BTreeMap, HashMap},
    process::ExitCode,
};

use longshore_manifest::{
    Digest, Model, ModelName, Store,
    document::{Role, TensorEntry},
    weights::{OpenOptions, Tensor, Weights},
};
use serde::Serialize;

use crate::{
    advice::NO,
    args::Diff,
    format::{plain, plural, size},
    printer::{Printer, VERSION},
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    a: &'a ModelName,
    b: &'a ModelName,
    only_a: Vec<&'a str>,
    only_b: Vec<&'a str>,
    different: Vec<&'a str>,
    same: usize,
    shared_bytes: u64,
}

pub(super) fn run(args: &Diff, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let (a, b) = (store.model(&args.a)?, store.model(&args.b)?);
    let (a_weights, b_weights) =
        (Weights::open(store, &a, &OpenOptions::default())?, Weights::open(store, &b, &OpenOptions::default())?);
    let (left, right) = (tensors(&a_weights), tensors(&b_weights));
    let mut report = Report {
        version: VERSION,
        a: &args.a,
        b: &args.b,
        only_a: left.keys().filter(|name| !right.contains_key(*name)).map(String::as_str).collect(),
        only_b: right.keys().filter(|name| !left.contains_key(*name)).map(String::as_str).collect(),
        different: Vec::new(),
        same: 0,
        shared_bytes: shared(&a, &b),
    };
    for (name, tensor) in &left {
        match right.get(name) {
            Some(other) if same(tensor, other) => report.same += 1,
            Some(_) => report.different.push(name),
            None => {}
        }
    }
    let equal = report.only_a.is_empty() && report.only_b.is_empty() && report.different.is_empty();
    printer.report(&report, || {
        let mut text = String::new();
        for (mark, names) in [("-", &report.only_a), ("+", &report.only_b), ("~", &report.different)] {
            text.extend(names.iter().map(|name| format!("{mark} {}\n", plain(name))));
        }
        let Report { only_a, only_b, different, same, .. } = &report;
        text + &format!(
            "{} same, {} different (~), {} only in {} (-), {} only in {} (+); {} shared\n",
            plural(*same, "tensor"),
            different.len(),
            only_a.len(),
            args.a,
            only_b.len(),
            args.b,
            size(report.shared_bytes)
        )
    })?;
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::from(NO) })
}

/// A tensor with the blob that holds it.
struct Found<'m> {
    digest: Digest,
    entry: &'m TensorEntry,
    tensor: Tensor<'m>,
}

/// The tensors by name, after `<component>/` in a pipeline.
fn tensors(weights: &Weights) -> BTreeMap<String, Found<'_>> {
    let opened: HashMap<_, _> = weights.iter().map(|tensor| ((tensor.component(), tensor.name()), tensor)).collect();
    let found = weights.table().tensors().filter_map(|(blob, entry)| {
        let component = blob.component.as_deref();
        let tensor = *opened.get(&(component, entry.name.as_str()))?;
        let prefix = component.map_or_else(String::new, |component| format!("{component}/"));
        Some((prefix + &entry.name, Found { digest: blob.digest, entry, tensor }))
    });
    found.collect()
}

/// Whether two tensors of one name hold the same values in the same form. Blobs of one digest settle it; others may still
/// hold the same tensor beside others, so that their bytes have to be compared.
fn same(a: &Found<'_>, b: &Found<'_>) -> bool {
    if a.digest == b.digest {
        return true;
    }
    let alike = a.entry.dtype == b.entry.dtype
        && a.entry.shape == b.entry.shape
        && a.entry.quantization == b.entry.quantization
        && a.entry.parts.len() == b.entry.parts.len();
    alike
        && a.entry.parts.iter().all(|part| match part.role {
            Role::Weight => a.tensor.weight().data == b.tensor.weight().data,
            role => bytes(a.tensor, role) == bytes(b.tensor, role),
        })
}

fn bytes(tensor: Tensor<'_>, role: Role) -> Option<&[u8]> {
    tensor.companion(role).map(|array| array.data)
}

/// The bytes of blobs that both models have.
fn shared(a: &Model, b: &Model) -> u64 {
    let blobs = |model: &Model| -> HashMap<Digest, u64> {
        model.manifest.blobs().map(|blob| (blob.digest, blob.size)).collect()
    };
    let other = blobs(b);
    blobs(a).iter().filter(|(digest, _)| other.contains_key(*digest)).map(|(_, size)| size).sum()
}
