//! Every decision of an import, made from headers and configuration alone.

mod adapt;
mod anatomy;
mod awq;
pub(crate) mod blocks;
mod check;
mod decide;
mod draft;
pub(crate) mod error;
pub(crate) mod factors;
mod gguf;
mod heads;
mod layout;
pub(crate) mod make;
mod nvfp4;
pub(crate) mod options;
pub(crate) mod planned;
pub(crate) mod report;
mod rotate;
