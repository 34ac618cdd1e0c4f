//! A quantized tensor: its parts, which are the same with MLX and without.

use std::ffi::CStr;

use longshore_quant::{Format, Scheme};

use crate::Array;

/// A quantized tensor `[…, out, in]`: its parts as MLX's quantized operations take them.
///
/// ```no_run
/// # fn run(weights: &longshore_loader_mlx::MlxWeights, x: &longshore_loader_mlx::Array) -> Result<(), Box<dyn std::error::Error>> {
/// let weight = weights.get("model.layers.0.mlp.up_proj.weight")?.quantized().ok_or("it is not quantized")?;
/// let y = weight.matmul(x)?; // [tokens, out] of x [tokens, in]
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QuantizedTensor {
    /// The packed codes: U32 `[…, out, in × bits / 32]`.
    pub weight: Array,
    /// The scales, `[…, out, in / group]`: floats of an affine scheme, U8 of the others.
    pub scale: Array,
    /// The biases, shaped like the scales; affine schemes only.
    pub bias: Option<Array>,
    /// The global scale in MLX's form: F32, the store's times 2,688, for the whole tensor or `[experts, 1, 1]`.
    pub global_scale: Option<Array>,
    /// The scheme.
    pub scheme: Scheme,
}

impl QuantizedTensor {
    /// The mode, as MLX's operations call it: `affine`, `nvfp4`, `mxfp4` or `mxfp8`.
    #[must_use]
    pub fn mode(&self) -> &'static str {
        self.c_mode().to_str().expect("the modes are ASCII")
    }

    /// Elements that share a scale.
    #[must_use]
    pub fn group_size(&self) -> i32 {
        i32::try_from(self.scheme.group_size()).expect("a group has at most 128 elements")
    }

    /// Bits per code.
    #[must_use]
    pub fn bits(&self) -> i32 {
        self.scheme.bits().into()
    }

    /// The mode as the C interface takes it.
    pub(crate) fn c_mode(&self) -> &'static CStr {
        match self.scheme.format() {
            Format::Nvfp4 => c"nvfp4",
            Format::Mxfp4 => c"mxfp4",
            Format::Mxfp8 => c"mxfp8",
            _ => c"affine",
        }
    }
}
