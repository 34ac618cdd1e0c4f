//! Mapping of ggml's blocks into schemes in memory.

use std::io;

use longshore_quant::{EncodeBuffers, ggml::Mapping};
use longshore_st_format::{Dtype, Shape};

use super::{
    Codes, PlannedTensor,
    decode::{Bytes, ggml_type},
    fill::{CHUNK, Job, Work},
    index,
};
use crate::{
    document::{Quantization, Role},
    weights::{WeightsError, plan::PartView},
};

/// Some blocks of a tensor, and where their scales and biases go.
pub(super) struct MapBlocks<'a> {
    mapping: Mapping,
    blocks: Bytes<'a>,
    scale: &'a mut [u8],
    bias: &'a mut [u8],
}

/// Makes a tensor of a scheme's codes of one of blocks, if a scheme holds their values. Returns whether it does.
pub(super) fn map(tensor: &mut PlannedTensor) -> bool {
    let view = &mut tensor.view;
    let Some(quantization) = view.quantization.clone() else { return false };
    let mapping = ggml_type(&quantization).and_then(Mapping::of);
    let Some(mapping) = mapping.filter(|_| view.shape.elements() != Some(0)) else { return false };
    let (scheme, float) = (mapping.scheme(), mapping.float());
    // A scheme needs two axes.
    let Ok(parts) = scheme.parts(float, view.shape.dims()) else { return false };
    let stored = std::mem::take(&mut view.parts);
    let Some(weight) = stored.first() else { return false };
    let made = [(Role::Weight, Some(parts.weight)), (Role::Scale, Some(parts.scale)), (Role::Bias, parts.bias)];
    view.parts = made
        .into_iter()
        .filter_map(|(role, part)| {
            let part = part?;
            let dtype = part.kind.dtype().parse().ok()?;
            let len = part.byte_len()?;
            Some(PartView {
                role,
                dtype,
                shape: Shape::from(part.shape),
                len,
                origin: weight.origin.clone(),
                arena: None,
            })
        })
        .collect();
    let dtype = float.name().parse().unwrap_or(Dtype::F32);
    let coding = Quantization { quant_type: scheme.quant_type().into(), group_size: scheme.group_size() };
    (view.dtype, view.quantization) = (dtype, Some(coding));
    tensor.codes = Some(Codes { quantization, stored: Dtype::F32, parts: stored, mapping: Some(mapping) });
    true
}

/// Adds jobs that fill `outs`, the weight, the scales and the biases of a tensor, from its blocks.
pub(super) fn jobs<'a>(
    tensor: &'a PlannedTensor,
    codes: &Codes,
    blocks: Bytes<'a>,
    outs: Vec<&'a mut [u8]>,
    jobs: &mut Vec<Job<'a>>,
) -> Result<(), WeightsError> {
    let view = &tensor.view;
    let mut outs = outs.into_iter();
    let mut next = || outs.next().unwrap_or_default();
    let (mut weight, mut scale, mut bias) = (next(), next(), next());
    let refuse = || {
        let (tensor, found) = (view.name.clone(), codes.quantization.to_string());
        WeightsError::Decode { tensor, found, to: view.dtype }
    };
    let mapping = codes.mapping.ok_or_else(refuse)?;
    let (scheme, ggml_type) = (mapping.scheme(), mapping.ggml_type());
    let groups = ggml_type.block_size() / index(scheme.group_size().into());
    let each = scheme.encoded_len(groups, mapping.float()).ok_or_else(refuse)?;
    let block = ggml_type.block_bytes();
    let count = blocks.bytes.len() / block;
    let fits = |found: usize, of_block: usize| found == count * of_block;
    if !fits(blocks.bytes.len(), block)
        || !fits(weight.len(), each.weight)
        || !fits(scale.len(), each.scale)
        || !fits(bias.len(), each.bias)
    {
        return Err(refuse());
    }
    let digest = view.parts[0].origin.digest;
    let step = (index(CHUNK) / block).max(1);
    for from in (0..count).step_by(step) {
        let to = (from + step).min(count);
        let why = "the lengths were checked";
        let out = weight.split_off_mut(..(to - from) * each.weight).expect(why);
        let scale = scale.split_off_mut(..(to - from) * each.scale).expect(why);
        let bias = bias.split_off_mut(..(to - from) * each.bias).expect(why);
        let blocks = blocks.slice(from * block, to * block);
        jobs.push(Job {
            tensor: &view.name,
            digest,
            work: Work::Blocks(MapBlocks { mapping, blocks, scale, bias }),
            out,
        });
    }
    Ok(())
}

impl MapBlocks<'_> {
    pub(super) fn run(self, out: &mut [u8]) -> io::Result<()> {
        let Self { mapping, blocks, scale, bias } = self;
        blocks.load()?;
        mapping.to_mlx(blocks.bytes, EncodeBuffers { weight: out, scale, bias }).map_err(io::Error::other)
    }
}
