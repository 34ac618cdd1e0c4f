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
use longshore_quant::FloatType;
use longshore_st_format::Dtype;

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

fn dtype(float: FloatType) -> Dtype {
    match float {
        FloatType::F32 => Dtype::F32,
        FloatType::F16 => Dtype::F16,
        FloatType::BF16 => Dtype::BF16,
    }
}
