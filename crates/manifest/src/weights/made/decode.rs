//! Decoding of quantized tensors in memory.

use std::{collections::BTreeMap, io};

use longshore_quant::{
    Decoder, FloatType, Scheme,
    ggml::{self, GgmlType},
};
use longshore_st_format::Dtype;

use super::{
    Codes, PlannedTensor,
    fill::{CHUNK, Job, Work, populate},
    index,
};
use crate::{
    document::{GgmlBlocks, Quantization, Role},
    weights::{BlobBytes, WeightsError, plan::PartView},
};

/// Bytes of a part: a range of a file, or of the scratch memory.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    /// The file, and the start of the range in it. `None` for scratch memory.
    file: Option<(&'a BlobBytes, u64)>,
    pub(super) bytes: &'a [u8],
}

/// Some groups or blocks of a tensor.
pub(super) enum Decode<'a> {
    /// Groups of a scheme.
    Groups { decoder: Decoder, weight: Bytes<'a>, scale: Bytes<'a>, bias: Bytes<'a> },
    /// ggml's blocks.
    Blocks { ggml_type: GgmlType, output: FloatType, blocks: Bytes<'a> },
}

/// Whether codes of this kind can be decoded.
pub(super) fn is_possible(quantization: &Quantization, stored: Dtype, to: Dtype) -> bool {
    let is_known = scheme(quantization).is_some() || ggml_type(quantization).is_some();
    is_known && float(stored).is_some() && float(to).is_some()
}

pub(super) fn ggml_type(quantization: &Quantization) -> Option<GgmlType> {
    GgmlBlocks::of(&quantization.quant_type)?.name.parse().ok()
}

fn scheme(quantization: &Quantization) -> Option<Scheme> {
    Scheme::from_metadata(&quantization.quant_type, quantization.group_size).ok()
}

fn float(dtype: Dtype) -> Option<FloatType> {
    match dtype {
        Dtype::F32 => Some(FloatType::F32),
        Dtype::F16 => Some(FloatType::F16),
        Dtype::BF16 => Some(FloatType::BF16),
        _ => None,
    }
}

impl<'a> Bytes<'a> {
    const NONE: Self = Self { file: None, bytes: &[] };

    pub(super) fn of(part: &PartView, file: &'a BlobBytes, scratch: &'a [u8]) -> Self {
        match (part.arena, part.origin.extents.first()) {
            (Some(at), _) => Self { file: None, bytes: &scratch[index(at)..index(at) + index(part.len)] },
            (None, Some(extent)) => {
                let bytes = &file[index(extent.offset)..index(extent.end())];
                Self { file: Some((file, extent.offset)), bytes }
            }
            (None, None) => Self::NONE,
        }
    }

    /// Bytes `from .. to` of these.
    pub(super) fn slice(&self, from: usize, to: usize) -> Self {
        let file = self.file.map(|(file, start)| (file, start + from as u64));
        Self { file, bytes: &self.bytes[from..to] }
    }

    pub(super) fn load(&self) -> io::Result<()> {
        match self.file {
            Some((file, start)) if !self.bytes.is_empty() => populate(file, start, start + self.bytes.len() as u64),
            _ => Ok(()),
        }
    }
}

/// Adds jobs that fill `out` with the values of a tensor.
pub(super) fn jobs<'a>(
    tensor: &'a PlannedTensor,
    codes: &Codes,
    parts: &BTreeMap<Role, Bytes<'a>>,
    mut out: &'a mut [u8],
    jobs: &mut Vec<Job<'a>>,
) -> Result<(), WeightsError> {
    let view = &tensor.view;
    if let (Some(ggml_type), Some(output)) = (ggml_type(&codes.quantization), float(view.dtype)) {
        let blocks = parts.get(&Role::Weight).copied().unwrap_or(Bytes::NONE);
        return block_jobs(tensor, codes, (ggml_type, output), blocks, out, jobs);
    }
    let refuse =
        || WeightsError::Decode { tensor: view.name.clone(), found: codes.quantization.to_string(), to: view.dtype };
    let (Some(scheme), Some(stored), Some(to)) = (scheme(&codes.quantization), float(codes.stored), float(view.dtype))
    else {
        return Err(refuse());
    };
    let part = |role| parts.get(&role).copied().unwrap_or(Bytes::NONE);
    let (weight, scale, bias) = (part(Role::Weight), part(Role::Scale), part(Role::Bias));
    let group_bytes = index(scheme.group_size().into()) * to.size();
    let group = scheme.encoded_len(1, stored).ok_or_else(refuse)?;
    let groups = out.len() / group_bytes;
    let fits = |found: Bytes<'_>, of_group: usize| found.bytes.len() == groups * of_group;
    if !out.len().is_multiple_of(group_bytes)
        || !fits(weight, group.weight)
        || !fits(scale, group.scale)
        || !fits(bias, group.bias)
    {
        return Err(refuse());
    }
    // One global scale for all, or one for each expert.
    let global: Vec<f32> =
        part(Role::GlobalScale).bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    let of_each = groups / global.len().max(1);
    if !global.is_empty() && of_each * global.len() != groups {
        return Err(refuse());
    }
    let digest = view.parts[0].origin.digest;
    let step = (index(CHUNK) / group_bytes).max(1);
    let mut done = 0;
    while done < groups {
        let (mut decoder, mut end) = (Decoder::new(scheme, stored, to), groups);
        if let Some(multiplier) = global.get(done / of_each.max(1)) {
            (decoder, end) = (decoder.with_global_scale(*multiplier), (done / of_each + 1) * of_each);
        }
        let next = (done + step).min(end);
        let (mine, rest) = std::mem::take(&mut out).split_at_mut((next - done) * group_bytes);
        out = rest;
        let cut = |bytes: Bytes<'a>, len: usize| bytes.slice(done * len, next * len);
        let (weight, scale, bias) = (cut(weight, group.weight), cut(scale, group.scale), cut(bias, group.bias));
        let work = Work::Decode(Decode::Groups { decoder, weight, scale, bias });
        jobs.push(Job { tensor: &view.name, digest, work, out: mine });
        done = next;
    }
    Ok(())
}

/// Adds jobs that fill `out` with the values of a tensor of ggml's blocks.
fn block_jobs<'a>(
    tensor: &'a PlannedTensor,
    codes: &Codes,
    (ggml_type, output): (GgmlType, FloatType),
    blocks: Bytes<'a>,
    mut out: &'a mut [u8],
    jobs: &mut Vec<Job<'a>>,
) -> Result<(), WeightsError> {
    let view = &tensor.view;
    let (each, decoded) = (ggml_type.block_bytes(), ggml_type.block_size() * output.size());
    let count = out.len() / decoded;
    if !out.len().is_multiple_of(decoded) || blocks.bytes.len() != count * each {
        let (tensor, found) = (view.name.clone(), codes.quantization.to_string());
        return Err(WeightsError::Decode { tensor, found, to: view.dtype });
    }
    let digest = view.parts[0].origin.digest;
    let step = (index(CHUNK) / decoded).max(1);
    for from in (0..count).step_by(step) {
        let to = (from + step).min(count);
        let (mine, rest) = std::mem::take(&mut out).split_at_mut((to - from) * decoded);
        out = rest;
        let blocks = blocks.slice(from * each, to * each);
        let work = Work::Decode(Decode::Blocks { ggml_type, output, blocks });
        jobs.push(Job { tensor: &view.name, digest, work, out: mine });
    }
    Ok(())
}

impl Decode<'_> {
    pub(super) fn run(self, out: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Groups { decoder, weight, scale, bias } => {
                for part in [&weight, &scale, &bias] {
                    part.load()?;
                }
                decoder.decode(weight.bytes, scale.bytes, bias.bytes, out).map_err(io::Error::other)
            }
            Self::Blocks { ggml_type, output, blocks } => {
                blocks.load()?;
                ggml::decode_to(ggml_type, blocks.bytes, output, out).map_err(io::Error::other)
            }
        }
    }
}
