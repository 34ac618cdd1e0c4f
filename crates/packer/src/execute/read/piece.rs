//! A piece of a tensor, passed from readers to writers.

use crate::narrow::narrow_in_place;

/// A part of a tensor that consists of runs of equal length. Pieces of a tensor that is not transposed, or that has
/// short rows, have one run, and each piece starts where the one before it ends.
#[derive(Debug)]
pub(in crate::execute) struct Piece<'b> {
    pub(super) bytes: &'b [u8],
    /// Position of the first run, in bytes from the start of the tensor.
    pub(super) at: u64,
    /// Length of a run in bytes, never 0.
    pub(super) run: usize,
    /// Distance in bytes from the start of one run to the start of the next.
    pub(super) stride: u64,
    /// Number of source bytes that the piece was made from.
    pub(super) read: u64,
}

impl<'b> Piece<'b> {
    /// Creates a piece with one run, made from `read` bytes of the source.
    pub(in crate::execute) fn one_run(bytes: &'b [u8], at: u64, read: u64) -> Self {
        Self { bytes, at, run: bytes.len(), stride: 0, read }
    }

    /// The same piece of F64 elements as F32 elements, which are put into `buffer`.
    pub(super) fn narrowed(self, buffer: &mut Vec<u8>) -> Piece<'_> {
        buffer.clear();
        buffer.extend_from_slice(self.bytes);
        narrow_in_place(buffer);
        Piece { bytes: buffer, at: self.at / 2, run: self.run / 2, stride: self.stride / 2, read: self.read }
    }

    /// The number of source bytes that the piece was made from.
    pub(in crate::execute) fn read_len(&self) -> u64 {
        self.read
    }

    /// The length of all runs in bytes.
    pub(in crate::execute) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The runs, each with its position in bytes from the start of the tensor.
    pub(in crate::execute) fn runs(&self) -> impl Iterator<Item = (u64, &'b [u8])> {
        let starts = (0_u64..).map(|index| self.at + index * self.stride);
        starts.zip(self.bytes.chunks_exact(self.run))
    }
}

/// Converts a count of elements or bytes that a buffer holds, or of things in a plan, to an index.
pub(in crate::execute) fn as_index(count: u64) -> usize {
    usize::try_from(count).expect("no more than a chunk or a few rows, or than a plan's sources")
}
