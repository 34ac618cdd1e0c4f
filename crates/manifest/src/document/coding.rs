//! Check that the parts of a quantized tensor match its code.

use longshore_st_format::{Dtype, Shape};

use super::{GgmlBlocks, Part, Quantization, Role, TensorEntry};

/// Properties of a code. A tensor `[…, K]` has the weight U32 `[…, K × bits / 32]`.
pub(crate) struct Coding {
    /// Bits of one element's code.
    pub(crate) bits: u64,
    /// Whether each group has a scale and a bias of the tensor's own type. Otherwise each group has a scale of one
    /// byte.
    pub(crate) is_affine: bool,
    /// Number of elements of a group, for codes with a fixed group size.
    pub(crate) group_size: Option<u32>,
    /// Whether one F32, for the whole tensor or for each expert of a stack, may multiply the scales.
    has_global_scale: bool,
}

impl Coding {
    pub(crate) fn of(quant_type: &str) -> Option<Self> {
        let affine = |bits| Some(Self { bits, is_affine: true, group_size: None, has_global_scale: false });
        let float = |bits, size| Some(Self { bits, is_affine: false, group_size: Some(size), has_global_scale: false });
        match quant_type {
            "int2" => affine(2),
            "int3" => affine(3),
            "int4" => affine(4),
            "int5" => affine(5),
            "int6" => affine(6),
            "int8" => affine(8),
            "nvfp4" => float(4, 16).map(|nvfp4| Self { has_global_scale: true, ..nvfp4 }),
            "mxfp4" => float(4, 32),
            "mxfp8" => float(8, 32),
            _ => None,
        }
    }
}

/// Checks the types and shapes of the parts of `tensor`. The caller has checked that it has a weight and no role twice.
pub(super) fn check(tensor: &TensorEntry, quantization: &Quantization) -> Result<(), String> {
    let Quantization { quant_type, group_size } = quantization;
    if let Some(blocks) = GgmlBlocks::of(quant_type) {
        return blocks.check(tensor, *group_size);
    }
    let Some(coding) = Coding::of(quant_type) else {
        return Err(format!("it is quantized as {quant_type:?}, which is not a known scheme"));
    };
    if *group_size == 0 {
        return Err("it is quantized in groups of 0 elements".into());
    }
    let ([_, .., columns], group) = (tensor.shape.dims(), u64::from(*group_size)) else {
        return Err(format!("it is quantized and {}, expected two axes or more", tensor.shape));
    };
    if !columns.is_multiple_of(group) {
        return Err(format!("it is quantized in groups of {group} elements, which do not divide {}", tensor.shape));
    }
    let Some(code_bits) = columns.checked_mul(coding.bits).filter(|bits| bits.is_multiple_of(32)) else {
        return Err(format!("it is {quant_type} and {}, whose rows are not a whole number of words", tensor.shape));
    };
    let (groups, words) = (columns / group, code_bits / 32);

    let scale = if coding.is_affine { tensor.dtype } else { Dtype::U8 };
    if coding.is_affine && !matches!(tensor.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Err(format!("it is {quant_type} of {}, expected F32, F16 or BF16", tensor.dtype));
    }
    let needed = |role, what| tensor.part(role).ok_or_else(|| format!("it is quantized and has no {what}"));
    expect(tensor, needed(Role::Weight, "weight")?, Dtype::U32, words)?;
    expect(tensor, needed(Role::Scale, "scale")?, scale, groups)?;
    match tensor.part(Role::Bias) {
        Some(bias) if coding.is_affine => expect(tensor, bias, scale, groups)?,
        Some(_) => return Err(format!("it is {quant_type} and has a bias for each group")),
        None if coding.is_affine => return Err(format!("it is {quant_type} and has no bias for each group")),
        None => {}
    }
    match tensor.part(Role::GlobalScale) {
        Some(_) if !coding.has_global_scale => Err(format!("it is {quant_type} and has a global scale")),
        Some(part) if !is_global_scale(part, tensor.shape.dims()) => {
            Err(format!("its GlobalScale is {} {}, expected one F32, or one for each expert", part.dtype, part.shape))
        }
        _ => Ok(()),
    }
}

/// Whether `part` is one F32, or `[experts, 1, 1]` for a stack `[experts, out, in]`.
fn is_global_scale(part: &Part, dims: &[u64]) -> bool {
    let of_each = matches!((part.shape.dims(), dims), ([count, 1, 1], [experts, _, _]) if count == experts);
    part.dtype == Dtype::F32 && (part.shape.elements() == Some(1) || of_each)
}

/// Checks that `part` has type `dtype` and the extents of `tensor`, with the last extent replaced by `last`.
fn expect(tensor: &TensorEntry, part: &Part, dtype: Dtype, last: u64) -> Result<(), String> {
    let mut dims = tensor.shape.dims().to_vec();
    if let Some(columns) = dims.last_mut() {
        *columns = last;
    }
    let shape = Shape::from(dims);
    if (part.dtype, &part.shape) == (dtype, &shape) {
        return Ok(());
    }
    let (role, found) = (part.role, &part.shape);
    Err(format!(
        "its {role:?} is {} {found}, expected {dtype} {shape} for {} {}",
        part.dtype, tensor.dtype, tensor.shape
    ))
}
