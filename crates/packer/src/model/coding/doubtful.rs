//! Warnings about tensors that are imported, although something about them is not as it should be.

use std::collections::HashSet;

use longshore_st_format::Dtype;

use super::{files::Files, unknown};
use crate::model::tensor::ModelTensor;

/// Endings of the names of tensors that only quantized weights have.
const OF_CODES: [&str; 10] = [
    ".weight_scale",
    ".weight_scale_2",
    "_scale_inv",
    ".weight_global_scale",
    ".weight_zero_point",
    ".weight_g_idx",
    ".weight_shape",
    ".qzeros",
    ".g_idx",
    ".SCB",
];
/// Endings that tensors beside plain weights may have too.
const OF_WEIGHTS: [&str; 4] = [".input_scale", ".input_scale_inv", ".input_global_scale", ".activation_scale"];
/// Endings that mean nothing where no weight is quantized.
const BESIDE_CODES: [&str; 3] = [".scales", ".biases", "_scales"];
/// Endings of the names of weights, plain or quantized.
const WEIGHTS: [&str; 5] = ["", ".weight", ".weight_packed", ".qweight", "_blocks"];

/// Returns the warnings about the quantized weights `found`, and about the tensors that are in none of them: those that
/// are not `used`.
pub(super) fn warnings(files: &Files<'_>, found: &[ModelTensor], used: &HashSet<usize>) -> Vec<String> {
    let others = |is_odd: &dyn Fn(usize) -> bool| -> Vec<&str> {
        let odd = (0..files.tensors.len()).filter(|at| !used.contains(at) && is_odd(*at));
        odd.map(|at| files.tensors[at].name.as_str()).collect()
    };
    let orphans = others(&|at| is_orphan(files, at, !found.is_empty()));
    let unscaled = others(&|at| !found.is_empty() && is_unscaled(files, at));
    let about = |names: &[&str], one: &dyn Fn(&str) -> String, many: &str| match names {
        [] => None,
        [only] => Some(one(only)),
        [first, ..] => Some(format!("{} {many}, {first:?} first", names.len())),
    };
    let orphans = about(
        &orphans,
        &|name| {
            format!("tensor {name:?} belongs to a quantized weight that the files do not have, and is taken as values")
        },
        "tensors belong to quantized weights that the files do not have, and are taken as values",
    );
    let unscaled = about(
        &unscaled,
        &|name| format!("tensor {name:?} of integers has no scale, as quantized weights have, and is taken as values"),
        "tensors of integers have no scale, as quantized weights have, and are taken as values",
    );
    excluded(files, found).into_iter().chain(orphans).chain(unscaled).collect()
}

/// Quantized weights of modules that the configuration excludes from quantization.
fn excluded(files: &Files<'_>, found: &[ModelTensor]) -> Option<String> {
    let modules = files.modules.as_ref()?;
    let mut excluded = found.iter().filter_map(|tensor| {
        let weight = &files.tensors[tensor.parts.weight].name;
        Some((weight, modules.exclusion_of(weight.rsplit_once('.')?.0)?))
    });
    let (first, name) = excluded.next()?;
    Some(match 1 + excluded.count() {
        1 => format!("config.json's quantization excludes {name:?}, and {first:?} is quantized"),
        count => format!(
            "config.json's quantization excludes modules of which {count} weights are quantized, {first:?} first, by \
             {name:?}"
        ),
    })
}

/// Whether a tensor belongs to a quantized weight by its name or type, and not to a weight that is there.
fn is_orphan(files: &Files<'_>, at: usize, has_codes: bool) -> bool {
    let tensor = &files.tensors[at];
    let stem = |ends: &[&str]| ends.iter().find_map(|end| tensor.name.strip_suffix(end));
    if tensor.dtype == Dtype::F8E8M0 || stem(&OF_CODES).is_some() {
        return true;
    }
    let stem = stem(&OF_WEIGHTS).or_else(|| stem(&BESIDE_CODES).filter(|_| has_codes));
    stem.is_some_and(|stem| WEIGHTS.iter().all(|end| files.find(&format!("{stem}{end}")).is_none()))
}

/// Whether a tensor is a weight of integers, which no scale tells the values of.
fn is_unscaled(files: &Files<'_>, at: usize) -> bool {
    let tensor = &files.tensors[at];
    unknown::is_integer(tensor.dtype) && tensor.shape.rank() >= 2 && tensor.name.ends_with(".weight")
}
