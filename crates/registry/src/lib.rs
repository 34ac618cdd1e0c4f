//! Stored models through any OCI registry, tensor by tensor.
//!
//! - [`push`] sends a stored model: what the registry has does not move again.
//! - [`pull`] brings one into a store: what the store has does not move. The model keeps its digest. A pull that is killed goes on where it was.
//! - [`mend`] has damaged blobs again from a registry, and fetches only what is wrong.
//! - [`Reference`] names a model in a registry. [`Registry`] is the connection to its repository.
//! - [`WireLayout`] says which blobs travel together: large ones alone, so that models share them, the small ones of a decoder layer in one.
//!
//! Every blob is checked by its own digest, whatever carried it, before a name points at it. `docs/wire.md` has the form between.
//!
//! ```no_run
//! use longshore_manifest::{Silent, Store};
//! use longshore_registry::{PullOptions, Reference, Registry, pull};
//! use longshore_transfer::{Client, Http, HttpOptions};
//!
//! let reference: Reference = "oci:localhost:5000/me/qwen3:int4".parse()?;
//! let registry = Registry::new(Client::new(Http::new(&HttpOptions::default())?), reference, None);
//! let (store, name) = (Store::open("models")?, "qwen3:int4".parse()?);
//! let pulled = pull(&registry, &store, &name, &PullOptions::default(), &Silent)?;
//! println!("{}: {} bytes moved", pulled.digest, pulled.moved_bytes);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod api;
mod error;
mod fetch;
mod hash;
mod pull;
mod push;
mod reference;
mod repair;
mod threads;
mod upload;
mod wire;

pub use api::Registry;
pub use error::RegistryError;
pub use pull::{PullOptions, PullPlan, Pulled, pull, pull_plan};
pub use push::{PushPlan, Pushed, push, push_plan};
pub use reference::{Reference, ReferenceError, Version};
pub use repair::{Mended, mend};
pub use wire::{CHUNK, LayerKind, Piece, WireBlob, WireError, WireLayer, WireLayout};

pub use longshore_manifest as manifest;
pub use longshore_transfer as transfer;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
