//! Facts about a model whose weights are a GGUF file, from its config.

use std::process::ExitCode;

use longshore_manifest::{Digest, ModelName, store::Model};
use serde::Serialize;

use super::stored::{digest, stored_size};
use crate::{
    advice::Advice,
    args::look::Show,
    format::size,
    lines::Lines,
    printer::{Printer, STRONG, VERSION},
    table::facts,
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    name: &'a ModelName,
    digest: Digest,
    format: &'static str,
    architecture: &'a str,
    /// In words, such as `7.6B`.
    parameters: &'a str,
    scheme: &'a str,
    capabilities: &'a [String],
    context_length: Option<u64>,
    size: u64,
}

pub(super) fn run(args: &Show, model: &Model, printer: &Printer) -> anyhow::Result<ExitCode> {
    if args.tensors {
        return Err(Advice::input(format!("{} is a GGUF model, whose tensors are not read", args.name))
            .hint(format!("longshore show {} says what its config says", args.name))
            .into());
    }
    let config = &model.config;
    let report = Report {
        version: VERSION,
        name: &args.name,
        digest: model.digest,
        format: "gguf",
        architecture: &config.model_family,
        parameters: &config.model_type,
        scheme: &config.file_type,
        capabilities: &config.capabilities,
        context_length: config.context_length,
        size: stored_size(model),
    };
    printer.report(&report, || human(&report, printer.columns()))?;
    Ok(ExitCode::SUCCESS)
}

fn human(report: &Report<'_>, room: Option<usize>) -> Lines {
    let lines = [
        digest(&report.digest),
        ("architecture", report.architecture.to_owned()),
        ("parameters", report.parameters.to_owned()),
        ("scheme", report.scheme.to_owned()),
        ("context", report.context_length.map_or_else(String::new, |tokens| format!("{tokens} tokens"))),
        ("can", report.capabilities.join(", ")),
        ("size", size(report.size)),
        ("weights", "one GGUF file, which is listed and verified, and not read".to_owned()),
    ];
    let known: Vec<_> = lines.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let mut text = Lines::new();
    text.styled(STRONG, &report.name.to_string(), "");
    text.append(&facts(&known, room));
    text
}
