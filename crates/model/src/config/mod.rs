//! Facts about a model, read from `config.json`.

pub(crate) mod document;
pub mod keys;
mod lenient;
pub(crate) mod model;
mod order;
pub(crate) mod pipeline;
pub(crate) mod quantization;
pub(crate) mod reader;
pub(crate) mod widths;
