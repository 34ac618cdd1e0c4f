//! Calibration: statistics of the inputs of linear layers over a text, as a file.

mod collect;
mod error;
mod file;
mod kv;
mod passes;

pub use error::CalibrateError;
pub use kv::{KvLoss, KvProgress, kv_losses};
pub use passes::{CalibrateOptions, Calibration, calibrate};
