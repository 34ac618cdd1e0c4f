//! Stored model weights in CUDA memory.
//!
//! This release holds the crate's types and no back end: [`CudaWeights::load`] always answers [`CudaError::NotBuilt`]. Weights in host memory
//! are [`longshore_manifest::Weights`].
//!
//! [`dequantize`] decodes quantized tensors that lie in CUDA memory already.
//!
//! ```
//! use longshore_loader_cuda::{CudaWeights, CudaError};
//! use longshore_manifest::{ModelName, Store};
//!
//! fn load(store: &Store, name: &ModelName) -> Result<CudaWeights, Box<dyn std::error::Error>> {
//!     let model = store.model(name)?;
//!     Ok(CudaWeights::load(store, &model, 0)?)
//! }
//! ```

pub mod dequantize;

use longshore_manifest::{Model, Store};

/// The tensors of a model in CUDA memory. There is none yet, as no back end is built.
#[derive(Debug)]
pub enum CudaWeights {}

/// Weights that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// This build has no CUDA back end.
    #[error("the CUDA loader is not built yet in this release")]
    NotBuilt,
}

impl CudaWeights {
    /// Loads `model` from `store` on device `ordinal`, counted from 0.
    ///
    /// # Errors
    ///
    /// [`CudaError::NotBuilt`], always.
    pub fn load(store: &Store, model: &Model, ordinal: u32) -> Result<Self, CudaError> {
        let _ = (store, model, ordinal);
        Err(CudaError::NotBuilt)
    }
}
