//! Reading the values that the source has of a planned tensor.

use super::{
    blocks::{BlockBuffers, BlockReader},
    coded::{CodedBuffers, CodedReader},
    piece::Piece,
    plain::{ReadBuffers, TensorReader},
    shards::ShardFiles,
};
use crate::{execute::error::ImportError, model::coding::kind::Coding, plan::planned::PlannedTensor};

/// Buffers for the values of the source.
#[derive(Debug, Default)]
pub(super) struct SourceBuffers {
    plain: ReadBuffers,
    coded: CodedBuffers,
    blocks: BlockBuffers,
    narrowed: Vec<u8>,
}

/// Reads the values that the source has.
pub(super) enum SourceReader<'a> {
    Plain(TensorReader<'a>),
    /// F64 elements, which become F32.
    Doubles(TensorReader<'a>),
    Coded(CodedReader<'a>),
    /// ggml's blocks, which are decoded.
    Blocks(BlockReader<'a>),
}

impl<'a> SourceReader<'a> {
    pub(super) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        match tensor.coding {
            Coding::Ggml { .. } if tensor.scheme.is_some() => Self::Blocks(BlockReader::new(files, tensor)),
            Coding::Plain | Coding::Ggml { .. } => Self::Plain(TensorReader::new(files, tensor)),
            Coding::Double => Self::Doubles(TensorReader::new(files, tensor)),
            Coding::Fp8 { .. } | Coding::Packed { .. } | Coding::Transposed { .. } => {
                Self::Coded(CodedReader::new(files, tensor))
            }
        }
    }

    /// Reads the blocks of a tensor as they are.
    pub(super) fn blocks(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        Self::Plain(TensorReader::new(files, tensor))
    }

    /// Goes on with this element of the tensor. Returns false if the values cannot be read from there.
    pub(super) fn seek(&mut self, element: u64, tensor: &PlannedTensor) -> bool {
        match self {
            Self::Plain(reader) => reader.seek(element * tensor.read_float().size() as u64),
            Self::Doubles(reader) => reader.seek(element * 8),
            Self::Coded(reader) => reader.seek(element),
            Self::Blocks(_) => false,
        }
    }

    /// Number of codes so far that were NaN by mistake and were replaced by the largest number.
    pub(super) fn mended(&self) -> u64 {
        match self {
            Self::Plain(_) | Self::Doubles(_) | Self::Blocks(_) => 0,
            Self::Coded(reader) => reader.mended(),
        }
    }

    /// The next piece; `None` after the last.
    pub(super) fn next<'b>(&mut self, buffers: &'b mut SourceBuffers) -> Result<Option<Piece<'b>>, ImportError> {
        match self {
            Self::Plain(reader) => Ok(reader.next(&mut buffers.plain)?),
            Self::Doubles(reader) => {
                let piece = reader.next(&mut buffers.plain)?;
                Ok(piece.map(|piece| piece.narrowed(&mut buffers.narrowed)))
            }
            Self::Coded(reader) => reader.next(&mut buffers.coded),
            Self::Blocks(reader) => Ok(reader.next(&mut buffers.plain, &mut buffers.blocks)?),
        }
    }
}
