//! Runs stored models on the CPU, still quantized, from their mapped blobs.
#![deny(unsafe_code)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of a model are far below the integers that its floats hold exactly"
)]

mod calibrate;
mod classifier;
mod decoder;
mod eagle;
mod embed;
mod encoder;
mod error;
mod expert_memory;
mod experts;
pub mod generate;
mod memory;
mod model;
mod observe;
mod options;
mod perplexity;
mod score;
mod session;
mod spec;
mod speculate;
pub mod text;
mod threads;
mod weights;
mod wide;

pub use calibrate::{CalibrateError, CalibrateOptions, Calibration, KvLoss, KvProgress, calibrate, kv_losses};
pub use classifier::Classifier;
pub use eagle::Eagle;
pub use embed::{Embedder, Pooling};
pub use error::{LoadError, RunError};
pub use expert_memory::ExpertMemory;
pub use experts::Routed;
pub use longshore_experts;
pub use longshore_manifest as manifest;
pub use longshore_quant::matmul::Precision;
pub use model::{Model, families};
pub use observe::Observer;
pub use options::{KvType, LoadOptions};
pub use perplexity::{Comparison, Measured, Quality, Scored, Windows, argmax, perplexity};
pub use session::{Session, extend_batch};
pub use speculate::{Proposer, Speculation};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
