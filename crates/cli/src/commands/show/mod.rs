//! `show NAME`: what a model is.

mod facts;
mod foreign;
mod gguf;
mod stored;

use std::{collections::BTreeMap, process::ExitCode};

use longshore_manifest::{
    Digest, Model, ModelName, Store,
    document::{Base, BlobEntry, Changes, Draft, DraftHead, Facts, HeadRole, Import, Role, TensorEntry, TensorTable},
};
use serde::Serialize;

use self::{
    facts::what_it_is,
    stored::{digest, stored_size},
};
use super::loss::Lost;
use crate::{
    args::look::Show,
    format::{count, plural, size, to_f64},
    lines::Lines,
    printer::{Printer, STRONG, VERSION},
    table::{Align, facts, table},
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    name: &'a ModelName,
    digest: Digest,
    #[serde(flatten)]
    facts: &'a Facts,
    parameters: u64,
    capabilities: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    renderer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parser: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<&'a Draft>,
    /// Tensors that predict further tokens.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    heads: &'a [DraftHead],
    /// The model that this one is an attachment of.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a Base>,
    /// What the import did to values.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a Changes>,
    /// `None` where another program did it.
    import: Option<&'a Import>,
    size: u64,
    blobs: usize,
    schemes: Vec<Coding>,
    files: Vec<File>,
    /// The largest loss of a tensor.
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<Worst<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<Tensor<'a>>>,
}

/// All tensors of one coding.
#[derive(Serialize)]
struct Coding {
    scheme: String,
    tensors: usize,
    parameters: u64,
    bytes: u64,
    bits_per_weight: f64,
}

#[derive(Serialize)]
struct File {
    name: String,
    size: u64,
}

#[derive(Serialize)]
struct Tensor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a str>,
    name: &'a str,
    dtype: longshore_st_format::Dtype,
    shape: &'a longshore_st_format::Shape,
    scheme: Option<String>,
    /// Whether it has one, which not every runtime can read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    global_scale: bool,
    bytes: u64,
    blob: Digest,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<Lost>,
}

pub(super) fn run(args: &Show, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    store.with_model(&args.name, |model| show(args, store, &model, printer))
}

fn show(args: &Show, store: &Store, model: &Model, printer: &Printer) -> anyhow::Result<ExitCode> {
    if model.is_gguf() {
        return gguf::run(args, model, printer);
    }
    let found = &store.table(model)?;
    let is_foreign = model.config.longshore.is_none();
    let told = if is_foreign { foreign::facts(store, model, &found.facts) } else { None };
    let report = Report {
        version: VERSION,
        name: &args.name,
        digest: model.digest,
        facts: told.as_ref().unwrap_or(&found.facts),
        parameters: found.tensors().map(|(_, tensor)| tensor.elements()).fold(0, u64::saturating_add),
        capabilities: &model.config.capabilities,
        renderer: model.config.renderer.as_deref(),
        parser: model.config.parser.as_deref(),
        draft: model.config.draft.as_ref(),
        heads: &found.heads,
        base: model.config.base.as_ref(),
        changes: model.config.changes.as_ref(),
        import: if is_foreign { None } else { Some(&found.import) },
        size: stored_size(model),
        blobs: model.manifest.layers.iter().filter(|layer| layer.is_tensor()).count(),
        schemes: schemes(found),
        files: model.manifest.files().map(|(name, blob)| File { name: name.to_string(), size: blob.size }).collect(),
        loss: worst(found),
        tensors: args.tensors.then(|| found.tensors().map(|(blob, tensor)| describe(blob, tensor)).collect()),
    };
    printer.report(&report, || human(&report, printer.columns()))?;
    Ok(ExitCode::SUCCESS)
}

fn describe<'a>(blob: &'a BlobEntry, tensor: &'a TensorEntry) -> Tensor<'a> {
    Tensor {
        component: blob.component.as_deref(),
        name: &tensor.name,
        dtype: tensor.dtype,
        shape: &tensor.shape,
        scheme: tensor.quantization.as_ref().map(ToString::to_string),
        global_scale: tensor.part(Role::GlobalScale).is_some(),
        bytes: tensor.byte_len(),
        blob: blob.digest,
        loss: tensor.loss.as_ref().map(Lost::from),
    }
}

/// The tensor that lost most, where import measured it.
#[derive(Serialize)]
struct Worst<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a str>,
    tensor: &'a str,
    #[serde(flatten)]
    loss: Lost,
}

fn worst(table: &TensorTable) -> Option<Worst<'_>> {
    let losses = table.tensors().filter_map(|(blob, tensor)| {
        let loss = Lost::from(tensor.loss.as_ref()?);
        Some(Worst { component: blob.component.as_deref(), tensor: &tensor.name, loss })
    });
    losses.max_by(|a, b| {
        let ((a_not, a), (b_not, b)) = (a.loss.rank(), b.loss.rank());
        a_not.cmp(&b_not).then(a.total_cmp(&b))
    })
}

fn qualified(component: Option<&str>, name: &str) -> String {
    component.map_or_else(String::new, |component| format!("{component}/")) + name
}

/// Tensors, parameters and bytes per coding, the largest first.
fn schemes(table: &TensorTable) -> Vec<Coding> {
    let mut found: BTreeMap<String, (usize, u64, u64)> = BTreeMap::new();
    for (_, tensor) in table.tensors() {
        let scheme = tensor.quantization.as_ref().map_or_else(|| tensor.dtype.to_string(), ToString::to_string);
        let (tensors, parameters, bytes) = found.entry(scheme).or_default();
        *tensors += 1;
        *parameters = parameters.saturating_add(tensor.elements());
        *bytes += tensor.byte_len();
    }
    let mut schemes: Vec<Coding> = found
        .into_iter()
        .map(|(scheme, (tensors, parameters, bytes))| {
            let bits_per_weight = to_f64(bytes) * 8.0 / to_f64(parameters.max(1));
            Coding { scheme, tensors, parameters, bytes, bits_per_weight }
        })
        .collect();
    schemes.sort_by_key(|scheme| std::cmp::Reverse(scheme.bytes));
    schemes
}

fn imported(import: &Import) -> String {
    let Import { kind, quantize, policy, profile, .. } = import;
    let mut text = format!("{kind} source");
    for (flag, value) in [("quantize", quantize), ("policy", policy), ("profile", profile)] {
        text.extend(value.iter().map(|value| format!(" --{flag} {value}")));
    }
    text
}

/// Parts that predict further tokens.
fn mtp(heads: &[DraftHead]) -> Option<String> {
    let count = heads.iter().filter(|head| head.role == HeadRole::Mtp).count();
    (count > 0).then(|| format!("by {} of the checkpoint (MTP)", plural(count, "part")))
}

/// What the import did to values, a line each.
fn changed(changes: &Changes) -> Vec<(&'static str, String)> {
    let adapters = changes.adapters.iter().map(|adapter| {
        let (digest, tensors) =
            (adapter.digest.short(), plural(adapter.scales.len() + adapter.replaced.len(), "tensor"));
        ("adapter", format!("{digest}, times {}, merged into {tensors}", adapter.weight))
    });
    let rotation = changes
        .rotation
        .iter()
        .map(|rotation| ("rotation", format!("seed {}, order {} × {}", rotation.seed, rotation.order, rotation.power)));
    let gptq = changes.gptq.iter().map(|gptq| {
        ("gptq", format!("{}, by Hessians {}", plural(gptq.tensors.len(), "tensor"), gptq.hessians.short()))
    });
    let awq =
        changes.awq.iter().map(|awq| ("awq", format!("power {}, by statistics {}", awq.power, awq.statistics.short())));
    adapters.chain(rotation).chain(awq).chain(gptq).collect()
}

fn human(report: &Report<'_>, room: Option<usize>) -> Lines {
    let mut lines = vec![digest(&report.digest)];
    lines.extend(report.facts.architecture.iter().map(|architecture| ("architecture", architecture.clone())));
    lines.push(("parameters", count(report.parameters)));
    lines.extend(what_it_is(report.facts));
    if !report.capabilities.is_empty() {
        lines.push(("can", report.capabilities.join(", ")));
    }
    lines.extend(report.parser.map(|parser| ("parser", parser.to_owned())));
    let is_head = report.heads.iter().any(|head| head.role == HeadRole::Eagle3);
    let of_draft = |draft: &Draft| {
        if is_head { format!("{}, an EAGLE-3 head", draft.architecture) } else { draft.architecture.clone() }
    };
    lines.extend(report.draft.map(|draft| ("draft", of_draft(draft))));
    lines.extend(mtp(report.heads).map(|heads| ("further tokens", heads)));
    lines.push(("imported", report.import.map_or_else(|| "by another program".to_owned(), imported)));
    lines.extend(report.base.map(|base| ("belongs to", format!("{}, its {}", base.digest.short(), base.role))));
    lines.extend(report.changes.map(changed).unwrap_or_default());
    lines.extend(report.loss.iter().map(|worst| {
        let tensor = qualified(worst.component, worst.tensor);
        ("loss", format!("at most {} in {tensor}", worst.loss.describe()))
    }));
    lines.push(("size", format!("{} in {}", size(report.size), plural(report.blobs, "tensor blob"))));
    let names: Vec<&str> = report.files.iter().map(|file| file.name.as_str()).collect();
    lines.push(("files", if names.is_empty() { "none".into() } else { names.join(", ") }));

    let columns = [
        ("SCHEME", Align::Left),
        ("TENSORS", Align::Right),
        ("PARAMETERS", Align::Right),
        ("SIZE", Align::Right),
        ("BITS/WEIGHT", Align::Right),
    ];
    let row = |scheme: &Coding| {
        vec![
            scheme.scheme.clone(),
            scheme.tensors.to_string(),
            count(scheme.parameters),
            size(scheme.bytes),
            format!("{:.2}", scheme.bits_per_weight),
        ]
    };
    let mut rows: Vec<_> = report.schemes.iter().map(row).collect();
    let bytes = report.schemes.iter().map(|scheme| scheme.bytes).sum::<u64>();
    rows.push(row(&Coding {
        scheme: "all".into(),
        tensors: report.schemes.iter().map(|scheme| scheme.tensors).sum(),
        parameters: report.parameters,
        bytes,
        bits_per_weight: to_f64(bytes) * 8.0 / to_f64(report.parameters.max(1)),
    }));
    let mut text = Lines::new();
    text.styled(STRONG, &report.name.to_string(), "");
    text.append(&facts(&lines, room));
    text.line("");
    text.append(&table(&columns, &rows, room));
    if let Some(tensors) = &report.tensors {
        let mut columns = vec![
            ("TENSOR", Align::Left),
            ("DTYPE", Align::Left),
            ("SHAPE", Align::Left),
            ("SCHEME", Align::Left),
            ("SIZE", Align::Right),
            ("BLOB", Align::Left),
        ];
        if report.loss.is_some() {
            columns.push(("LOSS", Align::Left));
        }
        let row = |tensor: &Tensor<'_>| {
            let mut row = vec![
                qualified(tensor.component, tensor.name),
                tensor.dtype.to_string(),
                tensor.shape.to_string(),
                tensor.scheme.clone().unwrap_or_else(|| "-".into())
                    + if tensor.global_scale { " + global" } else { "" },
                size(tensor.bytes),
                tensor.blob.short(),
            ];
            if report.loss.is_some() {
                row.push(tensor.loss.map_or_else(|| "-".into(), Lost::describe));
            }
            row
        };
        text.line("");
        text.append(&table(&columns, &tensors.iter().map(row).collect::<Vec<_>>(), room));
    }
    text
}
