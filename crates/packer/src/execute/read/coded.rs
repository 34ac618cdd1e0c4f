//! Reading values of tensors that are quantized in the source, decoded a few rows or groups at a time.

use longshore_manifest::document::Role;
use longshore_quant::{Decoder, FloatType, Scheme};

use super::{
    fp8::Fp8Blocks,
    matrices::Matrices,
    packed::PackedParts,
    piece::{Piece, as_index},
    shards::ShardFiles,
};
use crate::{execute::error::ImportError, io::memory, model::coding::kind::Coding, plan::planned::PlannedTensor};

/// Number of elements that are decoded at a time: whole groups of any scheme. A row of 8-bit floats with more elements
/// is still decoded whole.
const CHUNK: u64 = 128 << 10;

/// Buffers for reading and decoding, reused for every piece.
#[derive(Debug, Default)]
pub(super) struct CodedBuffers {
    weight: Vec<u8>,
    scales: Vec<u8>,
    bias: Vec<u8>,
    values: Vec<u8>,
}

/// Decodes a planned tensor whose coding is not plain.
pub(in crate::execute) struct CodedReader<'a> {
    files: &'a ShardFiles<'a>,
    tensor: &'a PlannedTensor,
    /// The type of the decoded values.
    output: FloatType,
    matrices: Matrices,
    /// The next matrix and row of 8-bit floats to read.
    row: (u64, u64),
    /// The next group of packed codes to read.
    group: u64,
    mended: u64,
}

impl<'a> CodedReader<'a> {
    pub(super) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        let (output, matrices) = (tensor.float(), Matrices::of(tensor));
        Self { files, tensor, output, matrices, row: (0, 0), group: 0, mended: 0 }
    }

    /// Goes on with this element of the tensor. Returns false if it is not the first of a row of 8-bit floats, or of a group.
    pub(super) fn seek(&mut self, element: u64) -> bool {
        match self.tensor.coding {
            Coding::Fp8 { .. } => {
                let Matrices { rows, columns, .. } = self.matrices;
                if rows == 0 || columns == 0 || !element.is_multiple_of(columns) {
                    return false;
                }
                self.row = (element / columns / rows, element / columns % rows);
                true
            }
            Coding::Packed { scheme, .. } => {
                self.group = element / u64::from(scheme.group_size());
                element.is_multiple_of(u64::from(scheme.group_size()))
            }
            Coding::Plain | Coding::Double | Coding::Transposed { .. } | Coding::Ggml { .. } => false,
        }
    }

    /// The next piece of decoded values; `None` after the last.
    pub(super) fn next<'b>(&mut self, buffers: &'b mut CodedBuffers) -> Result<Option<Piece<'b>>, ImportError> {
        match self.tensor.coding {
            Coding::Fp8 { block, .. } => self.next_rows(block, buffers),
            Coding::Packed { scheme, .. } => self.next_groups(scheme, buffers),
            coding @ (Coding::Plain | Coding::Double | Coding::Transposed { .. } | Coding::Ggml { .. }) => {
                unreachable!("BUG: {coding:?} is not decoded")
            }
        }
    }

    /// Number of codes so far that were NaN by mistake and were replaced by the largest number.
    pub(super) fn mended(&self) -> u64 {
        self.mended
    }

    fn next_rows<'b>(
        &mut self,
        block: [u64; 2],
        buffers: &'b mut CodedBuffers,
    ) -> Result<Option<Piece<'b>>, ImportError> {
        let Matrices { count, rows, columns, .. } = self.matrices;
        let (matrix, row) = self.row;
        if matrix >= count || rows == 0 || columns == 0 {
            return Ok(None);
        }
        let band = (CHUNK / columns).clamp(1, rows - row);
        self.row = if row + band == rows { (matrix + 1, 0) } else { (matrix, row + band) };
        let (unit, within) = self.matrices.place(matrix);
        let weight = self.files.tensor(self.tensor.units[unit].parts.weight);
        let CodedBuffers { weight: codes, scales, values, .. } = buffers;
        memory::resize(codes, as_index(band * columns))?;
        self.files.read(weight, (within * rows + row) * columns, codes)?;
        let blocks = Fp8Blocks::new(self.files, self.tensor, self.matrices, block);
        let (scaled, first) = blocks.rows((matrix, row), band, scales)?;
        memory::resize(values, codes.len() * self.output.size())?;
        scaled
            .and_then(|scaled| scaled.decode_rows(first, codes, self.output, values))
            .map_err(|source| ImportError::Repack { tensor: self.tensor.name.clone(), source })?;
        let at = (matrix * rows + row) * columns * self.output.size() as u64;
        Ok(Some(Piece::one_run(values, at, codes.len() as u64)))
    }

    /// Decodes groups of packed codes from one source tensor, regardless of the rows that they belong to.
    fn next_groups<'b>(
        &mut self,
        scheme: Scheme,
        buffers: &'b mut CodedBuffers,
    ) -> Result<Option<Piece<'b>>, ImportError> {
        let parts = PackedParts::new(self.files, self.tensor, scheme);
        let (first, group) = (self.group, u64::from(scheme.group_size()));
        if first >= parts.groups() {
            return Ok(None);
        }
        let (unit, within) = (first / parts.groups_per_unit(), first % parts.groups_per_unit());
        let count = (CHUNK / group).min(parts.groups_per_unit() - within);
        self.group += count;
        let CodedBuffers { weight, scales, bias, values } = buffers;
        self.mended += parts.read_codes(first, count, weight)?;
        parts.read(Role::Scale, first, count, scales)?;
        bias.clear();
        if scheme.has_bias() {
            parts.read(Role::Bias, first, count, bias)?;
        }
        let mut decoder = Decoder::new(scheme, self.output, self.output);
        if let Some(global) = parts.global_scale(as_index(unit))? {
            decoder = decoder.with_global_scale(global);
        }
        let size = self.output.size();
        memory::resize(values, as_index(count * group) * size)?;
        decoder.decode(weight, scales, bias, values).expect("BUG: parts of other lengths than were asked for");
        Ok(Some(Piece::one_run(values, first * group * size as u64, weight.len() as u64)))
    }
}
