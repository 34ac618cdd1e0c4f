//! The inventory of a model's weight files, which every kind of source gives.
//!
//! # Adding a kind of source
//!
//! Planning and execution ask nothing of a source but an [`Inventory`] for each of its models, and companion files. A new kind
//!
//! 1. implements [`Data`](crate::Data) if its bytes are no files: `open`, a length, and reads at offsets;
//! 2. lists its [`Shard`]s and the [`SourceTensor`]s in them. A kind whose shards are safetensors files lets [`Inventory::read`] do so;
//! 3. has a variant of [`Contents`] if it knows more of its tensors than names, dtypes and shapes tell: a table of codes, for example.
//!    `model/coding/read.rs` turns each variant into the model's tensors;
//! 4. calls [`Source::new`](crate::Source::new), or is one more case in `source/open.rs` if it has a path.
//!
//! Everything above, from stacking experts to policies, quantization and the store, then holds for it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use longshore_manifest::document::Arrangement;
use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Shape};

use crate::tensor::{Shard, SourceParts, SourceTensor};

/// The shards of one model, and the tensors in them.
#[derive(Debug)]
pub struct Inventory {
    /// In byte order of their names.
    pub(crate) shards: Vec<Shard>,
    /// In byte order of the names, which are unique.
    pub(crate) tensors: Vec<SourceTensor>,
    /// The shards' `__metadata__`, merged.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The file name of the shard index, where there is one.
    pub(crate) index: Option<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) contents: Contents,
}

/// The knowledge that a kind of source has of its tensors, beside names, dtypes and shapes.
#[derive(Debug, Clone)]
pub(crate) enum Contents {
    /// A checkpoint's files: names and the configuration tell how values are coded.
    Checkpoint {
        /// Scales of 8-bit floats that are powers of two throughout, by their index among the model's tensors.
        exact_scales: HashSet<usize>,
    },
    /// A store's blobs: its table tells.
    Stored(Arc<Stored>),
}

/// The table of a stored model.
#[derive(Debug)]
pub(crate) struct Stored {
    /// In byte order of the names.
    pub(crate) tensors: Vec<StoredTensor>,
    /// Whether this program imported them, so that experts lie as they should and arrangements are recorded.
    pub(crate) is_ours: bool,
}

/// A tensor of a store.
#[derive(Debug)]
pub(crate) struct StoredTensor {
    /// Without a draft's prefix.
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Shape,
    pub(crate) scheme: Option<Scheme>,
    /// Its parts, among the model's tensors.
    pub(crate) parts: SourceParts,
    /// How an earlier import arranged its values, and of which tensors.
    pub(crate) arrangement: Arrangement,
    pub(crate) sources: Vec<String>,
}
