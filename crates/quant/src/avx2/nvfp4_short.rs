//! Encodes nvfp4 from 16-bit floats without a global scale, for the profiles `plus` and `mlx`.
//!
//! ```text
//! for eight groups: magnitudes, scales     a lane each
//!    for two groups: round to 32 codes, pack   by e2m1_keys, F16 by e2m1
//! ```
//!
//! A scale has four bits, so a quarter of it and seven times it are exact. Comparing the largest magnitude with these
//! two shows without a division whether a group has codes beyond zero, and whether it is clipped. Groups below the
//! least scale do not need the portable kernel.
//!
//! Bound: the instructions, 360 per batch, two fifths of them for the scales and for the step from batch to batch.
//!
//! Tried and lost: rounding every code as [`signed`](super::signed) does, where [`e2m1`] suffices: a sixth slower.
//! Branching to count clipped groups, which ordinary weights have at random: an eighth slower. Comparing the quotient m
//! / scale, found by a division: a tenth slower.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_GT_OQ, _mm256_and_ps, _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castps_si256,
    _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cmpgt_epi32, _mm256_div_ps, _mm256_max_epi32, _mm256_min_epi32,
    _mm256_min_ps, _mm256_movemask_ps, _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256,
};

use super::{
    batch::{self, Tensor},
    divide::reciprocals,
    e2m1,
    e2m1_keys::Keys,
    element::{round, store_bytes},
    minifloat::{e4m3_values, nearest_even},
    reduce::magnitudes,
};
use crate::{
    EncodeBuffers, EncodeStats, EncodedLen, FloatType, GlobalScale, Profile,
    portable::{
        Params,
        element::Element,
        nvfp4::{self, Rule},
    },
};

const GROUP: usize = 16;

/// Largest scale.
const MOST: f32 = 448.0;
/// Replaces a scale of zero. Its reciprocal is still a normal number.
const LARGE: f32 = f32::from_bits((127 + 126) << 23);
/// Largest magnitude of a group. Beyond it, quotients are too large for the words in which [`e2m1`] clamps them.
const FAR: f32 = 1000.0 * MOST;

/// Numbers of eight groups that `prepare` computes and `finish` packs with.
#[derive(Clone, Copy)]
struct Prepared {
    codes: __m256i,
    scales: __m256,
    /// Bit masks of the groups whose weights all round to zero, and of the groups with clipped weights.
    zeroed: u32,
    clipped: u32,
}

/// Finds the scales of eight groups. Returns `None` where the portable kernel must encode them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn prepare<R: Rule, T: Element>(src: &[u8]) -> Option<Prepared> {
    let largest = magnitudes::<T>(src, GROUP)?;
    if _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(largest, _mm256_set1_ps(FAR))) != 0 {
        return None;
    }
    let sixth = _mm256_div_ps(largest, _mm256_set1_ps(6.0));
    let sixth = if matches!(R::PROFILE, Profile::Mlx) { round::<T>(sixth) } else { sixth };
    let codes = nearest_even::<3, -6>(_mm256_min_ps(sixth, _mm256_set1_ps(MOST)));
    let codes = if matches!(R::PROFILE, Profile::Plus) {
        _mm256_max_epi32(codes, _mm256_min_epi32(_mm256_castps_si256(largest), _mm256_set1_epi32(1)))
    } else {
        codes
    };
    // Weights under a scale of zero have codes of zero. In `mlx` the weights may be anything; in `plus` they are zeros,
    // whose signs `e2m1` would keep.
    let some_scale = _mm256_castsi256_ps(_mm256_cmpgt_epi32(codes, _mm256_setzero_si256()));
    if matches!(R::PROFILE, Profile::Plus) && _mm256_movemask_ps(some_scale) != 0xFF {
        return None;
    }
    let scales = e4m3_values(codes);
    let large = _mm256_cmp_ps::<_CMP_GT_OQ>(largest, _mm256_mul_ps(scales, _mm256_set1_ps(7.0)));
    let clipped = _mm256_movemask_ps(_mm256_and_ps(some_scale, large)).cast_unsigned();
    let some_code = _mm256_cmp_ps::<_CMP_GT_OQ>(_mm256_mul_ps(largest, _mm256_set1_ps(4.0)), scales);
    let some_weight = _mm256_cmp_ps::<_CMP_GT_OQ>(largest, _mm256_setzero_ps());
    let none = _mm256_andnot_ps(_mm256_and_ps(some_code, some_scale), some_weight);
    let zeroed = _mm256_movemask_ps(none).cast_unsigned();
    // Under a scale as large as `LARGE`, all codes are zero.
    let scales = _mm256_blendv_ps(_mm256_set1_ps(LARGE), scales, some_scale);
    Some(Prepared { codes, scales, zeroed, clipped })
}

/// Packs the codes of eight groups.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn finish<R: Rule, T: Element>(prepared: &Prepared, src: &[u8], out: &mut EncodeBuffers<'_>) -> EncodeStats {
    store_bytes(prepared.codes, out.scale);
    let down = matches!(R::PROFILE, Profile::Mlx);
    let pairs = src.chunks_exact(32 * T::SIZE).zip(out.weight.chunks_exact_mut(16));
    if matches!(T::FLOAT, FloatType::BF16) {
        let keys = Keys::new(prepared.scales);
        for (i, (src, out)) in pairs.enumerate() {
            if down {
                keys.encode::<true, false>(src, i, out);
            } else {
                keys.encode::<false, false>(src, i, out);
            }
        }
    } else {
        let reciprocals = e2m1::Reciprocals::new(reciprocals(prepared.scales));
        for (i, (src, out)) in pairs.enumerate() {
            let groups = [2 * i, 2 * i + 1];
            if down {
                e2m1::encode::<T, true>(src, &reciprocals, groups, out);
            } else {
                e2m1::encode::<T, false>(src, &reciprocals, groups, out);
            }
        }
    }
    EncodeStats {
        zeroed_groups: ones(prepared.zeroed),
        clipped_groups: ones(prepared.clipped),
        ..EncodeStats::default()
    }
}

/// Counts the set bits of an eight-bit mask. A branch on zero would be unpredictable: scales near the least one clip a
/// fifth of ordinary groups.
#[inline]
fn ones(mask: u32) -> u64 {
    static ONES: [u8; 256] = {
        let mut ones = [0; 256];
        let mut mask = 1;
        while mask < 256 {
            ones[mask] = ones[mask / 2] + (mask % 2 == 1) as u8;
            mask += 1;
        }
        ones
    };
    ONES[mask as usize % 256].into()
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn encode<R: Rule, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let len = EncodedLen { weight: GROUP / 2, scale: 1, bias: 0 };
    let tensor = Tensor { params, src, out, src_len: GROUP * T::SIZE, len };
    batch::encode(
        tensor,
        nvfp4::encode::<R, T>,
        |src| prepare::<R, T>(src),
        |prepared, src, out| finish::<R, T>(prepared, src, out),
    )
}
