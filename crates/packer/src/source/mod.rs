//! A checkpoint, as its headers and configuration describe it.

pub(crate) mod checkpoint;
pub(crate) mod classify;
pub(crate) mod companions;
mod config;
mod draft;
pub(crate) mod error;
pub(crate) mod form;
pub(crate) mod inventory;
pub(crate) mod member;
mod open;
mod pipeline;
mod read;
mod scales;
mod select;
mod stored;
mod walk;
