//! Stored model weights as MLX arrays.
//!
//! This release holds the crate's types and no back end: [`MlxWeights::load`] always answers [`MlxError::NotBuilt`]. Weights in host memory
//! are [`longshore_manifest::Weights`].
//!
//! ```
//! use longshore_loader_mlx::{MlxWeights, MlxError};
//! use longshore_manifest::{ModelName, Store};
//!
//! fn load(store: &Store, name: &ModelName) -> Result<MlxWeights, Box<dyn std::error::Error>> {
//!     let model = store.model(name)?;
//!     Ok(MlxWeights::load(store, &model)?)
//! }
//! ```
#![forbid(unsafe_code)]

use longshore_manifest::{Model, Store};

/// The tensors of a model in MLX memory. There is none yet, as no back end is built.
#[derive(Debug)]
pub enum MlxWeights {}

/// Weights that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MlxError {
    /// This build has no MLX back end.
    #[error("the MLX loader is not built yet in this release")]
    NotBuilt,
}

impl MlxWeights {
    /// Loads `model` from `store`.
    ///
    /// # Errors
    ///
    /// [`MlxError::NotBuilt`], always.
    pub fn load(store: &Store, model: &Model) -> Result<Self, MlxError> {
        let _ = (store, model);
        Err(MlxError::NotBuilt)
    }
}
