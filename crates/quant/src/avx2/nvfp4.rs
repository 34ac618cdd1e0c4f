//! Encodes nvfp4, with the arithmetic of [`portable::nvfp4`].
//!
//! ```text
//! for eight groups: magnitudes, scales and their reciprocals   a lane each
//!    for two groups: scale, round to 32 codes, pack
//! ```
//!
//! Bound: the instructions, as many for the scales of eight groups as for their 128 codes. Zero scales and numbers far
//! outside of the usual range are left to the portable kernel. This module serves F32, global scales and the profile
//! `mlx-metal`, whose products must be rounded as they are. Everything else takes the shorter way of [`nvfp4_short`].
//!
//! Tried and lost: preparing and finishing one batch before the next, whose chain of divisions leaves a core waiting: a
//! quarter slower. Computing scales from bits by way of subnormal numbers, each of which costs a hundred cycles: a
//! third slower.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_LE_OQ, _mm256_and_ps, _mm256_andnot_ps, _mm256_blendv_ps,
    _mm256_castps_si256, _mm256_cmp_ps, _mm256_div_ps, _mm256_max_epi32, _mm256_min_ps, _mm256_movemask_ps,
    _mm256_mul_ps, _mm256_or_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_srli_epi32,
};

use super::{
    batch::{self, Tensor},
    divide::{Divisor, reciprocals},
    element::{Sixteen, load, round, store_bytes},
    minifloat::{e4m3_values, nearest_even},
    nvfp4_short,
    reduce::{GROUPS, magnitudes},
    signed,
};
use crate::{
    EncodeBuffers, EncodeStats, EncodedLen, FloatType, GlobalScale, Profile,
    portable::{
        Params,
        element::Element,
        nvfp4::{self, Rule, factor},
    },
};

const GROUP: usize = 16;

/// Returns true where all lanes lie in `[from, to]` or are set in `otherwise`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn within(values: __m256, from: f32, to: f32, otherwise: __m256) -> bool {
    let above = _mm256_cmp_ps::<_CMP_GE_OQ>(values, _mm256_set1_ps(from));
    let below = _mm256_cmp_ps::<_CMP_LE_OQ>(values, _mm256_set1_ps(to));
    _mm256_movemask_ps(_mm256_or_ps(otherwise, _mm256_and_ps(above, below))) == 0xFF
}

/// Divisors and factors for the elements of eight groups.
#[derive(Clone, Copy)]
struct Steps {
    divisors: __m256,
    factors: __m256,
}

/// Numbers of eight groups that `prepare` computes and `finish` packs with.
#[derive(Clone, Copy)]
struct Prepared {
    codes: __m256i,
    steps: Steps,
    clipped: u32,
}

/// Finds the scales of eight groups. Returns `None` where the portable kernel must encode them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn prepare<R: Rule, T: Element, const GLOBAL: bool>(params: &Params<GlobalScale>, src: &[u8]) -> Option<Prepared> {
    let largest = magnitudes::<T>(src, GROUP)?;
    // Without a global scale, the compiler drops the multiplication by one.
    let factor = _mm256_set1_ps(if GLOBAL { factor(params) } else { 1.0 });
    let zero = _mm256_cmp_ps::<_CMP_EQ_OQ>(largest, _mm256_setzero_ps());
    let sixth = _mm256_div_ps(largest, _mm256_set1_ps(6.0));
    let sixth = if matches!(R::PROFILE, Profile::Mlx) { round::<T>(sixth) } else { sixth };
    let wanted = _mm256_min_ps(_mm256_mul_ps(sixth, factor), _mm256_set1_ps(448.0));
    let codes = nearest_even::<3, -6>(wanted);
    let codes = if matches!(R::PROFILE, Profile::Plus) {
        let some_weight = _mm256_cmp_ps::<_CMP_GT_OQ>(largest, _mm256_setzero_ps());
        _mm256_max_epi32(codes, _mm256_srli_epi32::<31>(_mm256_castps_si256(some_weight)))
    } else {
        codes
    };
    let scale = e4m3_values(codes);
    let quotient = _mm256_div_ps(largest, scale);
    let reached = _mm256_mul_ps(quotient, factor);
    if !within(reached, 1.0, 7.9, zero) {
        return None;
    }
    let steps = steps::<R, T, GLOBAL>(params, scale, quotient, zero)?;
    let clipped = _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(reached, _mm256_set1_ps(7.0)));
    Some(Prepared { codes, steps, clipped: clipped.count_ones() })
}

/// Packs the codes of eight groups.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn finish<R: Rule, T: Element, const GLOBAL: bool>(
    params: &Params<GlobalScale>,
    prepared: &Prepared,
    src: &[u8],
    out: &mut EncodeBuffers<'_>,
) -> EncodeStats {
    store_bytes(prepared.codes, out.scale);
    let divisors = bytemuck::cast::<__m256, [f32; GROUPS]>(prepared.steps.divisors);
    let factors = bytemuck::cast::<__m256, [f32; GROUPS]>(prepared.steps.factors);
    let factor = _mm256_set1_ps(factor(params));
    for (i, (src, out)) in src.chunks_exact(32 * T::SIZE).zip(out.weight.chunks_exact_mut(16)).enumerate() {
        let (first, second) = src.split_at(GROUP * T::SIZE);
        let signs = [load::<T>(first), load::<T>(second)];
        let by = |i: usize| Divisor::new(divisors[i], factors[i]);
        let values = [scaled::<R, T>(signs[0], by(2 * i), factor), scaled::<R, T>(signs[1], by(2 * i + 1), factor)];
        if matches!(R::PROFILE, Profile::Mlx) {
            signed::encode::<4, true>(values, signs, out);
        } else {
            signed::encode::<4, false>(values, signs, out);
        }
    }
    EncodeStats { clipped_groups: u64::from(prepared.clipped), ..EncodeStats::default() }
}

/// Computes the steps of eight groups. Returns `None` where one of them is out of the range in which the shortcuts are
/// exact.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn steps<R: Rule, T: Element, const GLOBAL: bool>(
    params: &Params<GlobalScale>,
    scale: __m256,
    quotient: __m256,
    zero: __m256,
) -> Option<Steps> {
    const SMALL: f32 = f32::from_bits((127 - 100) << 23);
    let one = _mm256_set1_ps(1.0);
    let (divisor, inverse) = match R::PROFILE {
        // Groups of zeros are divided by one.
        Profile::Mlx => {
            let (from, to) = if matches!(T::FLOAT, FloatType::F16) { (0.001, 60_000.0) } else { (SMALL, f32::MAX) };
            if !within(quotient, from, to, zero) {
                return None;
            }
            let divisor = _mm256_blendv_ps(scale, one, zero);
            (divisor, reciprocals(divisor))
        }
        // Groups of zeros are multiplied by zero.
        Profile::MlxMetal => {
            let factors = _mm256_div_ps(_mm256_set1_ps(if GLOBAL { factor(params) } else { 1.0 }), scale);
            // A tiny global scale can make a factor infinite, which the codes below cannot handle.
            if !within(factors, f32::MIN_POSITIVE, f32::MAX, zero) {
                return None;
            }
            (scale, _mm256_andnot_ps(zero, factors))
        }
        // In this profile a group of zeros gets codes without a sign, which the portable kernel writes.
        _ => {
            let step = params.global.map_or(scale, |global| _mm256_mul_ps(scale, _mm256_set1_ps(global.multiplier())));
            if !within(step, SMALL, 1.0 / SMALL, _mm256_setzero_ps()) {
                return None;
            }
            (step, reciprocals(step))
        }
    };
    Some(Steps { divisors: divisor, factors: inverse })
}

/// Divides sixteen elements by the step of their group, as the profile `R` does.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scaled<R: Rule, T: Element>(pair: Sixteen, divisor: Divisor, factor: __m256) -> Sixteen {
    let scaled = |values| match R::PROFILE {
        Profile::Mlx => _mm256_mul_ps(round::<T>(divisor.divide(values)), factor),
        Profile::MlxMetal => divisor.multiply(values),
        _ => divisor.divide(values),
    };
    Sixteen { low: scaled(pair.low), high: scaled(pair.high) }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn encode<R: Rule, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    match params.global {
        Some(_) => encode_groups::<R, T, true>(params, src, out),
        None if T::SIZE == 2 && !matches!(R::PROFILE, Profile::MlxMetal) => {
            nvfp4_short::encode::<R, T>(params, src, out)
        }
        None => encode_groups::<R, T, false>(params, src, out),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn encode_groups<R: Rule, T: Element, const GLOBAL: bool>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let len = EncodedLen { weight: GROUP / 2, scale: 1, bias: 0 };
    let tensor = Tensor { params, src, out, src_len: GROUP * T::SIZE, len };
    batch::encode(
        tensor,
        nvfp4::encode::<R, T>,
        |src| prepare::<R, T, GLOBAL>(params, src),
        |prepared, src, out| finish::<R, T, GLOBAL>(params, prepared, src, out),
    )
}
