//! Reading the values of a planned tensor, however the source stores them.

use longshore_quant::FloatType;

use super::{
    merged::{MergeBuffers, Merges},
    piece::Piece,
    shards::ShardFiles,
    unmerged::{SourceBuffers, SourceReader},
};
use crate::{execute::error::ImportError, plan::planned::PlannedTensor};

/// Buffers for reading, reused for every piece of every tensor.
#[derive(Debug, Default)]
pub(in crate::execute) struct ValueBuffers {
    source: SourceBuffers,
    merged: MergeBuffers,
}

/// Reads the values of a planned tensor, piece by piece, with what adapters add to them.
pub(in crate::execute) struct ValueReader<'a> {
    values: SourceReader<'a>,
    /// What adapters do to the values. `None` for a tensor that they leave as it is.
    merges: Option<Merges<'a>>,
}

impl<'a> ValueReader<'a> {
    /// Reads values of the tensor's own type.
    pub(in crate::execute) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        let merges = tensor.is_changed().then(|| Merges::new(files, tensor, tensor.float()));
        Self { values: SourceReader::new(files, tensor), merges }
    }

    /// Reads values of the type that [`Self::wide_float`] gives: what adapters change is not rounded.
    pub(in crate::execute) fn wide(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        let merges = tensor.is_changed().then(|| Merges::new(files, tensor, FloatType::F32));
        Self { values: SourceReader::new(files, tensor), merges }
    }

    /// The type of the values that [`Self::wide`] reads.
    pub(in crate::execute) fn wide_float(tensor: &PlannedTensor) -> FloatType {
        if tensor.is_changed() { FloatType::F32 } else { tensor.float() }
    }

    /// Reads the blocks of a tensor as they are.
    pub(in crate::execute) fn blocks(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        Self { values: SourceReader::blocks(files, tensor), merges: None }
    }

    /// The next piece; `None` after the last.
    pub(in crate::execute) fn next<'b>(
        &mut self,
        buffers: &'b mut ValueBuffers,
    ) -> Result<Option<Piece<'b>>, ImportError> {
        let ValueBuffers { source, merged } = buffers;
        let Some(merges) = &mut self.merges else { return self.values.next(source) };
        merges.prepare(source, merged)?;
        let Some(piece) = self.values.next(source)? else { return Ok(None) };
        merges.apply(&piece, merged).map(Some)
    }

    /// Number of codes so far that were NaN by mistake and were replaced by the largest number.
    pub(in crate::execute) fn mended(&self) -> u64 {
        self.values.mended()
    }
}
