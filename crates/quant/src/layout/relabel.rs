//! Layouts whose bytes are those of MLX's, but for a number or an order of rows.

use super::error::{LayoutError, expect_len, expect_rows, product};
use crate::{
    FloatType,
    portable::element::{Bf16, Element, F16, F32},
};

/// The global scale of nvfp4, which multiplies, for the divisor that compressed-tensors stores as
/// `weight_global_scale`. `ModelOpt`'s `weight_scale_2` multiplies as it is.
///
/// Codes and scales of both are nvfp4's byte for byte: low nibble first, E4M3 row by row.
///
/// # Errors
///
/// [`LayoutError::Lossy`] unless the divisor is positive and finite, and its reciprocal too.
pub fn global_scale_of_divisor(divisor: f32) -> Result<f32, LayoutError> {
    let multiplier = 1.0 / divisor;
    if divisor > 0.0 && divisor.is_finite() && multiplier > 0.0 && multiplier.is_finite() {
        Ok(multiplier)
    } else {
        Err(LayoutError::Lossy { expected: "a positive divisor with a finite reciprocal", found: divisor.to_string() })
    }
}

/// Copies rows `index`, `index + n`, `index + 2n` … of `src`, rows of `row` bytes, into `out`.
///
/// gpt-oss stores the gate and up projections interleaved: with `n` = 2, gate is at `index` 0, up at 1, of `*_blocks`, of
/// `*_scales` and of the biases alike. Of several experts in one source, each has an even number of rows, so that they
/// stay apart.
///
/// # Errors
///
/// [`LayoutError::Dimension`] where `row` or `n` is zero or `src` is not a multiple of `n` rows, [`LayoutError::TooLarge`] where
/// those do not fit in memory, [`LayoutError::Rows`] unless `index` is below `n`, [`LayoutError::Length`] unless `out` has room for just these rows. Nothing has been written then.
pub fn every_nth_row(src: &[u8], row: usize, n: usize, index: usize, out: &mut [u8]) -> Result<(), LayoutError> {
    let stride = product("the rows", [row, n])?;
    if !src.len().is_multiple_of(stride) {
        return Err(LayoutError::Dimension { what: "the source", multiple: stride, found: src.len() });
    }
    if index >= n {
        return Err(LayoutError::Rows { rows: n, first: index, end: index.saturating_add(1) });
    }
    expect_len("output", src.len() / n, out.len())?;
    for (rows, out) in src.chunks_exact(stride).zip(out.chunks_exact_mut(row)) {
        out.copy_from_slice(&rows[index * row..(index + 1) * row]);
    }
    Ok(())
}

/// The biases that turn codes offset by half their range into MLX's affine codes: −2^(`bits` − 1) × scale, exact unless that is
/// beyond the type (an F16 scale from 8,192 at 4 bits).
///
/// compressed-tensors' symmetric `pack-quantized` weights are stored so, in affine's bit stream: `weight_packed` is the
/// weight and `weight_scale` the scale, byte for byte.
///
/// # Errors
///
/// [`LayoutError::Bits`] unless `bits` is 4 or 8, [`LayoutError::PartialRow`] where `scales` is not whole elements of type `float`,
/// [`LayoutError::Length`] unless `out` is as long. Nothing has been written then.
pub fn symmetric_biases(scales: &[u8], float: FloatType, bits: u8, out: &mut [u8]) -> Result<(), LayoutError> {
    let factor = match bits {
        4 => -8.0,
        8 => -128.0,
        found => return Err(LayoutError::Bits { found }),
    };
    expect_rows("scales", float.size(), scales.len(), 0, usize::MAX)?;
    expect_len("biases", scales.len(), out.len())?;
    match float {
        FloatType::F32 => times::<F32>(scales, factor, out),
        FloatType::F16 => times::<F16>(scales, factor, out),
        FloatType::BF16 => times::<Bf16>(scales, factor, out),
    }
    Ok(())
}

fn times<T: Element>(src: &[u8], factor: f32, out: &mut [u8]) {
    for (src, out) in src.chunks_exact(T::SIZE).zip(out.chunks_exact_mut(T::SIZE)) {
        let mut value = [0.0];
        T::read(src, &mut value);
        T::write(&[value[0] * factor], out);
    }
}
