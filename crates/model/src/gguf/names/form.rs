//! The forms in which GGUF holds the tensors of a checkpoint.

/// Form of a tensor in a GGUF file: the way it is made from one of a checkpoint. Each form can be undone.
///
/// Shapes are row-major, outermost extent first. *Rows* are those of each matrix in the last two axes, and single
/// elements where a tensor is a list of biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Form {
    /// The same values in the same order and shape. A stack of experts `[experts, out, in]` is this as well: its
    /// name in a checkpoint is that of an expert without the expert's number.
    Same,
    /// The same values in the same order, where the checkpoint has a single axis: `[heads, 1]` or `[groups, size]`.
    Flat,
    /// The same values in the same order, `[channels, width]` where the checkpoint has `[channels, 1, width]`.
    Convolution,
    /// Rows of each query head, or key head, alternate between its two halves. The checkpoint has one half after the
    /// other.
    Rotary(Heads),
    /// The values of the checkpoint plus 1.
    PlusOne,
    /// `-exp(a)` of the values of the checkpoint, which has a single axis where GGUF has `[heads, 1]`.
    NegativeExponential,
    /// One of several tensors of one shape whose rows alternate in a tensor of the checkpoint.
    Interleaved(Share),
    /// One of several tensors of one shape whose rows follow each other in each matrix of a tensor of the checkpoint.
    Joined(Share),
    /// The rows of several tensors of the checkpoint follow each other in each matrix; the share is that of one of them.
    Split(Share),
    /// Up-projections of the keys of latent attention, `[heads, rank, keys]`: for each head, the first rows of the
    /// checkpoint's matrix `[heads × (keys + values), rank]`, transposed.
    LatentKeys,
    /// Up-projections of the values of latent attention, `[heads, values, rank]`: for each head, the last rows of the
    /// same matrix.
    LatentValues,
    /// A tensor that only GGUF has, such as `rope_freqs.weight`. It is kept under its name.
    Own,
}

/// The heads whose rows alternate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heads {
    /// Heads of queries.
    Query,
    /// Heads of keys.
    Key,
}

/// One of several equal shares of a tensor's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Share {
    /// Number of the share, from 0.
    pub index: u64,
    /// Number of all shares.
    pub of: u64,
    /// The axis of the rows: 0, or 1 in a stack of experts.
    pub axis: u8,
}
