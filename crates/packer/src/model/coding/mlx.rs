//! Recognition of weights that MLX quantized.

use longshore_model::mlx::{BIASES, LayoutError, Module, SCALES, WEIGHT};
use longshore_quant::Scheme;

use super::{
    files::{Found, Recognised},
    kind::{Coding, PackedLayout},
};
use crate::{source::form::Form, tensor::SourceParts};

const MLX: &str = Form::Mlx.label();

/// Recognises `weight` of type U32 with `scales`, and with `biases` for affine schemes.
pub(super) fn recognise(found: &Found<'_, '_>, module: &str) -> Recognised {
    let (outer, _) = found.matrix(MLX)?;
    let scales = found.need(&format!("{module}{SCALES}"), MLX)?;
    let biases = found.files.find(&format!("{module}{BIASES}"));
    let array = |at: usize| (found.files.tensors[at].dtype, &found.files.tensors[at].shape);
    let arrays = Module { weight: array(found.at), scales: array(scales), biases: biases.map(array) };
    let coding = arrays.coding(found.said(module)).map_err(|error| match error {
        LayoutError::ScaleType { .. } => found.unexpected(scales, "F32, F16 or BF16".into()),
        LayoutError::Biases { .. } => {
            let (dtype, shape) = arrays.scales;
            found.unexpected(biases.unwrap_or(scales), format!("{dtype} {shape}"))
        }
        LayoutError::NoBiases { .. } => {
            found.need(&format!("{module}{BIASES}"), MLX).err().unwrap_or_else(|| found.problem(MLX, error.to_string()))
        }
        LayoutError::ScaleShape { expected, .. } => found.unexpected(scales, format!("{} {expected}", arrays.scales.0)),
        LayoutError::NoScheme { bits, group_size } => {
            let bits = u8::try_from(bits).unwrap_or(u8::MAX);
            let problem =
                Scheme::affine(bits, group_size).map_or_else(|error| error.to_string(), |_| error.to_string());
            found.problem(MLX, problem)
        }
        _ => found.problem(MLX, error.to_string()),
    })?;
    let scheme = Scheme::from_metadata(coding.quant_type, coding.group_size)
        .map_err(|error| found.problem(MLX, error.to_string()))?;
    if scheme.is_affine() {
        let groups = arrays.scales.1.dims().last().copied().unwrap_or_default();
        found.agrees(MLX, module, scheme, [coding.columns, groups])?;
    }
    let dtype = if scheme.is_affine() { arrays.scales.0 } else { found.files.float };
    let parts = SourceParts { scales: Some(scales), biases, ..SourceParts::default() };
    let coding_of_source = Coding::Packed { scheme, layout: PackedLayout::Mlx };
    Ok(Some(found.tensor(format!("{module}{WEIGHT}"), dtype, outer, coding.columns, coding_of_source, parts)))
}
