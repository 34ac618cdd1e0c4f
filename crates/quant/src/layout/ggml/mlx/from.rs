//! From the parts of a scheme to blocks.

use super::{
    super::GgmlType,
    codes::{self, MAX_BLOCK},
    to::{exact_half, is_e2m1, unsigned_e4m3},
};
use crate::{
    FloatType, Format, Scheme,
    layout::{LayoutError, error::expect_len},
    portable::{bits, read},
};

/// The types whose blocks may hold the codes of a scheme, the shortest first. Empty for schemes that no type holds.
///
/// Which of them does hold a tensor depends on its scales and biases: see [`fits`].
#[must_use]
pub const fn types_of(scheme: Scheme) -> &'static [GgmlType] {
    match scheme.format() {
        Format::Affine { bits: 2 } if scheme.group_size() != 32 => &[GgmlType::Q2_0],
        Format::Affine { bits: 4 } => &[GgmlType::Q4_0, GgmlType::Q4_1],
        Format::Affine { bits: 5 } => &[GgmlType::Q5_0, GgmlType::Q5_1],
        Format::Affine { bits: 8 } => &[GgmlType::Q8_0],
        Format::Mxfp4 => &[GgmlType::MXFP4],
        Format::Nvfp4 => &[GgmlType::NVFP4],
        _ => &[],
    }
}

/// The factor of the scale that is the bias, for the types without a minimum.
const fn offset(ggml_type: GgmlType) -> Option<f32> {
    match ggml_type {
        GgmlType::Q4_0 => Some(-8.0),
        GgmlType::Q5_0 => Some(-16.0),
        GgmlType::Q8_0 => Some(-128.0),
        GgmlType::Q2_0 => Some(-1.0),
        _ => None,
    }
}

/// Checks that blocks of a type hold these scales and biases of a scheme: those of any run of groups. `float` is their
/// type in an affine scheme; `bias` is empty in the others. The codes always fit.
///
/// # Errors
///
/// [`LayoutError::Lossy`] unless [`types_of`] lists the type, and where a scale or a bias cannot be held. The message
/// says what the type needs. [`LayoutError::PartialRow`] where `scale` is not whole elements,
/// [`LayoutError::Length`] where `bias` has another length.
pub fn fits(
    ggml_type: GgmlType,
    scheme: Scheme,
    float: FloatType,
    scale: &[u8],
    bias: &[u8],
) -> Result<(), LayoutError> {
    if !types_of(scheme).contains(&ggml_type) {
        let found = format!("{scheme} for {ggml_type}");
        return Err(LayoutError::Lossy { expected: "a type that holds the codes", found });
    }
    let one = scheme.group_len(float);
    if !scale.len().is_multiple_of(one.scale) {
        return Err(LayoutError::PartialRow { part: "scale", row: one.scale, found: scale.len() });
    }
    expect_len("bias", scale.len() / one.scale * one.bias, bias.len())?;
    match ggml_type {
        GgmlType::MXFP4 if scale.contains(&255) => {
            Err(LayoutError::Lossy { expected: "exponents below 255", found: "255".to_owned() })
        }
        GgmlType::MXFP4 => Ok(()),
        GgmlType::NVFP4 => unsigned_e4m3(scale),
        _ => {
            let size = float.size();
            let pairs = scale.chunks_exact(size).zip(bias.chunks_exact(size));
            for (scale, bias) in pairs {
                affine(ggml_type, float, scale, bias)?;
            }
            Ok(())
        }
    }
}

/// The F16 scale and minimum of an affine group. A type without a minimum must find its bias in the scale.
fn affine(ggml_type: GgmlType, float: FloatType, scale: &[u8], bias: &[u8]) -> Result<[[u8; 2]; 2], LayoutError> {
    let mut values = [[0.0]; 2];
    let [step, least] = &mut values;
    read(float, scale, step);
    read(float, bias, least);
    let [[step], [least]] = values;
    let d = exact_half(step)?;
    let Some(offset) = offset(ggml_type) else { return Ok([d, exact_half(least)?]) };
    #[expect(clippy::float_cmp, reason = "exactness is what is asked; the sign of a zero adds nothing")]
    if least == offset * step {
        return Ok([d, [0; 2]]);
    }
    let expected = match ggml_type {
        GgmlType::Q4_0 => "biases of −8 scales",
        GgmlType::Q5_0 => "biases of −16 scales",
        GgmlType::Q8_0 => "biases of −128 scales",
        _ => "biases of −1 scale",
    };
    Err(LayoutError::Lossy { expected, found: format!("the bias {least:e} with the scale {step:e}") })
}

/// Writes whole groups of a scheme as blocks of a type: the inverse of [`Mapping::to_mlx`](super::Mapping::to_mlx), for
/// any group size and any type of scales. `parts` are the codes, the scales and the biases.
///
/// The decoded values are equal to the bit in `f32`, but for the sign of zeros.
///
/// # Errors
///
/// Those of [`fits`], and [`LayoutError::PartialRow`] where `out` is not whole blocks, [`LayoutError::Length`] unless
/// `out` and the parts have the same number of elements: multiples of the block and of the group. The blocks before the
/// first that cannot be held may have been written.
pub fn from_mlx(
    ggml_type: GgmlType,
    scheme: Scheme,
    float: FloatType,
    parts: [&[u8]; 3],
    out: &mut [u8],
) -> Result<(), LayoutError> {
    let [weight, scale, bias] = parts;
    fits(ggml_type, scheme, float, scale, bias)?;
    let (block_len, size) = (ggml_type.block_bytes(), ggml_type.block_size());
    if !out.len().is_multiple_of(block_len) {
        return Err(LayoutError::PartialRow { part: "blocks", row: block_len, found: out.len() });
    }
    let (group, one) = (scheme.group_elements(), scheme.group_len(float));
    let elements = out.len() / block_len * size;
    if !elements.is_multiple_of(group) {
        return Err(LayoutError::PartialRow { part: "elements", row: group, found: elements });
    }
    let groups = elements / group;
    for (part, len, found) in [("weight", one.weight, weight.len()), ("scale", one.scale, scale.len())] {
        expect_len(part, groups * len, found)?;
    }
    let packed_len = size * usize::from(scheme.bits()) / 8;
    let mut codes = [0; MAX_BLOCK];
    let codes = &mut codes[..size];
    for (at, (block, packed)) in out.chunks_exact_mut(block_len).zip(weight.chunks_exact(packed_len)).enumerate() {
        unpack(scheme, packed, codes);
        let first = at * size / group;
        if is_e2m1(scheme) {
            let count = size / group;
            block[..count].copy_from_slice(&scale[first..first + count]);
        } else {
            let place = first * one.scale..(first + 1) * one.scale;
            let [d, m] = affine(ggml_type, float, &scale[place.clone()], &bias[place])?;
            block[..2].copy_from_slice(&d);
            if offset(ggml_type).is_none() {
                block[2..4].copy_from_slice(&m);
            }
        }
        codes::write(ggml_type, codes, block);
    }
    Ok(())
}

/// Unpacks the codes of a block.
fn unpack(scheme: Scheme, packed: &[u8], codes: &mut [u8]) {
    match scheme.bits() {
        2 => bits::unpack::<2>(packed, codes),
        4 => bits::unpack::<4>(packed, codes),
        5 => bits::unpack::<5>(packed, codes),
        _ => bits::unpack::<8>(packed, codes),
    }
}
