//! Models from a Hugging Face hub, or one that answers like it, into a store.
//!
//! - [`HubReference`] names a repository and a revision. [`Hub`] is the connection, with what the environment says of it.
//! - [`Hub::listing`] pins the revision to a commit and lists its files. No name of a file that could leave a directory gets past it.
//! - [`pull`] imports: headers first, then shard by shard, each verified before anything is made of it, and deleted when nothing needs it any more.
//!   It goes on where a killed one was.
//! - The hub's own cache is read where it has a file, and never written.
//!
//! ```no_run
//! use longshore_hub::{Hub, HubOptions, PullOptions, pull};
//! use longshore_manifest::{Silent, Store};
//! use longshore_packer::PlanOptions;
//! use longshore_transfer::{Client, Http, HttpOptions};
//!
//! let hub = Hub::new(&Client::new(Http::new(&HttpOptions::default())?), HubOptions::of_environment()?);
//! let options = PullOptions { plan: PlanOptions { scheme: "int4".parse().ok(), ..Default::default() }, ..Default::default() };
//! let (store, name) = (Store::open("models")?, "qwen3:int4".parse()?);
//! let pulled = pull(&hub, &"hf:Qwen/Qwen3-4B".parse()?, &store, &name, &options, &Silent)?;
//! println!("{}: {} bytes moved", pulled.outcome.digest, pulled.moved_bytes);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod cache;
mod check;
mod error;
mod fetch;
mod gguf;
mod git;
mod hub;
mod key;
mod listing;
mod ollama;
mod pull;
mod reference;
mod remote;
mod rolling;
mod select;
mod snapshot;

pub use error::HubError;
pub use hub::{Hub, HubOptions};
pub use listing::{FileDigest, Listed, Listing};
pub use ollama::{Ollama, pull_ollama};
pub use pull::{PullOptions, Pulled, pull};
pub use reference::{HubReference, HubReferenceError};
pub use remote::Remote;
pub use select::Selection;

pub use longshore_manifest as manifest;
pub use longshore_packer as packer;
pub use longshore_transfer as transfer;

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
