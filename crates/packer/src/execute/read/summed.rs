//! Reading the values of a planned tensor with what adapters add to them.

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
pub(super) struct SumBuffers {
    source: SourceBuffers,
    merged: MergeBuffers,
}

/// Reads the values of a planned tensor, piece by piece, with what adapters add to them.
pub(super) struct SummedReader<'a> {
    tensor: &'a PlannedTensor,
    values: SourceReader<'a>,
    /// Changes of the values by adapters. `None` for a tensor that they leave as it is.
    merges: Option<Merges<'a>>,
}

impl<'a> SummedReader<'a> {
    /// Reads values of the tensor's own type.
    pub(super) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        let merges = tensor.is_merged().then(|| Merges::new(files, tensor, tensor.float()));
        Self { tensor, values: SourceReader::new(files, tensor), merges }
    }

    /// Reads values of the type that [`Self::wide_float`] gives: what adapters change is not rounded.
    pub(super) fn wide(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        let merges = tensor.is_merged().then(|| Merges::new(files, tensor, FloatType::F32));
        Self { tensor, values: SourceReader::new(files, tensor), merges }
    }

    /// The type of the values that [`Self::wide`] reads.
    pub(super) fn wide_float(tensor: &PlannedTensor) -> FloatType {
        if tensor.is_merged() { FloatType::F32 } else { tensor.float() }
    }

    /// Reads the blocks of a tensor as they are.
    pub(super) fn blocks(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        Self { tensor, values: SourceReader::blocks(files, tensor), merges: None }
    }

    /// Goes on with this element of the tensor. Returns false if the values cannot be read from there.
    pub(super) fn seek(&mut self, element: u64) -> bool {
        self.values.seek(element, self.tensor)
    }

    /// The next piece; `None` after the last.
    pub(super) fn next<'b>(&mut self, buffers: &'b mut SumBuffers) -> Result<Option<Piece<'b>>, ImportError> {
        let SumBuffers { source, merged } = buffers;
        let Some(merges) = &mut self.merges else { return self.values.next(source) };
        merges.prepare(source, merged)?;
        let Some(piece) = self.values.next(source)? else { return Ok(None) };
        merges.apply(&piece, merged).map(Some)
    }

    /// Number of codes so far that were NaN by mistake and were replaced by the largest number.
    pub(super) fn mended(&self) -> u64 {
        self.values.mended()
    }
}
