//! Encodes nvfp4 groups: E2M1 codes under an E4M3 scale.
//!
//! With `factor` = 2,688 / `global_scale`, where `global_scale` is MLX's argument, or 1 without one:
//!
//! ```text
//! scale = E4M3(max |w| / 6 × factor)
//! code  = E2M1(w / scale × factor)
//! ```
//!
//! The profiles differ in which intermediate results are rounded, and in how ties are broken.

use super::{
    MAX_GROUP, Params, bits, e2m1, e4m3,
    element::Element,
    group::{Magnitude, Mlx, MlxMetal, Plus, non_finite},
};
use crate::{EncodeBuffers, EncodeStats, GlobalScale};

/// Arithmetic of one profile.
pub(crate) trait Rule: Magnitude {
    /// Computes the code of the scale from the largest magnitude of the group.
    fn scale<T: Element>(largest: f32, factor: f32) -> u8;

    /// Computes the codes of a group under a scale.
    fn codes<T: Element>(values: &[f32], codes: &mut [u8], scale: f32, params: &Params<GlobalScale>);
}

pub(crate) fn factor(params: &Params<GlobalScale>) -> f32 {
    params.global.map_or(1.0, GlobalScale::encoding_factor)
}

/// Every step is rounded to the type of the elements, and ties go towards zero.
impl Rule for Mlx {
    fn scale<T: Element>(largest: f32, factor: f32) -> u8 {
        e4m3::encode_magnitude(T::round(largest / 6.0) * factor)
    }

    #[inline]
    fn codes<T: Element>(values: &[f32], codes: &mut [u8], scale: f32, params: &Params<GlobalScale>) {
        let factor = factor(params);
        for (code, value) in codes.iter_mut().zip(values) {
            *code = e2m1::first_nearest(T::round(value / scale) * factor);
        }
    }
}

/// Everything is computed in `f32`: a multiplication by the reciprocal, ties to even.
impl Rule for MlxMetal {
    fn scale<T: Element>(largest: f32, factor: f32) -> u8 {
        e4m3::encode_magnitude(largest / 6.0 * factor)
    }

    #[inline]
    fn codes<T: Element>(values: &[f32], codes: &mut [u8], scale: f32, params: &Params<GlobalScale>) {
        let inverse = if scale == 0.0 { 0.0 } else { factor(params) / scale };
        for (code, value) in codes.iter_mut().zip(values) {
            *code = e2m1::nearest_even(value * inverse);
        }
    }
}

/// Everything is computed in `f32`: a true division by the product that a reader multiplies by, ties to even. The scale
/// is zero only for a group of zeros. MLX's scale is zero for every group below half of its least code.
impl Rule for Plus {
    fn scale<T: Element>(largest: f32, factor: f32) -> u8 {
        e4m3::encode_magnitude(largest / 6.0 * factor).max(u8::from(largest > 0.0))
    }

    #[inline]
    fn codes<T: Element>(values: &[f32], codes: &mut [u8], scale: f32, params: &Params<GlobalScale>) {
        let step = params.global.map_or(scale, |global| scale * global.multiplier());
        if step == 0.0 {
            // The group is all zeros, or lies so far below the global scale that nothing of it remains.
            codes.fill(0);
            return;
        }
        for (code, value) in codes.iter_mut().zip(values) {
            *code = e2m1::nearest_even(value / step);
        }
    }
}

pub(crate) fn encode<R: Rule, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let EncodeBuffers { weight, scale, bias: _ } = out;
    let (group, factor) = (params.group, factor(params));
    let mut stats = EncodeStats::default();
    let (mut values, mut codes) = ([0.0; MAX_GROUP], [0; MAX_GROUP]);
    let (values, codes) = (&mut values[..group], &mut codes[..group]);
    let parts = scale.iter_mut().zip(weight.chunks_exact_mut(group / 2));
    for (src, (stored, packed)) in src.chunks_exact(group * T::SIZE).zip(parts) {
        T::read(src, values);
        let non_finite = non_finite(values);
        let largest = R::largest(values, non_finite);
        *stored = R::scale::<T>(largest, factor);
        let scale = e4m3::decode(*stored);
        R::codes::<T>(values, codes, scale, params);
        bits::pack::<4>(codes, packed);

        stats.non_finite += non_finite;
        if non_finite == 0 {
            let zeroed = largest > 0.0 && codes.iter().all(|code| code & e2m1::MAGNITUDE == 0);
            stats.zeroed_groups += u64::from(zeroed);
            stats.clipped_groups += u64::from(scale > 0.0 && largest / scale * factor > 7.0);
        }
    }
    stats
}
