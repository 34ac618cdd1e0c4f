//! Forms of packed weights, recognised by the names and types of tensors.

use longshore_st_format::Dtype;

use crate::tensor::SourceTensor;

/// The form of a packed weight: the tool or format that wrote it, as far as names and types tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    SubByteFloat,
    CompressedTensors,
    /// AWQ or GPTQ, which use the same names.
    Qweight,
    Blocks,
    Mlx,
    ModelOptNvfp4,
    /// Bytes with scales that are not NVFP4's.
    ScaledBytes,
    BitsAndBytes4,
    BitsAndBytes8,
    Integers,
    /// Two FP4 codes to a byte, as `DeepSeek` publishes them.
    Fp4Bytes,
}

impl Form {
    /// Description of a weight in this form, for messages.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::SubByteFloat => "a sub-byte float",
            Self::CompressedTensors => "a packed weight of compressed-tensors",
            Self::Qweight => "an AWQ or GPTQ weight",
            Self::Blocks => "a weight in MXFP4 blocks",
            Self::Mlx => "an MLX quantized weight",
            Self::ModelOptNvfp4 => "a ModelOpt NVFP4 weight",
            Self::ScaledBytes => "a packed weight with scales",
            Self::BitsAndBytes4 => "a 4-bit bitsandbytes weight",
            Self::BitsAndBytes8 => "an 8-bit bitsandbytes weight",
            Self::Integers => "an 8-bit integer weight",
            Self::Fp4Bytes => "an FP4 weight, two codes to a byte of I8, with an F8_E8M0 scale for each 32",
        }
    }
}

/// A tensor that holds codes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packed<'n> {
    pub(crate) form: Form,
    /// Name of the tensor without the suffix of the form.
    pub(crate) stem: &'n str,
    /// Name of the tensor with the scales, which may be missing. `None` if the form has no such tensor.
    pub(crate) scales: Option<String>,
}

/// Recognises `tensor` if it holds codes. `dtype_of` returns the type of the tensor with a given name, if there is one.
pub(crate) fn packed(
    dtype_of: impl Fn(&str) -> Option<Dtype>,
    SourceTensor { name, dtype, shape, .. }: &SourceTensor,
) -> Option<Packed<'_>> {
    let found = |form, stem, scales: String| Some(Packed { form, stem, scales: Some(scales) });
    if matches!(dtype, Dtype::F4 | Dtype::F6E2M3 | Dtype::F6E3M2) {
        return Some(Packed { form: Form::SubByteFloat, stem: name, scales: None });
    }
    if let Some(stem) = name.strip_suffix(".weight_packed") {
        return found(Form::CompressedTensors, stem, format!("{stem}.weight_scale"));
    }
    if let Some(stem) = name.strip_suffix(".qweight") {
        return found(Form::Qweight, stem, format!("{stem}.scales"));
    }
    if let Some(stem) = name.strip_suffix("_blocks").filter(|_| *dtype == Dtype::U8) {
        let scales = format!("{stem}_scales");
        let is_packed = matches!(shape.dims(), [_, _, _, 16]) || dtype_of(&scales).is_some();
        return if is_packed { found(Form::Blocks, stem, scales) } else { None };
    }
    let stem = name.strip_suffix(".weight")?;
    let beside = |suffix: &str| Some(format!("{stem}.{suffix}")).filter(|name| dtype_of(name).is_some());
    let is_nvfp4 = |scales: &str| dtype_of(scales) == Some(Dtype::F8E4M3);
    match dtype {
        Dtype::U32 if beside("scales").or_else(|| beside("biases")).is_some() => {
            found(Form::Mlx, stem, format!("{stem}.scales"))
        }
        Dtype::U8 => match (beside("weight_scale"), beside("weight.absmax")) {
            (Some(scales), _) if is_nvfp4(&scales) => found(Form::ModelOptNvfp4, stem, scales),
            (Some(scales), _) => found(Form::ScaledBytes, stem, scales),
            (None, Some(scales)) => found(Form::BitsAndBytes4, stem, scales),
            (None, None) => None,
        },
        Dtype::I8 => {
            let powers = fp8_scales(name).find(|scales| dtype_of(scales) == Some(Dtype::F8E8M0));
            match (beside("SCB"), powers, beside("weight_scale")) {
                (Some(scales), ..) => found(Form::BitsAndBytes8, stem, scales),
                (None, Some(scales), _) => found(Form::Fp4Bytes, stem, scales),
                (None, None, Some(scales)) => found(Form::Integers, stem, scales),
                (None, None, None) => None,
            }
        }
        _ => None,
    }
}

/// Possible names of the scales of the 8-bit floats called `weight`, the likeliest first.
pub(crate) fn fp8_scales(weight: &str) -> impl Iterator<Item = String> {
    let module = weight.strip_suffix(".weight").unwrap_or(weight);
    [format!("{weight}_scale_inv"), format!("{weight}_scale"), format!("{module}.scale")].into_iter()
}
