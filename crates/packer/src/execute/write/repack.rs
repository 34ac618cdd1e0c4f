//! Writing tensors that keep the codes of the source.

use longshore_manifest::document::Role;
use longshore_quant::{Scheme, layout::LayoutError};

use super::{
    finite::not_finite,
    target::{Noticed, Target},
    transposed,
};
use crate::{
    execute::{
        error::ImportError,
        read::{
            fp8::Fp8Blocks,
            matrices::Matrices,
            packed::{NAN, PackedParts},
            piece::as_index,
        },
    },
    io::memory,
    model::coding::kind::Coding,
};

/// Number of bytes of a part that are read and written at a time.
const CHUNK: u64 = 256 << 10;

/// Writes the tensor with the codes of the source, which are codes of `scheme`.
pub(super) fn repack(mut target: Target<'_, '_>, scheme: Scheme) -> Result<Noticed, ImportError> {
    let repacked = match target.tensor.coding {
        Coding::Fp8 { block, .. } => fp8(&mut target, scheme, block)?,
        Coding::Packed { .. } => packed(&mut target, scheme)?,
        Coding::Transposed { packing, .. } => transposed::repack(&mut target, scheme, packing)?,
        Coding::Plain | Coding::Double | Coding::Ggml { .. } => {
            unreachable!("BUG: plain values have no codes to repack")
        }
    };
    let count = repacked.stats.non_finite;
    if count > 0 && !target.options.allow_non_finite {
        return Err(ImportError::NonFinite { tensor: target.tensor.name.clone(), count });
    }
    Ok(repacked)
}

/// Repacks 8-bit floats: the codes are copied, and each block's scale is written for every group in the block.
fn fp8(target: &mut Target<'_, '_>, scheme: Scheme, block: [u64; 2]) -> Result<Noticed, ImportError> {
    let tensor = target.tensor;
    let matrices = Matrices::of(tensor);
    let Matrices { count, rows, columns, .. } = matrices;
    let groups = columns / u64::from(scheme.group_size());
    let (weight_start, scale_start) = (target.start(Role::Weight), target.start(Role::Scale));
    let band = (CHUNK / columns.max(1)).max(1);
    let blocks = Fp8Blocks::new(target.files, tensor, matrices, block);
    let (mut weight, mut scales, mut of_blocks) = (Vec::new(), Vec::new(), Vec::new());
    let mut found = Noticed::default();
    for matrix in 0..count {
        let (unit, within) = matrices.place(matrix);
        let source = target.files.tensor(tensor.units[unit].parts.weight);
        let mut row = 0;
        while row < rows {
            target.check()?;
            let taken = band.min(rows - row);
            let at = matrix * rows + row;
            memory::resize(&mut weight, as_index(taken * columns))?;
            target.files.read(source, (within * rows + row) * columns, &mut weight)?;
            found.stats.non_finite += weight.iter().filter(|byte| **byte & NAN == NAN).count() as u64;
            target.write_at(weight_start + at * columns, &weight)?;
            memory::resize(&mut scales, as_index(taken * groups))?;
            let (blocks, first) = blocks.rows((matrix, row), taken, &mut of_blocks)?;
            let written = blocks.and_then(|blocks| blocks.mxfp8_scales(first, &mut scales));
            written.map_err(|source| fail(target, source))?;
            target.write_at(scale_start + at * groups, &scales)?;
            target.progress.advance(weight.len() as u64);
            row += taken;
        }
    }
    Ok(found)
}

fn packed(target: &mut Target<'_, '_>, scheme: Scheme) -> Result<Noticed, ImportError> {
    let tensor = target.tensor;
    let parts = PackedParts::new(target.files, tensor, scheme);
    let mut found = Noticed::default();
    let mut buffer = Vec::new();
    let mut roles = vec![Role::Weight, Role::Scale];
    roles.extend(scheme.has_bias().then_some(Role::Bias));
    for role in roles {
        let (start, len) = (target.start(role), parts.group_len(role) as u64);
        let each = (CHUNK / len).max(1);
        let mut group = 0;
        while group < parts.groups() {
            target.check()?;
            target.hash_aside();
            let count = each.min(parts.groups() - group);
            if role == Role::Weight {
                found.mended += parts.read_codes(group, count, &mut buffer)?;
            } else {
                parts.read(role, group, count, &mut buffer)?;
                let spoilt = not_finite(scheme, tensor.dtype, &buffer) * u64::from(scheme.group_size());
                found.stats.non_finite = found.stats.non_finite.saturating_add(spoilt);
            }
            target.write_at(start + group * len, &buffer)?;
            target.progress.advance(buffer.len() as u64);
            group += count;
        }
    }
    if let Some(shape) = &tensor.global_scale {
        let start = target.start(Role::GlobalScale);
        for unit in 0..as_index(shape.elements().unwrap_or_default()) {
            let global = parts.global_scale(unit)?.expect("the plan asked the same");
            target.write_at(start + 4 * unit as u64, &global.to_le_bytes())?;
        }
    }
    Ok(found)
}

fn fail(target: &Target<'_, '_>, source: LayoutError) -> ImportError {
    ImportError::Repack { tensor: target.tensor.name.clone(), source }
}
