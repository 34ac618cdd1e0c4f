//! Writing ggml's blocks as the codes of the scheme that holds their values.

use longshore_manifest::document::Role;
use longshore_quant::{EncodeBuffers, ggml::Mapping, layout::LayoutError};

use super::{
    quantizer::EncodedPiece,
    target::{Noticed, Target},
};
use crate::{
    execute::{
        error::ImportError,
        read::{
            blocks::Units,
            values::{ValueBuffers, ValueReader},
        },
    },
    io::memory,
};

/// Writes the codes, scales and biases of the tensor's blocks.
pub(super) fn repack(
    mut target: Target<'_, '_>,
    mapping: Mapping,
    read: &mut ValueBuffers,
    encoded: &mut EncodedPiece,
) -> Result<Noticed, ImportError> {
    let tensor = target.tensor;
    let (scheme, ggml_type) = (mapping.scheme(), mapping.ggml_type());
    let groups = ggml_type.block_size() / scheme.group_size() as usize;
    let block = scheme.encoded_len(groups, mapping.float()).expect("a block is small");
    let bias_start = if scheme.has_bias() { target.start(Role::Bias) } else { 0 };
    let starts = [target.start(Role::Weight), target.start(Role::Scale), bias_start];
    let mut reader = ValueReader::blocks(target.files, tensor);
    let mut units = Units::new(ggml_type.block_bytes());
    loop {
        target.check()?;
        let Some(piece) = reader.next(read)? else { break };
        for (at, bytes) in piece.runs() {
            let (at, blocks) = units.push(at, bytes);
            let (before, count) = (at / ggml_type.block_bytes() as u64, blocks.len() / ggml_type.block_bytes());
            let EncodedPiece { weight, scale, bias, .. } = encoded;
            memory::resize(weight, count * block.weight)?;
            memory::resize(scale, count * block.scale)?;
            memory::resize(bias, count * block.bias)?;
            mapping.to_mlx(blocks, EncodeBuffers { weight, scale, bias }).map_err(|source| fail(&target, source))?;
            let parts = [(block.weight, &*weight), (block.scale, &*scale), (block.bias, &*bias)];
            for (start, (each, bytes)) in starts.into_iter().zip(parts) {
                target.write_at(start + before * each as u64, bytes)?;
            }
        }
        target.progress.advance(piece.read_len());
    }
    global_scales(&mut target)?;
    Ok(Noticed::default())
}

/// Copies the scale of the whole tensor, or of each expert.
fn global_scales(target: &mut Target<'_, '_>) -> Result<(), ImportError> {
    let unit = target.tensor.units.first().and_then(|unit| unit.parts.global_scale);
    let Some(source) = unit.map(|at| target.files.tensor(at)) else { return Ok(()) };
    let start = target.start(Role::GlobalScale);
    let mut at = 0;
    while at < source.byte_len() {
        let mut bytes = [0; 4];
        target.files.read(source, at, &mut bytes)?;
        let found = f32::from_le_bytes(bytes);
        if !(found >= 0.0 && found.is_finite()) {
            let expected = "a finite global scale that is not negative";
            return Err(fail(target, LayoutError::Lossy { expected, found: found.to_string() }));
        }
        target.write_at(start + at, &bytes)?;
        at += 4;
    }
    target.progress.advance(source.byte_len());
    Ok(())
}

fn fail(target: &Target<'_, '_>, source: LayoutError) -> ImportError {
    ImportError::TakeOver { tensor: target.tensor.name.clone(), source }
}
