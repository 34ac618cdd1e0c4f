//! A planned tensor's values, whichever way the source stores them.

use super::{
    ImportError,
    coded::{CodedBuffers, CodedReader},
    reader::{Piece, ReadBuffers, TensorReader},
    shards::ShardFiles,
};
use crate::{coding::Coding, plan::PlannedTensor};

/// What is read into, used again for every piece of every tensor.
#[derive(Debug, Default)]
pub(super) struct ValueBuffers {
    plain: ReadBuffers,
    coded: CodedBuffers,
}

/// Reads a planned tensor's values.
pub(super) enum ValueReader<'a> {
    Plain(TensorReader<'a>),
    Coded(CodedReader<'a>),
}

impl<'a> ValueReader<'a> {
    pub(super) fn new(files: &'a ShardFiles<'a>, tensor: &'a PlannedTensor) -> Self {
        match tensor.coding {
            Coding::Plain => Self::Plain(TensorReader::new(files, tensor)),
            Coding::Double | Coding::Fp8 { .. } | Coding::Packed { .. } | Coding::Transposed { .. } => {
                Self::Coded(CodedReader::new(files, tensor))
            }
        }
    }

    /// The next piece; `None` after the last.
    pub(super) fn next<'b>(&mut self, buffers: &'b mut ValueBuffers) -> Result<Option<Piece<'b>>, ImportError> {
        match self {
            Self::Plain(reader) => Ok(reader.next(&mut buffers.plain)?),
            Self::Coded(reader) => reader.next(&mut buffers.coded),
        }
    }

    /// Codes so far that were NaN by mistake, and were taken for the largest number.
    pub(super) fn mended(&self) -> u64 {
        match self {
            Self::Plain(_) => 0,
            Self::Coded(reader) => reader.mended(),
        }
    }
}
