//! Layouts that have the bytes of MLX's formats and differ only in one number or in the order of rows.

use super::error::{LayoutError, expect_len, expect_rows, product};
use crate::{
    FloatType,
    portable::element::{Bf16, Element, F16, F32},
};

/// Converts the divisor that compressed-tensors stores as `weight_global_scale` to the multiplier that is nvfp4's
/// global scale. `ModelOpt`'s `weight_scale_2` is such a multiplier already.
///
/// The codes and scales of both layouts are nvfp4's byte for byte: low nibble first, E4M3 row by row.
///
/// # Errors
///
/// [`LayoutError::Lossy`] unless both the divisor and its reciprocal are positive and finite.
pub fn global_scale_of_divisor(divisor: f32) -> Result<f32, LayoutError> {
    let multiplier = 1.0 / divisor;
    if divisor > 0.0 && divisor.is_finite() && multiplier > 0.0 && multiplier.is_finite() {
        Ok(multiplier)
    } else {
        Err(LayoutError::Lossy { expected: "a positive divisor with a finite reciprocal", found: divisor.to_string() })
    }
}

/// Copies rows `index`, `index + n`, `index + 2n` … of `src` into `out`. A row has `row` bytes.
///
/// gpt-oss stores the gate and up projections interleaved. With `n` = 2, `index` 0 gives the gate and `index` 1 the up
/// projection, for `*_blocks`, `*_scales` and the biases alike. One source may hold several experts, because each has
/// an even number of rows.
///
/// # Errors
///
/// [`LayoutError::Dimension`] where `row` or `n` is zero or `src` is not a multiple of `n` rows,
/// [`LayoutError::TooLarge`] where `n` rows do not fit in memory, [`LayoutError::Rows`] unless `index` is below `n`,
/// [`LayoutError::Length`] unless `out` has exactly the size of the copied rows. Nothing has been written then.
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

/// Computes the affine biases for codes that are offset by half their range: −2^(`bits` − 1) × scale. A bias is exact
/// unless it overflows the type, as with an F16 scale of 8,192 or more at 4 bits.
///
/// compressed-tensors stores symmetric `pack-quantized` weights in this way, in affine's bit stream: `weight_packed` is
/// the weight and `weight_scale` the scale, byte for byte.
///
/// # Errors
///
/// [`LayoutError::Bits`] unless `bits` is 4 or 8, [`LayoutError::PartialRow`] where `scales` is not whole elements of
/// type `float`, [`LayoutError::Length`] unless `out` is as long as `scales`. Nothing has been written then.
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
