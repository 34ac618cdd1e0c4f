//! Types and functions of a build without MLX: all of them, so that a program compiles everywhere. No array can exist there, so
//! that no function of an array is ever called.

use longshore_quant::FloatType;

use crate::{MlxError, QuantizedTensor};

/// An array of MLX, which a build without MLX has none of. With MLX, this is the type of `mlx-rs`.
#[derive(Debug, Clone)]
pub enum Array {}

impl QuantizedTensor {
    /// The values `[…, out, in]`, decoded.
    ///
    /// # Errors
    ///
    /// None: this build has no MLX, and no such tensor.
    pub fn dequantize(&self, _dtype: Option<FloatType>) -> Result<Array, MlxError> {
        match self.weight {}
    }

    /// The product of `x` `[…, tokens, in]` and the transposed weight.
    ///
    /// # Errors
    ///
    /// None: this build has no MLX, and no such tensor.
    pub fn matmul(&self, _x: &Array) -> Result<Array, MlxError> {
        match self.weight {}
    }

    /// The products of matrices of `x` and transposed experts of a stack, picked by index.
    ///
    /// # Errors
    ///
    /// None: this build has no MLX, and no such tensor.
    pub fn gather_matmul(
        &self,
        _x: &Array,
        _matrices: Option<&Array>,
        _experts: &Array,
        _is_sorted: bool,
    ) -> Result<Array, MlxError> {
        match self.weight {}
    }

    /// One expert `[out, in]` of a stack `[experts, out, in]`.
    ///
    /// # Errors
    ///
    /// None: this build has no MLX, and no such tensor.
    pub fn expert(&self, _index: usize) -> Result<Self, MlxError> {
        match self.weight {}
    }
}
