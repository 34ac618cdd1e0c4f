//! Every decision of an import, made from headers and configuration alone.

mod check;
mod decide;
pub(crate) mod error;
mod gguf;
mod layout;
pub(crate) mod make;
pub(crate) mod options;
pub(crate) mod planned;
pub(crate) mod report;
