//! `inspect` of GGUF files: metadata, types, tensors, and what an import would make of them.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use longshore_packer::{
    Source,
    longshore_gguf::{Header, Value},
};
use serde::Serialize;

use crate::{
    door,
    format::{count, plural, size, three_digits},
    lines::Lines,
    printer::{Printer, VERSION},
    table::{Align, facts, table},
};

/// Number of elements of an array that are shown.
const SHOWN: usize = 4;
/// Characters of a text of the metadata that are shown.
const TEXT: usize = 100;

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    path: String,
    kind: String,
    architecture: Option<&'a str>,
    files: Vec<File<'a>>,
    metadata: Vec<Pair<'a>>,
    parameters: u64,
    bytes: u64,
    bits_per_weight: Option<f64>,
    types: BTreeMap<&'a str, Type>,
    tensors: Vec<Tensor<'a>>,
    /// Files that an import would make of the metadata.
    derived: Vec<&'a str>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    size: u64,
}

#[derive(Serialize)]
struct Pair<'a> {
    key: &'a str,
    #[serde(rename = "type")]
    value_type: String,
    /// A long array without most of its elements.
    value: serde_json::Value,
}

#[derive(Serialize, Default)]
struct Type {
    tensors: u64,
    parameters: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    ggml_type: &'static str,
    shape: Vec<u64>,
    file: &'a str,
}

pub(super) fn run(path: &Path, source: &Source, headers: &[Header], printer: &Printer) -> anyhow::Result<ExitCode> {
    let file_name = |at: usize| source.shards.get(at).map_or("", |shard| shard.name.as_str());
    let mut types: BTreeMap<&str, Type> = BTreeMap::new();
    let mut tensors = Vec::new();
    for (at, header) in headers.iter().enumerate() {
        for info in header.iter() {
            let of_type = types.entry(info.ggml_type().name()).or_default();
            of_type.tensors += 1;
            of_type.parameters = of_type.parameters.saturating_add(info.dims().elements());
            of_type.bytes = of_type.bytes.saturating_add(info.byte_len());
            tensors.push(Tensor {
                name: info.name(),
                ggml_type: info.ggml_type().name(),
                shape: info.dims().shape().collect(),
                file: file_name(at),
            });
        }
    }
    let sum = |of: fn(&Type) -> u64| types.values().map(of).fold(0, u64::saturating_add);
    let (parameters, bytes) = (sum(|found| found.parameters), sum(|found| found.bytes));
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let bits = (parameters > 0).then(|| bytes as f64 * 8.0 / parameters as f64);
    let report = Report {
        version: VERSION,
        path: door::path(path),
        kind: source.kind.to_string(),
        architecture: source.architecture(),
        files: headers
            .iter()
            .enumerate()
            .map(|(at, header)| File { name: file_name(at), size: header.file_len() })
            .collect(),
        metadata: headers.first().into_iter().flat_map(|header| header.metadata().iter()).map(pair).collect(),
        parameters,
        bytes,
        bits_per_weight: bits,
        types,
        tensors,
        derived: source.derived().collect(),
        notes: &source.warnings,
    };
    for warning in &source.warnings {
        printer.warn(warning);
    }
    printer.report(&report, || human(&report, printer.columns()))?;
    Ok(ExitCode::SUCCESS)
}

fn pair<'a>((key, value): (&'a str, Value<'a>)) -> Pair<'a> {
    let value_type = match value.as_array() {
        Some(array) => format!("{}[{}]", array.element_type(), array.len()),
        None => value.value_type().to_string(),
    };
    Pair { key, value_type, value: json(value) }
}

fn json(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Bool(flag) => flag.into(),
        Value::String(text) => text.to_string().into(),
        Value::Array(array) => array.iter().take(SHOWN).map(json).collect::<Vec<_>>().into(),
        // The shortest number that stands for the float.
        Value::F32(number) => number.to_string().parse::<f64>().map_or(serde_json::Value::Null, Into::into),
        Value::F64(number) => number.into(),
        other => other.as_i64().map_or_else(|| other.as_u64().into(), Into::into),
    }
}

fn human(report: &Report<'_>, room: Option<usize>) -> Lines {
    let mut lines = vec![("taken for", format!("{} checkpoint", report.kind))];
    lines.extend(report.architecture.map(|architecture| ("architecture", architecture.to_owned())));
    lines.push(("parameters", count(report.parameters)));
    let bits =
        report.bits_per_weight.map_or_else(String::new, |bits| format!(", {} bits per weight", three_digits(bits)));
    lines.push(("tensors", format!("{}, {}{bits}", report.tensors.len(), size(report.bytes))));
    lines.push(("files", plural(report.files.len(), "GGUF file")));
    lines.push(("import", format!("stores {} as they are, one blob each", plural(report.tensors.len(), "tensor"))));
    if !report.derived.is_empty() {
        lines.push(("rebuilds", report.derived.join(", ")));
    }
    let mut text = Lines::of(&report.path);
    text.append(&facts(&lines, room));

    let columns =
        [("TYPE", Align::Left), ("TENSORS", Align::Right), ("PARAMETERS", Align::Right), ("SIZE", Align::Right)];
    let row = |(name, of_type): (&&str, &Type)| {
        vec![(*name).to_owned(), of_type.tensors.to_string(), count(of_type.parameters), size(of_type.bytes)]
    };
    part(&mut text, &columns, &report.types.iter().map(row).collect::<Vec<_>>(), room);
    let columns = [("KEY", Align::Left), ("TYPE", Align::Left), ("VALUE", Align::Left)];
    let row = |pair: &Pair<'_>| vec![pair.key.to_owned(), pair.value_type.clone(), value(pair)];
    part(&mut text, &columns, &report.metadata.iter().map(row).collect::<Vec<_>>(), room);
    let columns = [("TENSOR", Align::Left), ("TYPE", Align::Left), ("SHAPE", Align::Left), ("FILE", Align::Left)];
    let row = |tensor: &Tensor<'_>| {
        vec![tensor.name.to_owned(), tensor.ggml_type.to_owned(), format!("{:?}", tensor.shape), tensor.file.to_owned()]
    };
    part(&mut text, &columns, &report.tensors.iter().map(row).collect::<Vec<_>>(), room);
    text
}

fn part(text: &mut Lines, columns: &[(&str, Align)], rows: &[Vec<String>], room: Option<usize>) {
    if !rows.is_empty() {
        text.line("");
        text.append(&table(columns, rows, room));
    }
}

/// A value in words: a text without its middle, and of an array the first elements.
fn value(pair: &Pair<'_>) -> String {
    let one = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => door::shown(text, TEXT).into_owned(),
        other => other.to_string(),
    };
    match &pair.value {
        serde_json::Value::Array(list) => {
            let is_cut = !pair.value_type.ends_with(&format!("[{}]", list.len()));
            let listed = list.iter().map(one).collect::<Vec<_>>().join(", ");
            if is_cut { format!("{listed}, …") } else { listed }
        }
        other => one(other),
    }
}
