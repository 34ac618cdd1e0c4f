//! A piece of a tensor, as readers give it to writers.

/// A part of a tensor: runs of equal length. A tensor that is not transposed, or has short rows, comes in pieces of one run,
/// each where the one before it ends.
#[derive(Debug)]
pub(in crate::execute) struct Piece<'b> {
    pub(super) bytes: &'b [u8],
    /// Where the first run belongs, in bytes from the start of the tensor.
    pub(super) at: u64,
    /// The length of a run in bytes, never 0.
    pub(super) run: usize,
    /// The bytes of the tensor from the start of a run to the start of the next.
    pub(super) stride: u64,
    /// The bytes of the source that it was made from.
    pub(super) read: u64,
}

impl<'b> Piece<'b> {
    /// One run, made from `read` bytes of the source.
    pub(super) fn one_run(bytes: &'b [u8], at: u64, read: u64) -> Self {
        Self { bytes, at, run: bytes.len(), stride: 0, read }
    }

    /// The bytes of the source that it was made from.
    pub(in crate::execute) fn read_len(&self) -> u64 {
        self.read
    }

    /// The bytes of all runs.
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Each run with its place, in bytes from the start of the tensor.
    pub(in crate::execute) fn runs(&self) -> impl Iterator<Item = (u64, &'b [u8])> {
        let starts = (0_u64..).map(|index| self.at + index * self.stride);
        starts.zip(self.bytes.chunks_exact(self.run))
    }
}

/// A count of what a buffer or the plan holds.
pub(in crate::execute) fn as_index(count: u64) -> usize {
    usize::try_from(count).expect("no more than a chunk or a few rows, or than a plan's sources")
}
