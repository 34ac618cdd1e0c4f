//! A checkpoint, as its headers and configuration describe it.

pub(crate) mod adapter;
mod attachment;
pub(crate) mod checkpoint;
pub(crate) mod classify;
pub(crate) mod companions;
mod config;
mod draft;
pub(crate) mod error;
pub(crate) mod form;
pub(crate) mod gguf;
pub(crate) mod inventory;
mod links;
pub(crate) mod member;
pub(crate) mod merging;
pub(crate) mod open;
mod pipeline;
mod read;
mod rotate;
pub(crate) mod rotation;
mod scales;
mod select;
mod stale;
pub(crate) mod stored;
mod walk;
