//! `inspect PATH`: headers only.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _, process::ExitCode};

use longshore_packer::{Source, SourceTensor};
use longshore_st_format::Limits;
use serde::Serialize;

use super::VERSION;
use crate::{
    args::Inspect,
    format::{Align, count, facts, plain, plural, size, table},
    printer::Printer,
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    path: Cow<'a, str>,
    /// What `import` would take it for.
    kind: String,
    architecture: Option<&'a str>,
    metadata: &'a BTreeMap<String, String>,
    files: Vec<File<'a>>,
    parameters: u64,
    bytes: u64,
    tensors: Vec<Tensor<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    size: u64,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    dtype: longshore_st_format::Dtype,
    shape: &'a longshore_st_format::Shape,
    file: &'a str,
}

pub(super) fn run(args: &Inspect, printer: &Printer) -> anyhow::Result<ExitCode> {
    let source = Source::open(&args.path, &Limits::default())?;
    let elements = |tensor: &SourceTensor| tensor.shape.elements().unwrap_or(u64::MAX);
    let report = Report {
        version: VERSION,
        path: args.path.to_string_lossy(),
        kind: source.kind.to_string(),
        architecture: source.architecture(),
        metadata: &source.metadata,
        files: source.shards.iter().map(|shard| File { name: &shard.name, size: shard.file_len }).collect(),
        parameters: source.tensors.iter().map(elements).fold(0, u64::saturating_add),
        bytes: source.tensor_bytes(),
        tensors: source
            .tensors
            .iter()
            .map(|tensor| Tensor {
                name: &tensor.name,
                dtype: tensor.dtype,
                shape: &tensor.shape,
                file: &source.shards[tensor.shard].name,
            })
            .collect(),
    };
    for warning in &source.warnings {
        printer.warn(warning);
    }
    printer.report(&report, || human(&report))?;
    Ok(ExitCode::SUCCESS)
}

fn human(report: &Report<'_>) -> String {
    let mut lines = vec![("taken for", format!("{} checkpoint", report.kind))];
    lines.extend(report.architecture.map(|architecture| ("architecture", architecture.to_owned())));
    lines.push(("parameters", count(report.parameters)));
    lines.push(("tensors", format!("{}, {}", report.tensors.len(), size(report.bytes))));
    lines.push(("files", plural(report.files.len(), "safetensors file")));
    lines.extend(report.metadata.iter().map(|(key, value)| ("metadata", format!("{key} = {value}"))));
    let mut text = format!("{}\n{}", plain(&report.path), facts(&lines));
    if !report.tensors.is_empty() {
        let columns = [("TENSOR", Align::Left), ("DTYPE", Align::Left), ("SHAPE", Align::Left), ("FILE", Align::Left)];
        let row = |tensor: &Tensor<'_>| {
            vec![tensor.name.to_owned(), tensor.dtype.to_string(), tensor.shape.to_string(), tensor.file.to_owned()]
        };
        let _ = write!(text, "\n{}", table(&columns, &report.tensors.iter().map(row).collect::<Vec<_>>()));
    }
    text
}
