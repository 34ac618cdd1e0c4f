//! The tensors of a source, and the shards that hold them.

use std::{ops::Range, path::PathBuf, sync::Arc};

use longshore_manifest::Digest;
use longshore_st_format::{Dtype, Shape};

use crate::io::data::Data;

/// One weight file of a source.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Shard {
    /// Path of the shard, as messages give it. A shard in memory may have any path that tells a reader what it is.
    pub path: PathBuf,
    /// Path of the shard below the source's directory, such as `model-00001-of-00002.safetensors`.
    pub name: String,
    /// Length of the shard in bytes when its header was read.
    pub file_len: u64,
    /// The bytes of the shard.
    pub(crate) data: Arc<dyn Data>,
    /// The SHA-256 that the source promises for the bytes. An import that reads others fails.
    pub(crate) digest: Option<Digest>,
}

impl Shard {
    /// Creates a shard that is a file.
    #[must_use]
    pub fn file(path: PathBuf, name: impl Into<String>, file_len: u64) -> Self {
        let data = Arc::new(path.clone());
        Self { path, name: name.into(), file_len, data, digest: None }
    }

    /// Creates a shard of `file_len` bytes that are read from `data`. `name` is the name in messages.
    #[must_use]
    pub fn new(name: impl Into<String>, file_len: u64, data: Arc<dyn Data>) -> Self {
        let name = name.into();
        Self { path: PathBuf::from(&name), name, file_len, data, digest: None }
    }

    /// The same shard with the SHA-256 that the source promises for its bytes. An import hashes the shard while it
    /// reads it, and fails with [`ReadError::Damaged`](crate::ReadError::Damaged) if the digest is another.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }
}

/// One tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceTensor {
    /// Name of the tensor in the checkpoint.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Extents of the tensor, outermost first.
    pub shape: Shape,
    /// The shard that holds the tensor: an index into [`Source::shards`](crate::Source::shards).
    pub shard: usize,
    /// Byte range of the tensor, counted from the start of the shard.
    pub range: Range<u64>,
}

impl SourceTensor {
    /// The length of the tensor in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// The source tensors that hold one tensor of the model, one field for each role. The values are indices into
/// [`Source::tensors`](crate::Source::tensors). The [`Coding`](crate::Coding) of the tensor tells which fields are set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceParts {
    /// The values, or the codes.
    pub weight: usize,
    /// The scales of the codes.
    pub scales: Option<usize>,
    /// One bias for each group of affine codes.
    pub biases: Option<usize>,
    /// The zero points of AWQ's and GPTQ's codes.
    pub zeros: Option<usize>,
    /// One scale for the whole tensor. The layout tells whether values are multiplied or divided by it.
    pub global_scale: Option<usize>,
    /// The group of each input of GPTQ's codes.
    pub group_index: Option<usize>,
}

impl SourceParts {
    /// The parts of a tensor that is stored as plain values: the weight alone.
    #[must_use]
    pub fn plain(weight: usize) -> Self {
        Self { weight, ..Self::default() }
    }

    /// Indices of the parts, each with the position of its field in the struct.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Self { weight, scales, biases, zeros, global_scale, group_index } = *self;
        let parts = [Some(weight), scales, biases, zeros, global_scale, group_index];
        parts.into_iter().enumerate().filter_map(|(place, part)| Some((place, part?)))
    }

    /// The same parts in a source that has `first` other tensors before these.
    pub(crate) fn after(self, first: usize) -> Self {
        let Self { weight, scales, biases, zeros, global_scale, group_index } = self;
        let after = |part: Option<usize>| part.map(|at| at + first);
        Self {
            weight: weight + first,
            scales: after(scales),
            biases: after(biases),
            zeros: after(zeros),
            global_scale: after(global_scale),
            group_index: after(group_index),
        }
    }

    /// Whether the same fields are set in `self` and in `other`.
    pub(crate) fn are_like(&self, other: &Self) -> bool {
        self.iter().map(|(place, _)| place).eq(other.iter().map(|(place, _)| place))
    }
}
