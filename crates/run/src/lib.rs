//! Runs stored models on the CPU, still quantized, from their mapped blobs.
#![forbid(unsafe_code)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of a model are far below the integers that its floats hold exactly"
)]

mod decoder;
mod error;
pub mod generate;
mod model;
mod observe;
mod options;
mod session;
mod spec;
pub mod text;
mod weights;

pub use error::{LoadError, RunError};
pub use longshore_manifest as manifest;
pub use longshore_quant::matmul::Precision;
pub use model::{Model, families};
pub use observe::Observer;
pub use options::{KvType, LoadOptions};
pub use session::{Session, extend_batch};
