//! Weights in a packing that is not known.

use longshore_model::{QuantizationMethod, SourceQuantization};
use longshore_st_format::Dtype;

use super::{
    error::{CodingError, ORIGINAL},
    files::Files,
};

/// Whether a tensor that was not recognised holds codes: integers with two or more axes, beside a tensor that looks
/// like their scales.
pub(super) fn is_packed(files: &Files<'_>, at: usize) -> bool {
    let tensor = &files.tensors[at];
    if !is_integer(tensor.dtype) || tensor.shape.rank() < 2 {
        return false;
    }
    // The prefix of `a.b.weight._data`, `a.b.q_weight`, `a.b.W_q` or `a.b.down_proj` that companions share: the module,
    // or the whole name.
    let name = tensor.name.as_str();
    let module = name.rfind('.').map_or("", |dot| &name[..=dot]);
    let beside = |prefix: &str| {
        let first = files.tensors.partition_point(|other| other.name.as_str() < prefix);
        let alike = files.tensors[first..].iter().take_while(|other| other.name.starts_with(prefix));
        alike.filter(|other| other.name != name).any(|other| {
            let rest = &other.name[prefix.len()..];
            !rest.contains('.') && ["scale", "zero", "absmax", "qmeta"].iter().any(|word| rest.contains(word))
        })
    };
    !module.is_empty() && beside(module) || beside(&format!("{name}_")) || beside(&format!("{name}."))
}

pub(super) fn is_integer(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::I8 | Dtype::U8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32 | Dtype::I64 | Dtype::U64)
}

/// The error for a tensor that [`is_packed`].
pub(super) fn refusal(name: &str, dtype: Dtype, quantization: Option<&SourceQuantization>) -> CodingError {
    let reason = match quantization.map(|said| &said.method) {
        Some(QuantizationMethod::Other(method)) if !method.is_empty() => format!("config.json calls it {method:?}"),
        _ => "scales or zeros stand beside it".to_owned(),
    };
    CodingError::Packing {
        tensor: name.to_owned(),
        dtype,
        packing: "in a packing that is not known",
        reason: Some(reason),
        hint: ORIGINAL,
    }
}
