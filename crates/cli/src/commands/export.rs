//! `export NAME DIR`: a stored model as a directory that other tools load.

use std::process::ExitCode;

use longshore_manifest::{ModelName, Store};
use longshore_packer::ExportOptions;
use serde::Serialize;

use crate::{
    advice::Advice,
    args::export::{Export, ExportFormat},
    door,
    format::{plural, size},
    lines::Lines,
    printer::{Printer, VERSION},
    progress::Bar,
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    name: &'a ModelName,
    dir: String,
    tensors: usize,
    shards: usize,
    files: usize,
    bytes: u64,
    left_out: usize,
}

pub(super) fn run(args: &Export, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let keeps = match args.format {
        ExportFormat::Hf => None,
        ExportFormat::Mlx => Some("--dequantize decodes, and --format mlx keeps the codes"),
        ExportFormat::Gguf => Some("--dequantize decodes, and --format gguf keeps the blocks"),
    };
    if let (Some(keeps), Some(_)) = (keeps, args.dequantize) {
        return Err(Advice::failure(keeps).hint("leave out one of the two").into());
    }
    if args.ggml_type.is_some() && args.format != ExportFormat::Gguf {
        return Err(Advice::failure("--type encodes for GGUF, and the format is another")
            .hint("--format gguf, or --dequantize bf16 (or f16, f32) with --format hf")
            .into());
    }
    if args.no_tokenizer && args.format != ExportFormat::Gguf {
        return Err(Advice::failure("--no-tokenizer is for GGUF, and the format is another")
            .hint("--format gguf, or leave it out: other formats have the tokenizer's files")
            .into());
    }
    let options = ExportOptions {
        format: match args.format {
            ExportFormat::Hf => longshore_packer::ExportFormat::Hf,
            ExportFormat::Mlx => longshore_packer::ExportFormat::Mlx,
            ExportFormat::Gguf => longshore_packer::ExportFormat::Gguf,
        },
        dequantize: args.dequantize,
        gguf_type: args.ggml_type,
        no_tokenizer: args.no_tokenizer,
        ..ExportOptions::default()
    };
    let outcome = {
        let bar = Bar::new(printer);
        let export = |model| longshore_packer::export(store, &model, &args.dir, &options, &bar);
        store.with_model(&args.name, |model| Ok::<_, anyhow::Error>(export(model)?))?
    };
    for note in &outcome.notes {
        printer.note(&format!("note: {note}"));
    }
    let report = Report {
        version: VERSION,
        name: &args.name,
        dir: door::path(&args.dir),
        tensors: outcome.tensors,
        shards: outcome.shards,
        files: outcome.files,
        bytes: outcome.bytes,
        left_out: outcome.left_out,
    };
    printer.report(&report, || {
        let left_out = match outcome.left_out {
            0 => String::new(),
            count => format!("; left out {} that mlx-lm does without", plural(count, "tensor")),
        };
        Lines::of(&format!(
            "{}: {} in {} and {}, {}{left_out}",
            door::path(&args.dir),
            plural(outcome.tensors, "tensor"),
            plural(outcome.shards, if args.format == ExportFormat::Gguf { "GGUF file" } else { "safetensors file" }),
            plural(outcome.files, "companion file"),
            size(outcome.bytes)
        ))
    })?;
    Ok(ExitCode::SUCCESS)
}
