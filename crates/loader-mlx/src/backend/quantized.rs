//! Operations of MLX on quantized tensors.

#![expect(unsafe_code, reason = "mlx-rs knows the affine mode alone")]

use std::ffi::c_int;

use longshore_quant::FloatType;
use mlx_rs::Array;
use mlx_sys::{mlx_optional_dtype, mlx_optional_int};

use super::{
    ffi::{handle, op},
    view::{cast, multiply, reshape, slice},
};
use crate::{MlxError, QuantizedTensor};

/// MLX's global scale divides by the largest value of a scale times that of a code, 448 × 6; the store's multiplies.
pub(super) const GLOBAL_SCALE: f32 = 2688.0;

impl QuantizedTensor {
    /// The values `[…, out, in]`: the bits of `mx.dequantize`, in `dtype` or else as MLX chooses, which is the scales' type for affine
    /// schemes, F32 where there is a global scale and BF16 otherwise. Where every expert has a global scale of its own, MLX has no such
    /// operation: the values are then decoded without and multiplied in F32.
    ///
    /// # Errors
    ///
    /// MLX's error.
    pub fn dequantize(&self, dtype: Option<FloatType>) -> Result<Array, MlxError> {
        let is_single = self.global_scale.as_ref().is_none_or(|scale| scale.size() == 1);
        // Not every mode heeds the type that it is asked for.
        let to = dtype.map(mlx_dtype);
        let inner = if is_single { to } else { Some(mlx_sys::mlx_dtype__MLX_FLOAT32) };
        let asked = mlx_optional_dtype {
            value: inner.unwrap_or(mlx_sys::mlx_dtype__MLX_BFLOAT16),
            has_value: inner.is_some() && !self.scheme.is_affine(),
        };
        // MLX takes the scale of a whole tensor as an array of one element.
        let single = match &self.global_scale {
            Some(scale) if is_single => Some(reshape(scale, &[])?),
            _ => None,
        };
        let values = op("dequantize", |result, stream| {
            let (weight, scale, bias) = (self.weight.as_ptr(), self.scale.as_ptr(), handle(self.bias.as_ref()));
            let (group, width, mode) = (some(self.group_size()), some(self.bits()), self.c_mode().as_ptr());
            let global = handle(single.as_ref());
            // SAFETY: the handles are those of live arrays or of none, and the mode ends in a zero byte.
            unsafe { mlx_sys::mlx_dequantize(result, weight, scale, bias, group, width, mode, global, asked, stream) }
        })?;
        let values = if is_single { values } else { self.scaled(values)? };
        to.map_or_else(|| Ok(values.clone()), |to| cast(&values, to))
    }

    /// The product of `x` `[…, tokens, in]` and the transposed weight: `[…, tokens, out]`. MLX has no place for a global scale there, so
    /// that the product is multiplied by it, in F32.
    ///
    /// # Errors
    ///
    /// MLX's error, for example for shapes that do not fit.
    pub fn matmul(&self, x: &Array) -> Result<Array, MlxError> {
        let product = op("multiply by a quantized weight", |result, stream| {
            let (weight, scale, bias) = (self.weight.as_ptr(), self.scale.as_ptr(), handle(self.bias.as_ref()));
            let (group, width, mode) = (some(self.group_size()), some(self.bits()), self.c_mode().as_ptr());
            // SAFETY: the handles are those of live arrays or of none, and the mode ends in a zero byte.
            unsafe {
                mlx_sys::mlx_quantized_matmul(result, x.as_ptr(), weight, scale, bias, true, group, width, mode, stream)
            }
        })?;
        if self.global_scale.is_none() { Ok(product) } else { same_type(&self.scaled(product.clone())?, &product) }
    }

    /// The products of matrices of `x` `[…, tokens, in]` and transposed experts of a stack `[experts, out, in]`, picked by index: U32
    /// `experts`, and U32 `matrices` of `x` or all in turn. Indices that are sorted by expert may be told so, and are faster.
    ///
    /// # Errors
    ///
    /// MLX's error, for example for shapes that do not fit.
    pub fn gather_matmul(
        &self,
        x: &Array,
        matrices: Option<&Array>,
        experts: &Array,
        is_sorted: bool,
    ) -> Result<Array, MlxError> {
        let product = op("multiply by quantized experts", |result, stream| {
            let (weight, scale, bias) = (self.weight.as_ptr(), self.scale.as_ptr(), handle(self.bias.as_ref()));
            let (group, width, mode) = (some(self.group_size()), some(self.bits()), self.c_mode().as_ptr());
            let (x, left, right) = (x.as_ptr(), handle(matrices), experts.as_ptr());
            // SAFETY: the handles are those of live arrays or of none, and the mode ends in a zero byte.
            unsafe {
                mlx_sys::mlx_gather_qmm(
                    result, x, weight, scale, bias, left, right, true, group, width, mode, is_sorted, stream,
                )
            }
        })?;
        let Some(scale) = &self.global_scale else { return Ok(product) };
        if scale.size() == 1 {
            return same_type(&self.scaled(product.clone())?, &product);
        }
        // [experts, 1, 1] becomes […indices, 1, 1].
        let picked = op("pick global scales", |result, stream| {
            let (all, which) = (scale.as_ptr(), experts.as_ptr());
            // SAFETY: the handles are those of live arrays.
            unsafe { mlx_sys::mlx_take_axis(result, all, which, 0, stream) }
        })?;
        same_type(&multiply(&product, &multiplier(&picked)?)?, &product)
    }

    /// One expert `[out, in]` of a stack `[experts, out, in]`, as a view.
    ///
    /// # Errors
    ///
    /// MLX's error about the slice. [`MlxError`] where there is no such expert.
    pub fn expert(&self, index: usize) -> Result<Self, MlxError> {
        let shape = self.weight.shape();
        let operation = "pick an expert";
        let at =
            c_int::try_from(index).ok().filter(|&at| shape.len() == 3 && at < shape[0]).ok_or_else(|| MlxError {
                operation,
                message: format!("expected the index of one of the experts of codes {shape:?}, found {index}"),
            })?;
        let one = |array: &Array| {
            let [_, rows, columns] = *array.shape() else {
                return Err(MlxError { operation, message: format!("a part of a stack is {:?}", array.shape()) });
            };
            reshape(&slice(array, &[at, 0, 0], &[at + 1, rows, columns])?, &[rows, columns])
        };
        let global_scale = match &self.global_scale {
            Some(scale) if scale.size() > 1 => Some(reshape(&one(scale)?, &[])?),
            other => other.clone(),
        };
        Ok(Self {
            weight: one(&self.weight)?,
            scale: one(&self.scale)?,
            bias: self.bias.as_ref().map(one).transpose()?,
            global_scale,
            scheme: self.scheme,
        })
    }

    /// `values` times the global scale, in F32.
    fn scaled(&self, values: Array) -> Result<Array, MlxError> {
        let Some(scale) = &self.global_scale else { return Ok(values) };
        let scale = if scale.size() == 1 { &reshape(scale, &[])? } else { scale };
        multiply(&values, &multiplier(scale)?)
    }
}

/// The multiplier, from MLX's form of the global scale.
fn multiplier(scale: &Array) -> Result<Array, MlxError> {
    let divisor = Array::from_f32(GLOBAL_SCALE);
    op("divide the global scale", |result, stream| {
        // SAFETY: the handles are those of live arrays.
        unsafe { mlx_sys::mlx_divide(result, scale.as_ptr(), divisor.as_ptr(), stream) }
    })
}

/// `array` in the type of `other`.
fn same_type(array: &Array, other: &Array) -> Result<Array, MlxError> {
    cast(array, other.dtype().into())
}

pub(super) fn mlx_dtype(float: FloatType) -> mlx_sys::mlx_dtype {
    match float {
        FloatType::F32 => mlx_sys::mlx_dtype__MLX_FLOAT32,
        FloatType::F16 => mlx_sys::mlx_dtype__MLX_FLOAT16,
        FloatType::BF16 => mlx_sys::mlx_dtype__MLX_BFLOAT16,
    }
}

fn some(value: c_int) -> mlx_optional_int {
    mlx_optional_int { value, has_value: true }
}
