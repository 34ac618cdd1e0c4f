//! The scale of a whole NVFP4 tensor, which GGUF files hold in a tensor of its own.

use std::collections::HashMap;

use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Shape};

use crate::{
    io::has_suffix,
    model::{coding::kind::Coding, tensor::ModelTensor},
    tensor::SourceParts,
};

/// F32 tensors that may be the scales of others, by name: the place of each, and the number of its elements.
pub(super) type Scales = HashMap<String, (usize, u64)>;

/// The tensors among `tensors` that may be scales of NVFP4 tensors.
pub(super) fn scales(tensors: &[ModelTensor]) -> Scales {
    let is_scale = |tensor: &&ModelTensor| {
        let ModelTensor { name, dtype, shape, coding, .. } = tensor;
        *coding == Coding::Plain && *dtype == Dtype::F32 && shape.rank() <= 1 && has_suffix(name, ".scale")
    };
    let found = tensors.iter().filter(is_scale);
    found.map(|found| (found.name.clone(), (found.parts.weight, found.shape.elements().unwrap_or_default()))).collect()
}

/// Whether the tensor `name` may have a scale.
pub(super) fn has_scale(scales: &Scales, name: &str) -> bool {
    name.strip_suffix(".weight").is_some_and(|module| scales.contains_key(&format!("{module}.scale")))
}

/// Gives a tensor that is taken over as nvfp4 its scale, and returns the scale's shape in a store: `[]`, or `[experts, 1,
/// 1]`. `None` if it has none or is stored otherwise.
pub(super) fn global_scale(
    scales: &Scales,
    scheme: Option<Scheme>,
    coding: Coding,
    name: &str,
    shape: &Shape,
    parts: &mut SourceParts,
) -> Option<Shape> {
    if scheme != Some(Scheme::NVFP4) || coding.exact_scheme() != scheme || !matches!(coding, Coding::Ggml { .. }) {
        return None;
    }
    let (at, elements) = *scales.get(&format!("{}.scale", name.strip_suffix(".weight")?))?;
    let found = match *shape.dims() {
        [experts, _, _] if elements == experts => Shape::new([experts, 1, 1]),
        _ if elements == 1 => Shape::new([]),
        _ => return None,
    };
    parts.global_scale = Some(at);
    Some(found)
}
