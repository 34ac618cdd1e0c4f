//! The error of MLX.

/// An operation that MLX refuses or cannot carry out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MLX cannot {operation}: {message}")]
#[non_exhaustive]
pub struct MlxError {
    /// The requested action.
    pub operation: &'static str,
    /// MLX's error.
    pub message: String,
}
