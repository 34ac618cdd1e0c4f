//! The two JSON documents of a stored model: the manifest, and the config with its tensor table.

mod arrangement;
mod changes;
mod chunks;
mod coding;
mod config;
mod expert;
mod experts;
mod ggml;
mod heads;
mod make;
mod manifest;
mod table;

pub use changes::{Base, Calibrated, Changes, MergedAdapter, Rotated, Scaled};
pub use chunks::{ChunkHasher, Chunks};
pub(crate) use coding::Coding;
pub use config::{Config, Draft, Import};
pub use experts::{ExpertGroup, ExpertTensor, expert_groups};
pub use ggml::GgmlBlocks;
pub use heads::{DraftHead, HeadRole};
pub use longshore_model::{
    Attention, Audio, Facts, LatentAttention, LinearAttention, Multipliers, Norm, PerLayer, Rope, Router, StateSpace,
    Tokens, Vision,
};
pub(crate) use manifest::check_files;
pub use manifest::{Descriptor, DocumentError, Manifest, media_type};
pub use table::{
    Arrangement, BlobEntry, Change, Loss, Part, Quantization, Role, TensorEntry, TensorTable, is_component,
};
