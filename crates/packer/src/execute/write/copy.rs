//! Writing the values of a tensor unchanged or decoded.

use longshore_manifest::document::Role;

use super::target::{Noticed, Target};
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
        let Some(piece) = reader.next(buffers)? else {
            return Ok(Noticed { mended: reader.mended(), ..Noticed::default() });
        };
        for (at, bytes) in piece.runs() {
            target.write_at(start + at, bytes)?;
        }
        target.progress.advance(piece.read_len());
    }
}
