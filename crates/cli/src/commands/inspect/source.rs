//! `inspect PATH`: headers only; `inspect --architectures`: the table of architectures.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use longshore_packer::{Member, Source, SourceTensor};
use longshore_st_format::Limits;
use serde::Serialize;

use super::{super::architectures, gguf};
use crate::{
    args::look::Inspect,
    door,
    format::{count, plural, size},
    lines::Lines,
    printer::{Printer, VERSION},
    table::{Align, facts, table},
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    path: String,
    /// Kind of source that `import` would take it for.
    kind: String,
    architecture: Option<&'a str>,
    metadata: &'a BTreeMap<String, String>,
    /// Component of a pipeline.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    components: Vec<Component<'a>>,
    files: Vec<File<'a>>,
    parameters: u64,
    bytes: u64,
    tensors: Vec<Tensor<'a>>,
}

#[derive(Serialize)]
struct Component<'a> {
    name: &'a str,
    architecture: Option<&'a str>,
    kind: String,
    parameters: u64,
    bytes: u64,
    tensors: usize,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    size: u64,
}

#[derive(Serialize)]
struct Tensor<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    component: Option<&'a str>,
    name: &'a str,
    dtype: longshore_st_format::Dtype,
    shape: &'a longshore_st_format::Shape,
    file: &'a str,
}

pub(in crate::commands) fn run(args: &Inspect, printer: &Printer) -> anyhow::Result<ExitCode> {
    let Some(path) = &args.path else { return architectures::run(printer) };
    let source = super::super::steadily(Some(path), &mut || Ok(Source::open(path, &Limits::default())?))?;
    let headers = source.gguf_headers();
    if !headers.is_empty() {
        return gguf::run(path, &source, &headers, printer);
    }
    let tensors = source.members.iter().flat_map(|member| {
        source.tensors_of(member).iter().map(|tensor| Tensor {
            component: member.component(),
            name: &tensor.name,
            dtype: tensor.dtype,
            shape: &tensor.shape,
            file: &source.shards[tensor.shard].name,
        })
    });
    let report = Report {
        version: VERSION,
        path: door::path(path),
        kind: source.kind.to_string(),
        architecture: source.architecture(),
        metadata: &source.metadata,
        files: source.shards.iter().map(|shard| File { name: &shard.name, size: shard.file_len }).collect(),
        components: source.members.iter().filter_map(|member| component(&source, member)).collect(),
        parameters: parameters(&source.tensors),
        bytes: source.tensor_bytes(),
        tensors: tensors.collect(),
    };
    for warning in &source.warnings {
        printer.warn(warning);
    }
    printer.report(&report, || human(&report, path, printer.columns()))?;
    Ok(ExitCode::SUCCESS)
}

fn parameters(tensors: &[SourceTensor]) -> u64 {
    tensors.iter().map(|tensor| tensor.shape.elements().unwrap_or(u64::MAX)).fold(0, u64::saturating_add)
}

fn component<'a>(source: &'a Source, member: &'a Member) -> Option<Component<'a>> {
    let tensors = source.tensors_of(member);
    Some(Component {
        name: member.component()?,
        architecture: member.architecture(),
        kind: member.kind.to_string(),
        parameters: parameters(tensors),
        bytes: tensors.iter().map(SourceTensor::byte_len).fold(0, u64::saturating_add),
        tensors: tensors.len(),
    })
}

fn human(report: &Report<'_>, path: &Path, room: Option<usize>) -> Lines {
    let mut lines = vec![(
        "taken for",
        if report.components.is_empty() { format!("{} checkpoint", report.kind) } else { report.kind.clone() },
    )];
    lines.extend(report.architecture.map(|architecture| ("architecture", architecture.to_owned())));
    lines.push(("parameters", count(report.parameters)));
    lines.push(("tensors", format!("{}, {}", report.tensors.len(), size(report.bytes))));
    lines.extend(report.components.iter().map(|component| {
        let Component { name, architecture, kind, tensors, bytes, parameters } = component;
        let what = architecture.map_or_else(String::new, |architecture| format!("{architecture}, "));
        let found = format!("{}, {}, {} parameters", plural(*tensors, "tensor"), size(*bytes), count(*parameters));
        ("component", format!("{name}: {what}{kind}, {found}"))
    }));
    lines.push(("files", plural(report.files.len(), "safetensors file")));
    lines.extend(report.metadata.iter().map(|(key, value)| ("metadata", format!("{key} = {value}"))));
    let mut text = Lines::of(&door::path(path));
    text.append(&facts(&lines, room));
    if !report.tensors.is_empty() {
        let columns = [("TENSOR", Align::Left), ("DTYPE", Align::Left), ("SHAPE", Align::Left), ("FILE", Align::Left)];
        let row = |tensor: &Tensor<'_>| {
            let component = tensor.component.map_or_else(String::new, |component| format!("{component}/"));
            vec![component + tensor.name, tensor.dtype.to_string(), tensor.shape.to_string(), tensor.file.to_owned()]
        };
        text.line("");
        text.append(&table(&columns, &report.tensors.iter().map(row).collect::<Vec<_>>(), room));
    }
    text
}
