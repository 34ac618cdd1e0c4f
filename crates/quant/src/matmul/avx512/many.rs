//! Rows of weights with a block of sixteen input rows, which are the lanes of a vector.
//!
//! ```text
//! for each group
//!     for 4 codes of 8 rows      load 4 integers of 16 input rows; dot products with the 4 codes, broadcast
//!     for 8 rows                 to f32, scale, add; bias, add
//! ```
//!
//! Bound: dot products, two a cycle. There are no sums across lanes.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_sub_epi32,
};

use crate::matmul::fast::{CHAINS, Form, LaneBlock, Rows, Sums, TOKENS};

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
pub(super) fn many(form: Form, weights: Rows<'_>, input: &LaneBlock, sums: &mut Sums) {
    if form.codes.is_wide() {
        let (fours, rest) = sums.as_chunks_mut::<4>();
        for (i, sums) in fours.iter_mut().enumerate() {
            run::<4, true>(weights, 4 * i, input, sums);
        }
        let done = 4 * fours.len();
        for (i, sums) in rest.iter_mut().enumerate() {
            run::<1, true>(weights, done + i, input, std::array::from_mut(sums));
        }
    } else if let Ok(sums) = <&mut [_; 8]>::try_from(&mut *sums) {
        run::<8, false>(weights, 0, input, sums);
    } else {
        for (row, sums) in sums.iter_mut().enumerate() {
            run::<1, false>(weights, row, input, std::array::from_mut(sums));
        }
    }
}

/// Computes the sums of `R` rows of weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi,avx2,fma,f16c")]
fn run<const R: usize, const WIDE: bool>(
    weights: Rows<'_>,
    first: usize,
    input: &LaneBlock,
    sums: &mut [[[f32; TOKENS]; CHAINS]; R],
) {
    *sums = [[[0.0; TOKENS]; CHAINS]; R];
    let quads = weights.group / 4;
    let row = |row: usize| &weights.codes[(first + row) * weights.columns..][..weights.columns];
    let mut codes: [&[[u8; 4]]; R] = [&[]; R];
    for (r, codes) in codes.iter_mut().enumerate() {
        *codes = row(r).as_chunks().0;
    }
    for g in 0..input.scales.len() {
        let mut high = [_mm512_setzero_si512(); R];
        let mut low = [_mm512_setzero_si512(); R];
        let mut group: [&[[u8; 4]]; R] = [&[]; R];
        for r in 0..R {
            group[r] = &codes[r][g * quads..][..quads];
        }
        for (i, integers) in input.high[g * quads..][..quads].iter().enumerate() {
            let integers: __m512i = bytemuck::cast(*integers);
            let lower: __m512i =
                if WIDE { bytemuck::cast(input.low[g * quads..][..quads][i]) } else { _mm512_setzero_si512() };
            for r in 0..R {
                let codes = _mm512_set1_epi32(i32::from_le_bytes(group[r][i]));
                high[r] = _mm512_dpbusd_epi32(high[r], codes, integers);
                if WIDE {
                    low[r] = _mm512_dpbusd_epi32(low[r], codes, lower);
                }
            }
        }
        let offsets: __m512i = bytemuck::cast(input.offsets[g]);
        let (scales, totals): (__m512, __m512) = (bytemuck::cast(input.scales[g]), bytemuck::cast(input.sums[g]));
        for r in 0..R {
            let sum = if WIDE { _mm512_add_epi32(_mm512_slli_epi32::<7>(high[r]), low[r]) } else { high[r] };
            let sum = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, offsets));
            let at = (first + r) * weights.padded_groups + g;
            let scale = _mm512_mul_ps(_mm512_set1_ps(weights.scales[at]), scales);
            let lanes = &mut sums[r][g % CHAINS];
            let mut total = _mm512_fmadd_ps(sum, scale, bytemuck::cast::<_, __m512>(*lanes));
            if let Some(bias) = weights.biases.get(at) {
                total = _mm512_fmadd_ps(_mm512_set1_ps(*bias), totals, total);
            }
            *lanes = bytemuck::cast(total);
        }
    }
}
