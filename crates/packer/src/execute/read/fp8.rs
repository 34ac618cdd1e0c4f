//! The scales of 8-bit floats, read block by block.

use longshore_quant::layout::{Fp8, Fp8Scales, LayoutError, ScaledFp8};
use longshore_st_format::Dtype;

use super::{matrices::Matrices, piece::as_index, shards::ShardFiles};
use crate::{execute::error::ImportError, io::memory, plan::planned::PlannedTensor};

/// The scales of a tensor of 8-bit floats.
pub(in crate::execute) struct Fp8Blocks<'a> {
    files: &'a ShardFiles<'a>,
    tensor: &'a PlannedTensor,
    matrices: Matrices,
    block: [u64; 2],
}

type Scaled<'b> = Result<ScaledFp8<'b>, LayoutError>;

impl<'a> Fp8Blocks<'a> {
    pub(in crate::execute) fn new(
        files: &'a ShardFiles<'a>,
        tensor: &'a PlannedTensor,
        matrices: Matrices,
        block: [u64; 2],
    ) -> Self {
        Self { files, tensor, matrices, block }
    }

    /// The scales of the blocks that `count` rows of a matrix lie in. Also returns the first of those rows, counted
    /// from the first of these blocks.
    pub(in crate::execute) fn rows<'b>(
        &self,
        (matrix, row): (u64, u64),
        count: u64,
        buffer: &'b mut Vec<u8>,
    ) -> Result<(Scaled<'b>, usize), ImportError> {
        let Matrices { rows, columns, .. } = self.matrices;
        let [block_rows, block_columns] = self.block;
        let (unit, within) = self.matrices.place(matrix);
        let (first, end) = (row / block_rows, (row + count).div_ceil(block_rows));
        let band = [as_index((end * block_rows).min(rows) - first * block_rows), as_index(columns)];
        let block = [block_rows, block_columns].map(as_index);
        let from = as_index(row - first * block_rows);
        let scales = self.files.scales(&self.tensor.units[unit]);
        let size = u64::from(scales.dtype.bits() / 8);
        let (grid_rows, grid_columns) = (rows.div_ceil(block_rows), columns.div_ceil(block_columns));
        memory::resize(buffer, as_index((end - first) * grid_columns * size))?;
        self.files.read(scales, (within * grid_rows + first) * grid_columns * size, buffer)?;
        let scales = match scales.dtype {
            Dtype::F8E8M0 => Fp8Scales::PowerOfTwo(buffer),
            dtype => Fp8Scales::Float(dtype.name().parse().expect("the coding was recognised by it"), buffer),
        };
        Ok((ScaledFp8::new(Fp8::E4m3, band, block, scales), from))
    }
}
