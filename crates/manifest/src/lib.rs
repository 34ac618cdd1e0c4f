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
//! ```
//! use std::collections::BTreeMap;
//!
//! use longshore_manifest::{
//!     Config, Descriptor, Manifest, ModelName, Silent, Store, Weights,
//!     document::{BlobEntry, Facts, Import, Part, Role, TensorEntry, TensorTable, Arrangement, media_type},
//!     store::{Added, VerifyOptions},
//!     weights::OpenOptions,
//! };
//! use longshore_st_format::{Dtype, Layout, Shape};
//!
//! # let dir = tempfile::tempdir()?;
//! # let root = dir.path().join("store");
//! let store = Store::open(root)?;
//! let name: ModelName = "demo:tiny".parse()?;
//!
//! // One tensor: the blob is planned, then written at any offsets.
//! let layout = Layout::new(&BTreeMap::new(), [("weight", Dtype::U8, Shape::new([3]))])?;
//! let part = layout.get("weight").expect("it was planned above").range;
//! let ingest = store.ingest()?;
//! let mut blob = ingest.blob()?;
//! blob.write_at(part.start, &[7, 8, 9])?;
//! blob.write_at(0, layout.header())?;
//! let blob = blob.finish()?;
//!
//! // The table says where it lies.
//! let part = Part {
//!     role: Role::Weight,
//!     dtype: Dtype::U8,
//!     shape: Shape::new([3]),
//!     offset: part.start,
//!     length: part.end - part.start,
//!     blob: None,
//! };
//! let tensor = TensorEntry {
//!     name: "weight".into(),
//!     dtype: Dtype::U8,
//!     shape: Shape::new([3]),
//!     quantization: None,
//!     arrangement: Arrangement::None,
//!     sources: vec![],
//!     parts: vec![part],
//!     loss: None,
//! };
//! let entry = BlobEntry { digest: blob.digest, component: None, tensors: vec![tensor] };
//! let table = TensorTable::new(Facts::default(), Import::default(), vec![entry]);
//! let config = ingest.add(&Config::new(table).to_bytes())?;
//!
//! // The manifest comes last, and all becomes durable at once.
//! let describe = |kind: &str, name: Option<&str>, Added { digest, size, .. }| Descriptor {
//!     media_type: kind.into(),
//!     digest,
//!     size,
//!     name: name.map(Into::into),
//! };
//! let layers = vec![describe(media_type::TENSOR, Some("weight"), blob)];
//! ingest.commit(&name, &Manifest::new(describe(media_type::CONFIG, None, config), layers))?;
//!
//! let weights = Weights::open(&store, &store.model(&name)?, &OpenOptions::default())?;
//! assert_eq!(weights.get("weight").expect("it was stored above").weight().data, [7, 8, 9]);
//! assert!(store.verify(&VerifyOptions::default(), &Silent)?.bad.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod digest;
pub mod document;
mod fs;
mod name;
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
