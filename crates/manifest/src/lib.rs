//! A content-addressed store of model weights.
//!
//! A stored model is a name, which points to a manifest, which lists blobs: tensors in safetensors files, companion files, and a
//! config document with a table of where every tensor lies. A blob is named by the SHA-256 of its bytes and stored once.
//!
//! - [`Store`] is the directory. [`Store::ingest`] adds a model so that a crash leaves the old state or the new one;
//!   [`Store::list`], [`Store::model`] and [`Store::copy`] read and name; [`Store::remove`] and [`Store::gc`] delete;
//!   [`Store::verify`] hashes everything again.
//! - [`Weights`] maps a model's blobs and gives its tensors as arrays, without a copy.
//! - [`weights::plan`] decides what a loader reads and where it goes, down to one expert or one share of a tensor.
//! - [`ModelName`], [`Digest`] and [`RelativePath`] are checked when they are parsed; no path is made from any other text.
//! - [`document`] has the two JSON documents, [`Manifest`] and [`Config`].
//! - [`Progress`] watches long work and stops it.
//!
//! Errors name the file, the blob and what it is called in its models. [`DocumentError`](document::DocumentError) is about the two documents,
//! [`WeightsError`](weights::WeightsError) about opening a model, and each operation of a store has one in [`store`]. What
//! [`Store::verify`] finds is no error but its [outcome](store::VerifyOutcome).
//!
//! The layout, every field of the documents, and the order of writes are in `docs/format.md`. Shapes and element types are those
//! of [`st_format`].
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
//! [`Ingest`](store::Ingest) shows how a tensor gets into a store.

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
pub use fs::FsError;
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
