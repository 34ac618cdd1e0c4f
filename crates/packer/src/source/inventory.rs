//! The inventory of a model's weight files, which every kind of source provides.
//!
//! # Adding a kind of source
//!
//! Planning and execution need nothing of a source but an [`Inventory`] for each of its models, and its companion
//! files. A new kind of source
//!
//! 1. implements [`Data`](crate::Data) if its bytes are not in files: `open`, a length, and reads at offsets;
//! 2. lists its [`Shard`]s and the [`SourceTensor`]s in them. If the shards are safetensors files, [`Inventory::read`]
//!    does so;
//! 3. adds a variant to [`Contents`] if it knows more of its tensors than their names, dtypes and shapes: a table of
//!    codes, for example. `model/coding/read.rs` turns each variant into the tensors of the model;
//! 4. calls [`Source::new`](crate::Source::new), or becomes another case in `source/open.rs` if it is opened by a path.
//!
//! Everything that builds on this module, from stacking experts to policies, quantization and the store, then works
//! without a change.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use longshore_manifest::document::{Arrangement, Change, GgmlBlocks};
use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Shape};

use crate::{
    gguf::{names::Names, types::GgufTensor},
    tensor::{Shard, SourceParts, SourceTensor},
};

/// The shards of one model, and the tensors in them.
#[derive(Debug)]
pub struct Inventory {
    /// The shards, in byte order of their names.
    pub(crate) shards: Vec<Shard>,
    /// The tensors, in byte order of their names, which are unique.
    pub(crate) tensors: Vec<SourceTensor>,
    /// The shards' `__metadata__`, merged.
    pub(crate) metadata: BTreeMap<String, String>,
    /// The file name of the shard index, if there is one.
    pub(crate) index: Option<String>,
    pub(crate) warnings: Vec<String>,
    pub(crate) contents: Contents,
}

/// Knowledge of a kind of source about its tensors, beyond their names, dtypes and shapes.
#[derive(Debug, Clone)]
pub(crate) enum Contents {
    /// The files of a checkpoint. Names and the configuration tell how values are coded.
    Checkpoint {
        /// Indices, among the model's tensors, of scales of 8-bit floats whose elements are all powers of two.
        exact_scales: HashSet<usize>,
        /// The values of `weight_shape`: the shape that a packed weight has, by the index of that tensor.
        stated_shapes: HashMap<usize, Vec<i64>>,
    },
    /// The blobs of a store. The table of the stored model tells how values are coded.
    Stored(Arc<Stored>),
    /// GGUF files. The types of their tensors tell how values are coded.
    Gguf(Arc<Gguf>),
}

/// The tensors of GGUF files.
#[derive(Debug)]
pub(crate) struct Gguf {
    /// One entry for each of the files' tensors.
    pub(crate) tensors: Vec<GgufTensor>,
    /// The tensors that they are stored as.
    pub(crate) names: Names,
}

/// The table of a stored model.
#[derive(Debug)]
pub(crate) struct Stored {
    /// The tensors, in byte order of their names.
    pub(crate) tensors: Vec<StoredTensor>,
    /// Whether this program imported the model. Experts then have the stored orientation, and arrangements are
    /// recorded.
    pub(crate) is_ours: bool,
}

/// One tensor of a stored model.
#[derive(Debug)]
pub(crate) struct StoredTensor {
    /// Name of the tensor, without the prefix of a draft model.
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Shape,
    pub(crate) scheme: Option<Scheme>,
    /// ggml's blocks, if the tensor is kept as these.
    pub(crate) blocks: Option<&'static GgmlBlocks>,
    /// The parts of the tensor, as indices among the model's tensors.
    pub(crate) parts: SourceParts,
    /// The arrangement of the values by an earlier import. `sources` names the tensors that the values came from.
    pub(crate) arrangement: Arrangement,
    pub(crate) change: Change,
    pub(crate) ulps: Vec<i8>,
    pub(crate) offset: i32,
    pub(crate) sources: Vec<String>,
}
