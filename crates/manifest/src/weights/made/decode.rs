//! Decoding of quantized tensors in memory.

use std::{collections::BTreeMap, io};

use longshore_quant::{Decoder, FloatType, Scheme};
use longshore_st_format::Dtype;

use super::{
    Codes, PlannedTensor,
    fill::{CHUNK, Job, Work, populate},
    index,
};
use crate::{
    document::{Quantization, Role},
    weights::{BlobBytes, WeightsError, plan::PartView},
};

/// Bytes of a part: a range of a file, or of the scratch memory.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    /// The file, and the start of the range in it. `None` for scratch memory.
    file: Option<(&'a BlobBytes, u64)>,
    bytes: &'a [u8],
}

/// Some groups of a tensor.
pub(super) struct Decode<'a> {
    decoder: Decoder,
    weight: Bytes<'a>,
    scale: Bytes<'a>,
    bias: Bytes<'a>,
}

/// Whether codes of this kind can be decoded.
pub(super) fn is_possible(quantization: &Quantization, stored: Dtype, to: Dtype) -> bool {
    scheme(quantization).is_some() && float(stored).is_some() && float(to).is_some()
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
    fn slice(&self, from: usize, to: usize) -> Self {
        let file = self.file.map(|(file, start)| (file, start + from as u64));
        Self { file, bytes: &self.bytes[from..to] }
    }

    fn load(&self) -> io::Result<()> {
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
        let work = Work::Decode(Decode { decoder, weight, scale, bias });
        jobs.push(Job { tensor: &view.name, digest, work, out: mine });
        done = next;
    }
    Ok(())
}

impl Decode<'_> {
    pub(super) fn run(self, out: &mut [u8]) -> io::Result<()> {
        let Self { decoder, weight, scale, bias } = self;
        for part in [&weight, &scale, &bias] {
            part.load()?;
        }
        decoder.decode(weight.bytes, scale.bytes, bias.bytes, out).map_err(io::Error::other)
    }
}
