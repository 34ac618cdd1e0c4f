//! Weights that are packed in a way that nothing here knows.

use longshore_model::{QuantizationMethod, SourceQuantization};
use longshore_st_format::Dtype;

use super::{
    error::{CodingError, ORIGINAL},
    files::Files,
};

/// Whether a tensor that nothing has recognised holds codes: integers of two axes or more beside a tensor that scales them.
pub(super) fn is_packed(files: &Files<'_>, at: usize) -> bool {
    let tensor = &files.tensors[at];
    let is_integer = matches!(
        tensor.dtype,
        Dtype::I8 | Dtype::U8 | Dtype::I16 | Dtype::U16 | Dtype::I32 | Dtype::U32 | Dtype::I64 | Dtype::U64
    );
    if !is_integer || tensor.shape.rank() < 2 {
        return false;
    }
    // Of `a.b.weight._data`, `a.b.q_weight`, `a.b.W_q` and `a.b.down_proj`: what stands before the last word, or is the whole.
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

/// The refusal of such a tensor.
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
