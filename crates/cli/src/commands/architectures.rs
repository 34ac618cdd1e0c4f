//! `inspect --architectures`: the known architectures, and what is supported for each.

use std::process::ExitCode;

use longshore_model::architecture::{Architecture, Architectures};
use longshore_packer::mlx_architectures;
use serde::Serialize;

use crate::{
    lines::Lines,
    printer::{Printer, VERSION},
    table::{Align, table},
};

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    architectures: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    /// Classes and values of `model_type`.
    names: &'a [String],
    /// Runtimes that run it.
    runtimes: &'a [String],
    /// Whether facts that its configuration leaves unsaid are known.
    own_facts: bool,
    /// Whether checkpoints store fused experts as `[experts, in, out]`, which an import transposes.
    transposed_experts: bool,
    /// Formats of `export`.
    exports: Vec<&'static str>,
}

pub(super) fn run(printer: &Printer) -> anyhow::Result<ExitCode> {
    let known = Architectures::known();
    let mlx: Vec<_> = mlx_architectures().filter_map(|name| known.find(name)).map(Architecture::names).collect();
    let row = |architecture: &'static Architecture| Row {
        names: architecture.names(),
        runtimes: architecture.runtimes(),
        own_facts: architecture.has_own_facts(),
        transposed_experts: architecture.has_transposed_experts(),
        exports: if mlx.contains(&architecture.names()) { vec!["hf", "mlx"] } else { vec!["hf"] },
    };
    let report = Report { version: VERSION, architectures: known.iter().map(row).collect() };
    printer.report(&report, || human(&report, printer.columns()))?;
    Ok(ExitCode::SUCCESS)
}

fn human(report: &Report<'_>, room: Option<usize>) -> Lines {
    let columns = [
        ("ARCHITECTURE", Align::Left),
        ("RUNS IN", Align::Left),
        ("FACTS", Align::Left),
        ("EXPERTS", Align::Left),
        ("EXPORT", Align::Left),
    ];
    let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let row = |row: &Row<'_>| {
        vec![
            row.names.join(", "),
            or_none(row.runtimes.join(", ")),
            if row.own_facts { "with defaults" } else { "as stated" }.to_owned(),
            if row.transposed_experts { "transposed" } else { "-" }.to_owned(),
            row.exports.join(", "),
        ]
    };
    table(&columns, &report.architectures.iter().map(row).collect::<Vec<_>>(), room)
}
