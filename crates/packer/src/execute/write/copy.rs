//! Writing the values of a tensor unchanged or decoded.

use longshore_manifest::document::Role;

use super::{
    finite,
    target::{Noticed, Target},
};
use crate::execute::{
    error::ImportError,
    read::values::{ValueBuffers, ValueReader},
};

/// Writes the values of the tensor, without quantization.
pub(super) fn copy(mut target: Target<'_, '_>, buffers: &mut ValueBuffers) -> Result<Noticed, ImportError> {
    let start = target.start(Role::Weight);
    let mut reader = ValueReader::new(target.files, target.tensor);
    loop {
        target.check()?;
        target.hash_aside();
        let Some(piece) = reader.next(buffers)? else {
            return Ok(Noticed { mended: reader.mended(), ..Noticed::default() });
        };
        for (at, bytes) in piece.runs() {
            if target.tensor.is_changed() {
                check(&target, bytes)?;
            }
            target.write_at(start + at, bytes)?;
        }
        target.progress.advance(piece.read_len());
    }
}

/// Refuses values that are not finite once they were changed.
fn check(target: &Target<'_, '_>, bytes: &[u8]) -> Result<(), ImportError> {
    let tensor = target.tensor;
    match finite::floats(tensor.float(), bytes) {
        0 => Ok(()),
        count if tensor.turn.is_some() => {
            let (tensor, path) = (tensor.name.clone(), target.files.path_of(tensor.units[0].parts.weight));
            Err(ImportError::RotatedNonFinite { tensor, path, count })
        }
        _ if target.options.allow_non_finite => Ok(()),
        count if tensor.factors.is_some() => {
            let (tensor, path) = (tensor.name.clone(), target.files.path_of(tensor.units[0].parts.weight));
            Err(ImportError::ScaledNonFinite { tensor, path, count })
        }
        count => {
            let (tensor, adapter) = (tensor.name.clone(), target.files.adapter_of(tensor));
            Err(ImportError::MergedNonFinite { tensor, adapter, count })
        }
    }
}
