//! Execution of a plan: read, transform, quantize, hash and write. The result has the same bytes for any number of
//! threads.

mod changes;
pub(crate) mod document;
pub(crate) mod error;
pub(crate) mod hessians;
pub(crate) mod import;
mod importance;
mod jobs;
pub(crate) mod options;
pub(crate) mod read;
pub(crate) mod rebuild;
pub(crate) mod sink;
mod space;
mod spare;
mod table;
mod warnings;
mod write;

#[cfg(test)]
mod tests;
