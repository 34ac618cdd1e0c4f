//! Encodes mxfp4 and mxfp8, with the arithmetic of [`portable::mx`].
//!
//! ```text
//! for eight groups: magnitudes, exponents, reciprocals   a lane each
//!     for 32 codes: multiply, round, pack                 mxfp4 of BF16: by e2m1_keys, F16 by e2m1
//! ```
//!
//! Bound: for mxfp4 of BF16 the memory, where the data is in no cache; otherwise the instructions. Dividing by a power
//! of two is multiplying by another one. Rounding the quotient to the type of the elements changes no code. MLX's CPU
//! backend differs only in how it breaks ties, and below the range of normal numbers, which is left to the portable
//! kernel.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_EQ_OQ, _mm256_add_epi32, _mm256_andnot_si256, _mm256_blendv_epi8, _mm256_castps_si256,
    _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_cmpgt_epi32, _mm256_div_ps, _mm256_movemask_epi8, _mm256_mul_ps,
    _mm256_or_si256, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_sub_epi32,
};

use super::{
    batch::{self, Tensor},
    e2m1,
    e2m1_keys::Keys,
    element::{Sixteen, load, round, store_bytes},
    reduce::{GROUPS, magnitudes},
    signed,
};
use crate::{
    EncodeBuffers, EncodeStats, EncodedLen, FloatType, GlobalScale, Profile,
    portable::{
        Params,
        element::Element,
        mx::{self, Code, Rule},
    },
};

const GROUP: usize = 32;

/// Returns the codes of the scales and the reciprocals of the scales, or `None` where a scale is out of range.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scales<R: Rule, T: Element>(largest: Option<__m256>, max: f32) -> Option<(__m256i, __m256i)> {
    let largest = largest?;
    let step = _mm256_div_ps(largest, _mm256_set1_ps(max));
    let step = if matches!(R::PROFILE, Profile::Mlx) { round::<T>(step) } else { step };
    let bits = _mm256_castps_si256(step);
    let zero = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_EQ_OQ>(largest, _mm256_setzero_ps()));
    // Bits of the least normal number of F16 where the step was rounded to F16, else of a number of which a quarter is
    // a normal F32.
    let halves = matches!((R::PROFILE, T::FLOAT), (Profile::Mlx, FloatType::F16));
    let normal = if halves { (127 - 14) << 23 } else { 8 << 23 };
    let normal = _mm256_cmpgt_epi32(bits, _mm256_set1_epi32(normal - 1));
    if _mm256_movemask_epi8(_mm256_or_si256(zero, normal)) != -1 {
        return None;
    }
    // Adding just under a unit of the exponent carries unless the step is a power of two. The step is below 2^100.
    let codes = _mm256_srli_epi32::<23>(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7F_FFFF)));
    let one = _mm256_set1_epi32(127);
    let codes_or_one = _mm256_blendv_epi8(codes, one, zero);
    let inverse = _mm256_slli_epi32::<23>(_mm256_sub_epi32(_mm256_set1_epi32(254), codes_or_one));
    let codes = if matches!(R::PROFILE, Profile::Mlx) { codes_or_one } else { _mm256_andnot_si256(zero, codes) };
    Some((codes, inverse))
}

/// Packs the codes of eight groups.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn finish<R: Rule, C: Code, T: Element>(
    (codes, inverse): (__m256i, __m256i),
    src: &[u8],
    out: &mut EncodeBuffers<'_>,
) -> EncodeStats {
    store_bytes(codes, out.scale);
    let inverses = bytemuck::cast::<__m256i, [f32; GROUPS]>(inverse);
    let groups = src.chunks_exact(GROUP * T::SIZE).zip(out.weight.chunks_exact_mut(GROUP * C::BITS / 8));
    if C::BITS == 4 && matches!(T::FLOAT, FloatType::BF16) {
        // The reciprocal of a power of two has this constant minus its exponent bits.
        let scales = _mm256_sub_epi32(_mm256_set1_epi32(254 << 23), inverse);
        let keys = Keys::new(_mm256_castsi256_ps(scales));
        for (i, (src, out)) in groups.enumerate() {
            if matches!(R::PROFILE, Profile::Mlx) {
                keys.encode::<true, true>(src, i, out);
            } else {
                keys.encode::<false, true>(src, i, out);
            }
        }
        return EncodeStats::default();
    }
    let reciprocals = e2m1::Reciprocals::new(_mm256_castsi256_ps(inverse));
    for (i, (src, out)) in groups.enumerate() {
        if C::BITS == 4 && T::SIZE == 2 {
            if matches!(R::PROFILE, Profile::Mlx) {
                e2m1::encode::<T, true>(src, &reciprocals, [i; 2], out);
            } else {
                e2m1::encode::<T, false>(src, &reciprocals, [i; 2], out);
            }
            continue;
        }
        let inverse = _mm256_set1_ps(inverses[i]);
        let (first, second) = src.split_at(16 * T::SIZE);
        let signs = [load::<T>(first), load::<T>(second)];
        let times =
            |pair: Sixteen| Sixteen { low: _mm256_mul_ps(pair.low, inverse), high: _mm256_mul_ps(pair.high, inverse) };
        let values = [times(signs[0]), times(signs[1])];
        match (C::BITS, R::PROFILE) {
            (4, Profile::Mlx) => signed::encode::<4, true>(values, signs, out),
            (4, _) => signed::encode::<4, false>(values, signs, out),
            _ => signed::encode::<8, false>(values, signs, out),
        }
    }
    EncodeStats::default()
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn encode<R: Rule, C: Code, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let len = EncodedLen { weight: GROUP * C::BITS / 8, scale: 1, bias: 0 };
    let tensor = Tensor { params, src, out, src_len: GROUP * T::SIZE, len };
    batch::encode(
        tensor,
        mx::encode::<R, C, T>,
        |src| scales::<R, T>(magnitudes::<T>(src, GROUP), C::MAX),
        |prepared, src, out| finish::<R, C, T>(*prepared, src, out),
    )
}
