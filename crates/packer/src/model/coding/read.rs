//! Turns the tensors of a source into those of the model, for each kind of source.

use std::collections::{HashMap, HashSet};

use longshore_st_format::Dtype;

use super::{
    doubtful,
    error::CodingError,
    files::{Files, named_modules},
    fp8,
    kind::{Coding, PackedLayout},
    packed, unknown, unmatched,
};
use crate::{
    gguf::types::GgufTensor,
    model::tensor::{ModelTensor, ModelTensors},
    source::{
        classify::Kind,
        inventory::{Contents, Stored},
        member::Member,
    },
    tensor::{SourceParts, SourceTensor},
};

/// Reads the model tensors of `member`, whose source tensors are `tensors`.
pub(crate) fn read(member: &Member, tensors: &[SourceTensor]) -> Result<ModelTensors, CodingError> {
    match &member.contents {
        Contents::Checkpoint { exact_scales, stated_shapes } => of_files(member, tensors, exact_scales, stated_shapes),
        Contents::Stored(stored) => Ok(of_store(stored)),
        Contents::Gguf(gguf) => Ok(of_gguf(tensors, &gguf.tensors)),
    }
}

/// The model tensors of checkpoint files that hold `tensors`, in byte order of their names. 8-bit floats without scales
/// are taken as plain values.
fn of_files(
    member: &Member,
    tensors: &[SourceTensor],
    exact_scales: &HashSet<usize>,
    stated_shapes: &HashMap<usize, Vec<i64>>,
) -> Result<ModelTensors, CodingError> {
    let config = member.config.as_ref();
    let names = tensors.iter().enumerate().map(|(at, tensor)| (tensor.name.as_str(), at)).collect();
    let quantization = config.and_then(|config| config.quantization.as_ref());
    let float = config.and_then(|config| config.dtype).unwrap_or(Dtype::BF16);
    let modules = match quantization.map(|quantization| named_modules(quantization, tensors)).transpose() {
        Ok(modules) => modules,
        // Of weights that are not quantized, nothing needs to be described.
        Err(_) if member.kind == Kind::Float => None,
        Err(source) => return Err(CodingError::Modules { source }),
    };
    let files = Files { tensors, names, exact_scales, stated_shapes, config, quantization, modules, float };
    let mut used = HashSet::new();
    let mut found = ModelTensors::default();
    // Packed codes are recognised first, because their scales may be 8-bit floats.
    for recognise in [packed::recognise, fp8::recognise] {
        for at in 0..tensors.len() {
            if used.contains(&at) {
                continue;
            }
            if let Some(coded) = recognise(&files, at)? {
                used.extend(coded.parts.iter().map(|(_, at)| at));
                used.extend(files.unused(&coded.name));
                found.tensors.push(coded);
            }
        }
    }
    if !found.tensors.is_empty() {
        found.warnings.extend(unmatched::check(&files, &found.tensors)?);
        found.notes.extend(unmatched::idle(&files));
    }
    if let Some(at) = (0..tensors.len()).find(|at| !used.contains(at) && unknown::is_packed(&files, *at)) {
        let SourceTensor { name, dtype, .. } = &tensors[at];
        return Err(unknown::refusal(name, *dtype, quantization));
    }
    found.warnings.extend(doubtful::warnings(&files, &found.tensors, &used));
    let is_unscaled = |(at, tensor): &(usize, &SourceTensor)| {
        !used.contains(at) && tensor.dtype == Dtype::F8E4M3 && tensor.shape.rank() >= 2
    };
    let mut unscaled = tensors.iter().enumerate().filter(is_unscaled);
    if let Some((_, first)) = unscaled.next() {
        let (count, first) = (1 + unscaled.count(), &first.name);
        found.warnings.push(format!("{count} FP8 tensors have no scale and are taken as values, {first} first"));
    }
    let plain = tensors.iter().enumerate().filter(|(at, _)| !used.contains(at)).map(|(at, tensor)| ModelTensor {
        name: tensor.name.clone(),
        dtype: tensor.dtype,
        shape: tensor.shape.clone(),
        coding: Coding::Plain,
        parts: SourceParts::plain(at),
    });
    found.tensors.extend(plain);
    found.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = found.tensors.windows(2).find(|pair| pair[0].name == pair[1].name) {
        let source = |tensor: &ModelTensor| tensors[tensor.parts.weight].name.clone();
        let (first, second) = (source(&pair[0]), source(&pair[1]));
        return Err(CodingError::Clash { name: pair[0].name.clone(), first, second });
    }
    fp8::settle(&mut found.tensors);
    Ok(found)
}

/// The model tensors of a stored model, as its table describes them.
fn of_store(stored: &Stored) -> ModelTensors {
    let tensors = stored.tensors.iter().map(|tensor| ModelTensor {
        name: tensor.name.clone(),
        // The type that codes decode to is one that can be quantized.
        dtype: if tensor.scheme.is_some() && tensor.dtype == Dtype::F64 { Dtype::F32 } else { tensor.dtype },
        shape: tensor.shape.clone(),
        coding: match (tensor.scheme, tensor.blocks) {
            (Some(scheme), _) => Coding::Packed { scheme, layout: PackedLayout::Stored },
            (None, Some(blocks)) => Coding::Ggml { blocks },
            (None, None) => Coding::Plain,
        },
        parts: tensor.parts,
    });
    ModelTensors { tensors: tensors.collect(), ..ModelTensors::default() }
}

/// The model tensors of GGUF files: one for each tensor of the files.
fn of_gguf(files: &[SourceTensor], gguf: &[GgufTensor]) -> ModelTensors {
    let tensors = files.iter().zip(gguf).enumerate().map(|(at, (file, GgufTensor { blocks, shape }))| ModelTensor {
        name: file.name.clone(),
        // ggml decodes blocks to F32.
        dtype: if blocks.is_some() { Dtype::F32 } else { file.dtype },
        shape: shape.clone(),
        coding: blocks.map_or(Coding::Plain, |blocks| Coding::Ggml { blocks }),
        parts: SourceParts::plain(at),
    });
    ModelTensors { tensors: tensors.collect(), ..ModelTensors::default() }
}
