//! `load NAME|DIR|FILE…`: into memory, and how fast that was.

mod cuda;
mod host;
mod mlx;
mod refusals;
mod report;
mod targets;

use std::process::ExitCode;

use longshore_manifest::{
    Store,
    weights::plan::{Layers, Selection},
};

use super::input::Input;
use crate::{
    args::load::{Device, Load},
    printer::Printer,
};

pub(super) fn run(
    args: &Load,
    store: impl FnOnce() -> anyhow::Result<Store>,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let input = targets::input(args, store)?;
    let selection = selection(args);
    match args.device {
        Device::Host => host::run(args, &input, &selection, printer),
        Device::Mlx => mlx::run(args, &input, &selection, printer),
        Device::Cuda(ordinal) => cuda::run(args, ordinal, &input, &selection, printer),
    }
}

fn selection(args: &Load) -> Selection {
    Selection {
        component: args.component.clone(),
        globs: args.select.clone(),
        layers: args.layers.clone().map(|range| Layers { range, others: false }),
        experts: args.experts.clone().map(Iterator::collect),
        tensor_parallel: args.shard,
        ..Selection::default()
    }
}
