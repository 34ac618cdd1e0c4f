//! The pairs of a GGUF file whose tensors get other types.

use longshore_gguf::{Metadata, Value};
use longshore_quant::ggml::GgmlType;

use super::{
    tensor::GgufTensor,
    types::{file_type, is_always_f32},
};

/// The version of ggml's blocks, which a file with blocks must name.
const QUANTIZATION_VERSION: (&str, u32) = ("general.quantization_version", 2);

/// The pairs of a file whose matrices become `ggml_type`, out of those that it had. `count` is the number of tensors in all
/// files of its set.
pub(super) fn of_type(metadata: &Metadata, ggml_type: GgmlType, count: usize) -> Metadata {
    let mut changed = Metadata::new();
    for (key, value) in metadata.iter() {
        let value = match key {
            "general.file_type" => file_type(ggml_type).map_or(value, Value::U32),
            "split.tensors.count" => i32::try_from(count).map_or(value, Value::I32),
            key if key == QUANTIZATION_VERSION.0 => Value::U32(QUANTIZATION_VERSION.1),
            _ => value,
        };
        changed.push(key, value).expect("the pairs were those of a file");
    }
    let is_first = changed.get("general.architecture").is_some();
    if is_first && ggml_type.block_size() > 1 && changed.get(QUANTIZATION_VERSION.0).is_none() {
        let (key, version) = QUANTIZATION_VERSION;
        changed.push(key, version).expect("it is short and new");
    }
    changed
}

/// The pairs of a new file with tensors of these types: those of `metadata`, the version of the blocks, and the type that most
/// matrices have.
pub(super) fn of_new(mut metadata: Metadata, types: impl Iterator<Item = GgmlType>) -> Metadata {
    let mut counts: Vec<(GgmlType, usize)> = Vec::new();
    for known in types {
        match counts.iter_mut().find(|(other, _)| *other == known) {
            Some((_, count)) => *count += 1,
            None => counts.push((known, 1)),
        }
    }
    let has_blocks = counts.iter().any(|(known, _)| known.block_size() > 1);
    // Vectors are F32 in any file.
    let matrices = counts.iter().filter(|(known, _)| *known != GgmlType::F32 || counts.len() == 1);
    let most = matrices.max_by_key(|(_, count)| *count).and_then(|(known, _)| file_type(*known));
    let mut add = |key: &str, value: u32| metadata.push(key, value).expect("it is short and new");
    if let Some(most) = most {
        add("general.file_type", most);
    }
    if has_blocks {
        let (key, version) = QUANTIZATION_VERSION;
        add(key, version);
    }
    metadata
}

/// Says which matrices are not of the type that was asked for, because its blocks do not fill their rows.
pub(super) fn fallback<'t, 'w: 't>(
    asked: GgmlType,
    tensors: impl IntoIterator<Item = &'t GgufTensor<'w>>,
) -> Option<String> {
    let mut others = tensors.into_iter().filter(|tensor| {
        let row = tensor.shape.dims().last().copied().unwrap_or(1);
        let fills = row.is_multiple_of(asked.block_size() as u64);
        !is_always_f32(&tensor.name, tensor.shape.rank()) && !fills
    });
    let first = others.next()?;
    let count = 1 + others.count();
    Some(format!(
        "{count} matrices have rows that blocks of {asked} do not fill, and get another type as in llama.cpp: {} is {}, for \
         one",
        first.name, first.ggml_type
    ))
}
