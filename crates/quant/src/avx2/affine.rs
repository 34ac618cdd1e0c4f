//! Encodes affine groups, with the arithmetic of [`portable::affine`].
//!
//! ```text
//! for eight groups: extremes of each         integer comparisons; one vector of minima, one of maxima
//!                   scales, biases           the four divisions of a group, once for eight
//!     for 32 codes: subtract, divide, round  a division is a multiplication and two fused corrections
//!                   pack
//! ```
//!
//! Bound: instructions. A core reads 16 bytes, eight BF16 weights, in about five cycles; from memory it reads a tenth
//! less. The gains and losses below were measured on a Sapphire Rapids core with data in cache.
//!
//! Tried and lost: dividing by `vdivps`, which starts once in five cycles there and once in eight elsewhere: int8 loses
//! 30 %, int4 23 %, int6 7 %. Preparing and finishing one batch before the next: loses a tenth. Not tried: widening by
//! `vpmovzxwd` and a shift. It is one instruction more than unpacking against zeros, and leaves the codes out of order.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT,
    _MM_FROUND_TO_ZERO, _mm256_add_ps, _mm256_and_ps, _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castps_si256,
    _mm256_cmp_ps, _mm256_cvtps_epi32, _mm256_div_ps, _mm256_max_ps, _mm256_movemask_ps, _mm256_or_ps,
    _mm256_packs_epi32, _mm256_round_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_sub_epi32, _mm256_sub_ps,
};

use super::{
    batch::{self, Tensor},
    divide::{Divisor, reciprocals},
    element::{load, magnitude, round, store8},
    pack::{bytes, pack},
    reduce::{GROUPS, extremes},
};
use crate::{
    EncodeBuffers, EncodeStats, EncodedLen, GlobalScale,
    portable::{
        Params,
        affine::{self, EPSILON, Rule},
        element::Element,
    },
};

/// Scales and biases of eight groups, one per lane.
#[derive(Clone, Copy)]
struct Fit {
    scale: __m256,
    bias: __m256,
    /// Number of groups whose weights are not all zero, but whose edge has no code.
    zeroed: u32,
}

/// Rounds to integers as the profile `R` does.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn whole<R: Rule>(values: __m256) -> __m256 {
    if R::TIES_AWAY {
        // The largest float below one half. With it, an integer stays below the next integer, and a tie reaches it.
        let half = _mm256_set1_ps(0.5f32.next_down());
        let half = _mm256_or_ps(half, _mm256_and_ps(values, _mm256_set1_ps(-0.0)));
        _mm256_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(_mm256_add_ps(values, half))
    } else {
        _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(values)
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fit<R: Rule>(min: __m256, max: __m256, top: f32) -> Fit {
    let max = if R::FLOOR == 0.0 { _mm256_max_ps(max, _mm256_setzero_ps()) } else { max };
    let step = _mm256_div_ps(_mm256_sub_ps(max, min), _mm256_set1_ps(top));
    let step = _mm256_max_ps(step, _mm256_set1_ps(EPSILON));
    let (low, high) = (magnitude(min), magnitude(max));
    let from_min = _mm256_cmp_ps::<_CMP_GT_OQ>(low, high);
    let edge = _mm256_blendv_ps(max, min, from_min);
    let scale = _mm256_or_ps(step, _mm256_andnot_ps(from_min, _mm256_set1_ps(-0.0)));
    let codes = whole::<R>(_mm256_div_ps(edge, scale));
    let none = _mm256_cmp_ps::<_CMP_EQ_OQ>(codes, _mm256_setzero_ps());
    let some_weight = _mm256_cmp_ps::<_CMP_GT_OQ>(_mm256_max_ps(low, high), _mm256_setzero_ps());
    Fit {
        scale: _mm256_blendv_ps(_mm256_div_ps(edge, codes), scale, none),
        bias: _mm256_andnot_ps(none, edge),
        zeroed: _mm256_movemask_ps(_mm256_and_ps(none, some_weight)).count_ones(),
    }
}

/// Rounds quotients to codes in lanes of 32 bits, not yet clamped.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn codes<R: Rule>(quotients: __m256) -> __m256i {
    let even = _mm256_cvtps_epi32(quotients);
    if !R::TIES_AWAY {
        return even;
    }
    // The difference is exact. It is one half only where a tie was rounded down.
    let rounded = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(quotients);
    let tie = _mm256_cmp_ps::<_CMP_GE_OQ>(_mm256_sub_ps(quotients, rounded), _mm256_set1_ps(0.5));
    _mm256_sub_epi32(even, _mm256_castps_si256(tie))
}

/// Numbers of eight groups that `prepare` computes and `finish` packs with.
#[derive(Clone, Copy)]
struct Prepared {
    fit: Fit,
    divisor: __m256,
    inverse: __m256,
}

/// Fits eight groups. Returns `None` where the portable kernel must encode them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn prepare<R: Rule, T: Element, const BITS: usize>(group: usize, src: &[u8]) -> Option<Prepared> {
    let (min, max) = extremes::<T>(src, group)?;
    let fit = fit::<R>(min, max, f32::from(u8::MAX >> (8 - BITS)));
    let divisor = if R::STORED_SCALE { round::<T>(fit.scale) } else { fit.scale };
    Some(Prepared { fit, divisor, inverse: reciprocals(divisor) })
}

/// Packs the codes of eight groups.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn finish<R: Rule, T: Element, const BITS: usize>(
    group: usize,
    prepared: &Prepared,
    src: &[u8],
    out: &mut EncodeBuffers<'_>,
) -> EncodeStats {
    let Fit { scale, bias, zeroed } = prepared.fit;
    store8::<T>(scale, out.scale);
    store8::<T>(bias, out.bias);
    let divisors = bytemuck::cast::<__m256, [f32; GROUPS]>(prepared.divisor);
    let inverses = bytemuck::cast::<__m256, [f32; GROUPS]>(prepared.inverse);
    let biases = bytemuck::cast::<__m256, [f32; GROUPS]>(bias);
    let groups = src.chunks_exact(group * T::SIZE).zip(out.weight.chunks_exact_mut(group * BITS / 8));
    for (i, (src, packed)) in groups.enumerate() {
        let (divisor, bias) = (Divisor::new(divisors[i], inverses[i]), _mm256_set1_ps(biases[i]));
        for (src, packed) in src.chunks_exact(32 * T::SIZE).zip(packed.chunks_exact_mut(4 * BITS)) {
            let (first, second) = src.split_at(16 * T::SIZE);
            let words = |src| {
                let values = load::<T>(src);
                let low = codes::<R>(divisor.divide(_mm256_sub_ps(values.low, bias)));
                let high = codes::<R>(divisor.divide(_mm256_sub_ps(values.high, bias)));
                _mm256_packs_epi32(low, high)
            };
            pack::<BITS>(bytes(words(first), words(second)), packed);
        }
    }
    EncodeStats { zeroed_groups: u64::from(zeroed), ..EncodeStats::default() }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn encode<R: Rule, T: Element, const BITS: usize>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // A constant group size lets the compiler unroll.
    match params.group {
        32 => encode_groups::<R, T, BITS, 32>(params, src, out),
        64 => encode_groups::<R, T, BITS, 64>(params, src, out),
        _ => encode_groups::<R, T, BITS, 128>(params, src, out),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn encode_groups<R: Rule, T: Element, const BITS: usize, const GROUP: usize>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let len = EncodedLen { weight: GROUP * BITS / 8, scale: T::SIZE, bias: T::SIZE };
    let tensor = Tensor { params, src, out, src_len: GROUP * T::SIZE, len };
    batch::encode(
        tensor,
        affine::encode::<R, T, BITS>,
        |src| prepare::<R, T, BITS>(GROUP, src),
        |prepared, src, out| finish::<R, T, BITS>(GROUP, prepared, src, out),
    )
}
