//! The wire form: which blobs of a model lie in which layers, and the documents that say so. `docs/wire.md` describes it.

mod check;
mod document;
mod group;
mod layout;

pub use check::WireError;
pub(crate) use check::{Checked, check};
pub(crate) use document::{Artifact, Entry, Index, MAX_ARTIFACT, MAX_INDEX, media_type};
pub use layout::{LayerKind, Piece, WireBlob, WireLayer, WireLayout};

/// Length of the pieces of a blob that have digests of their own, in bytes.
pub const CHUNK: u64 = longshore_manifest::document::Chunks::SIZE;
