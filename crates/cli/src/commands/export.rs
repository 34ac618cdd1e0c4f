//! `export NAME DIR`: a stored model as a directory that other tools load.

use std::{borrow::Cow, process::ExitCode};

use longshore_manifest::{ModelName, Store};
use longshore_packer::ExportOptions;
use serde::Serialize;

use super::VERSION;
use crate::{
    args::{Export, ExportFormat},
    format::{plural, size},
    printer::Printer,
    progress::Bar,
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    name: &'a ModelName,
    dir: Cow<'a, str>,
    tensors: usize,
    shards: usize,
    files: usize,
    bytes: u64,
}

pub(super) fn run(args: &Export, store: &Store, printer: &Printer) -> anyhow::Result<ExitCode> {
    let ExportFormat::Hf = args.format;
    let model = store.model(&args.name)?;
    let mut options = ExportOptions::default();
    options.dequantize = args.dequantize;
    let outcome = {
        let bar = Bar::new(printer);
        longshore_packer::export(store, &model, &args.dir, &options, &bar)?
    };
    let report = Report {
        version: VERSION,
        name: &args.name,
        dir: args.dir.to_string_lossy(),
        tensors: outcome.tensors,
        shards: outcome.shards,
        files: outcome.files,
        bytes: outcome.bytes,
    };
    printer.report(&report, || {
        format!(
            "{}: {} in {} and {}, {}\n",
            args.dir.display(),
            plural(outcome.tensors, "tensor"),
            plural(outcome.shards, "safetensors file"),
            plural(outcome.files, "companion file"),
            size(outcome.bytes)
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
