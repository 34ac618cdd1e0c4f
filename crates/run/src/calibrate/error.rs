//! Reasons why a calibration fails.

use crate::error::RunError;

/// Reason why a calibration failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrateError {
    /// The tokens cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No weight has a name that was asked for.
    #[error("expected weights whose products are to be collected, found none of these names")]
    NoLayers,
    /// The products of one weight alone take more than the memory.
    #[error("the products of tensor {tensor:?} take {needed} bytes, expected at most {memory}")]
    Memory {
        /// Name of the weight.
        tensor: String,
        /// Bytes of its products.
        needed: usize,
        /// Bytes that were allowed.
        memory: usize,
    },
    /// The layers have no projections to keys and values of their own.
    #[error("the model has {found}, expected a projection to keys and one to values in every layer")]
    Projections {
        /// What the layers have, in words.
        found: &'static str,
    },
    /// A layer has more keys and values of a token than are computed in reasonable time.
    #[error(
        "layer {layer} has {rows} keys and values of a token, expected at most {most}: the work grows with the cube"
    )]
    Rows {
        /// Number of the layer.
        layer: usize,
        /// Keys and values of a token together.
        rows: usize,
        /// The largest number that is computed.
        most: usize,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: std::path::PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}
