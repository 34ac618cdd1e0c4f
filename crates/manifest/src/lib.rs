//! A content-addressed store of model weights.
//!
//! A stored model is a name that points to a manifest, and the manifest lists blobs: tensors in safetensors files,
//! companion files, and a config document with a table of the places of all tensors. A blob is named by the SHA-256 of
//! its bytes and stored once.
//!
//! - [`Store`] is the directory. [`Store::ingest`] adds a model; a crash leaves the old state or the new one.
//!   [`Store::list`], [`Store::model`] and [`Store::copy`] list, read and copy models. [`Store::remove`] and
//!   [`Store::gc`] delete. [`Store::verify`] hashes all blobs again.
//! - [`Weights`] maps a model's blobs and gives its tensors as arrays, without a copy.
//! - [`weights::plan`] decides which bytes a loader reads and where they go, down to one expert or one share of a
//!   tensor.
//! - [`ModelName`], [`Digest`] and [`RelativePath`] are checked when they are parsed. Paths are made from these types
//!   only.
//! - [`document`] has the two JSON documents, [`Manifest`] and [`Config`].
//! - [`Progress`] receives the progress of long operations, and can stop them.
//!
//! Errors name the file, the blob and the tensors or files in it. [`DocumentError`](document::DocumentError) is about
//! the two documents, and [`WeightsError`](weights::WeightsError) about opening a model. Each operation of a store has
//! its own error in [`store`]. Damage that [`Store::verify`] finds is not an error but part of the
//! [outcome](store::VerifyOutcome).
//!
//! `docs/format.md` describes the layout on disk, every field of the documents, and the order of writes. Shapes and
//! element types are those of [`st_format`].
//!
//! ```no_run
//! use longshore_manifest::{Store, Weights, weights::OpenOptions};
//!
//! let store = Store::open("models")?;
//! let model = store.model(&"qwen3-moe:int4".parse()?)?;
//! let weights = Weights::open(&store, &model, &OpenOptions::default())?;
//! let norm = weights.get("model.norm.weight").ok_or("no such tensor")?;
//! println!("{} {}: {} bytes, mapped", norm.dtype(), norm.shape(), norm.weight().data.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Ingest`](store::Ingest) shows how to add a tensor to a store.

mod digest;
pub mod document;
mod fs;
mod name;
mod parallel;
mod path;
mod progress;
pub mod store;
pub mod weights;

pub use digest::{Digest, DigestError, Hasher};
pub use document::{Config, Descriptor, Manifest};
pub use fs::{FsError, open_regular};
pub use name::{ModelName, NameError, NameProblem};
pub use path::{PathError, RelativePath};
pub use progress::{Progress, Silent};
pub use store::{Model, Store};
pub use weights::Weights;

pub use longshore_st_format as st_format;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
