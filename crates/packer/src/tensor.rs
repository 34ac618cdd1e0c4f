//! The tensors of a source, and the shards that hold them.

use std::{ops::Range, path::PathBuf, sync::Arc};

use longshore_st_format::{Dtype, Shape};

use crate::io::data::Data;

/// One weight file of a source.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Shard {
    /// Its path, as messages give it. Bytes in memory have any path that tells a reader what they are.
    pub path: PathBuf,
    /// Its path below the source's directory, such as `model-00001-of-00002.safetensors`.
    pub name: String,
    /// Its length in bytes when its header was read.
    pub file_len: u64,
    /// Its bytes.
    pub(crate) data: Arc<dyn Data>,
}

impl Shard {
    /// A shard that is a file.
    #[must_use]
    pub fn file(path: PathBuf, name: impl Into<String>, file_len: u64) -> Self {
        let data = Arc::new(path.clone());
        Self { path, name: name.into(), file_len, data }
    }

    /// A shard of `file_len` bytes that `data` gives, under a name for messages.
    #[must_use]
    pub fn new(name: impl Into<String>, file_len: u64, data: Arc<dyn Data>) -> Self {
        let name = name.into();
        Self { path: PathBuf::from(&name), name, file_len, data }
    }
}

/// One tensor of a weight file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceTensor {
    /// Its name in the checkpoint.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its extents, outermost first.
    pub shape: Shape,
    /// The shard that holds it: an index into [`Source::shards`](crate::Source::shards).
    pub shard: usize,
    /// Its bytes, counted from the start of the shard.
    pub range: Range<u64>,
}

impl SourceTensor {
    /// Its length in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// The tensors of a source that hold one tensor of the model, by what each is to it: indices into
/// [`Source::tensors`](crate::Source::tensors). How the source stores the tensor tells which of them there are.
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
    /// One scale for the whole tensor, which multiplies or divides as the layout says.
    pub global_scale: Option<usize>,
    /// The group of each input of GPTQ's codes.
    pub group_index: Option<usize>,
}

impl SourceParts {
    /// The parts of a tensor that is stored as it is.
    #[must_use]
    pub fn plain(weight: usize) -> Self {
        Self { weight, ..Self::default() }
    }

    /// The indices, each with its place in the order of the fields.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Self { weight, scales, biases, zeros, global_scale, group_index } = *self;
        let parts = [Some(weight), scales, biases, zeros, global_scale, group_index];
        parts.into_iter().enumerate().filter_map(|(place, part)| Some((place, part?)))
    }

    /// The same parts of a source that has `first` other tensors before these.
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

    /// Whether both have the same kinds of parts.
    pub(crate) fn are_like(&self, other: &Self) -> bool {
        self.iter().map(|(place, _)| place).eq(other.iter().map(|(place, _)| place))
    }
}
