//! Finds E2M1 codes of BF16 elements by comparing bits.
//!
//! The bits of magnitudes have the order of the magnitudes. Let t be the distance of the bits of |w| from the bits of
//! half a step, d / 2. The code of w is the number of half-way points whose distances t exceeds:
//!
//! ```text
//! code = (|w| > d / 4) + below[t / 32] + (t mod 32 > point[t / 32])
//! ```
//!
//! All half-way points lie on the grid of BF16, since such a point has 3 bits and a scale at most 4. From d / 2 to 5 d
//! there are at most 14 runs of 32 bit patterns. Each run holds at most one point, because points lie 52 or more apart.
//! Two look-ups of sixteen bytes therefore serve 32 elements. The tables depend only on the mantissa of d.
//!
//! Bound: vector instructions of any kind, 36 for 32 elements; [`e2m1`](super::e2m1) takes 55. Neither divides. MLX's
//! CPU backend rounds quotients to BF16 first, which changes no code, as `e2m1` shows.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_packus_epi16, _mm256_and_si256, _mm256_andnot_si256, _mm256_broadcastsi128_si256,
    _mm256_castps_si256, _mm256_castsi256_si128, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_cmpgt_epi16,
    _mm256_extracti128_si256, _mm256_maddubs_epi16, _mm256_min_epu8, _mm256_or_si256, _mm256_packs_epi16,
    _mm256_packus_epi16, _mm256_permutevar8x32_epi32, _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16, _mm256_srli_epi32,
    _mm256_sub_epi8, _mm256_sub_epi16, _mm256_sub_epi32, _mm256_subs_epu16,
};

use super::{
    element::{load_half, write},
    reduce::GROUPS,
};

/// Tables for one mantissa of d. For each run: the number of half-way points, from 3/4 d on, below the run, and the
/// place of the point in the run.
#[derive(Clone, Copy)]
#[repr(C)]
struct Runs {
    below: [u8; 16],
    point: [u8; 16],
}

/// Half-way points from 3/4 on, in quarters. With ties to even, every other tie goes up.
const POINTS: [u32; 6] = [3, 5, 7, 10, 14, 20];

/// Bits of the BF16 that is `number` / 32. The number must have at most 8 significant bits.
const fn key(number: u32) -> u32 {
    let exponent = number.ilog2();
    (127 - 5 + exponent) << 7 | ((number << 7) >> exponent) & 0x7F
}

/// Tables for d = 1 + `mantissa` / 8.
const fn runs(mantissa: u32, down: bool) -> Runs {
    let mut runs = Runs { below: [0; 16], point: [31; 16] };
    let start = key((8 + mantissa) * 2);
    let mut i = 0;
    while i < POINTS.len() {
        // The largest distance that does not exceed the point.
        let up = i % 2 == 0 && !down;
        let last = key((8 + mantissa) * POINTS[i]) - start - if up { 1 } else { 0 };
        let mut run = 0;
        while run < 16 {
            if run * 32 > last {
                runs.below[run as usize] += 1;
            } else if run * 32 + 31 > last {
                assert!(runs.point[run as usize] == 31, "two points are in one run");
                runs.point[run as usize] = (last % 32).to_le_bytes()[0];
            }
            run += 1;
        }
        i += 1;
    }
    runs
}

const fn all_runs(down: bool) -> [Runs; 8] {
    let mut all = [runs(0, down); 8];
    let mut mantissa = 1;
    while mantissa < 8 {
        all[mantissa as usize] = runs(mantissa, down);
        mantissa += 1;
    }
    all
}

static TO_EVEN: [Runs; 8] = all_runs(false);
static DOWNWARDS: [Runs; 8] = all_runs(true);

/// Eight scales d, in the form with which the elements of their groups are compared.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    /// Bits of d / 2 as BF16, in both halves of a lane.
    halves: __m256i,
    mantissas: [u32; GROUPS],
}

impl Keys {
    /// Computes the keys of scales of at most four bits, 2^-120 or larger.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn new(scales: __m256) -> Self {
        let bits = _mm256_castps_si256(scales);
        let upper = _mm256_sub_epi32(bits, _mm256_set1_epi32(1 << 23));
        let mantissas = _mm256_and_si256(_mm256_srli_epi32::<20>(bits), _mm256_set1_epi32(7));
        Self {
            halves: _mm256_or_si256(upper, _mm256_srli_epi32::<16>(upper)),
            mantissas: bytemuck::cast::<__m256i, [u32; GROUPS]>(mantissas),
        }
    }

    /// Encodes 32 elements. The first sixteen belong to one group and the others to the next, or with `WIDE` to the
    /// same. With `DOWN`, ties go towards zero, and zero has no sign.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn encode<const DOWN: bool, const WIDE: bool>(&self, src: &[u8], pair: usize, out: &mut [u8]) {
        let all = if DOWN { &DOWNWARDS } else { &TO_EVEN };
        let both = |first: [u8; 16], second: [u8; 16]| {
            _mm256_set_m128i(bytemuck::cast::<_, __m128i>(second), bytemuck::cast::<_, __m128i>(first))
        };
        let (below, point) = if WIDE {
            // All scales are powers of two, so one table serves them.
            let spread = |run: [u8; 16]| _mm256_broadcastsi128_si256(bytemuck::cast::<_, __m128i>(run));
            (spread(all[0].below), spread(all[0].point))
        } else {
            let runs = |i: usize| &all[self.mantissas[i] as usize % 8];
            let (first, second) = (runs(2 * pair), runs(2 * pair + 1));
            (both(first.below, second.below), both(first.point, second.point))
        };
        let lanes = if WIDE { ONE_SCALE[pair % 8] } else { TWO_SCALES[pair % 4] };
        let half = _mm256_permutevar8x32_epi32(self.halves, bytemuck::cast::<_, __m256i>(lanes));
        let quarter = _mm256_sub_epi16(half, _mm256_set1_epi16(1 << 7));

        // Each half of a vector holds elements of one group, so packing leaves the codes in order.
        let low = _mm256_set_m128i(load_half(&src[32..]), load_half(src));
        let high = _mm256_set_m128i(load_half(&src[48..]), load_half(&src[16..]));
        let below_sign = _mm256_set1_epi16(i16::MAX);
        let magnitudes = [_mm256_and_si256(low, below_sign), _mm256_and_si256(high, below_sign)];
        let distances = magnitudes.map(|magnitude| _mm256_subs_epu16(magnitude, half));
        let run = distances.map(|distance| _mm256_srli_epi16::<5>(distance));
        // The last two runs hold no point, so elements beyond them may count to the last run.
        let run = _mm256_min_epu8(_mm256_packus_epi16(run[0], run[1]), _mm256_set1_epi8(15));
        let place = distances.map(|distance| _mm256_and_si256(distance, _mm256_set1_epi16(31)));
        let place = _mm256_packus_epi16(place[0], place[1]);
        // A true comparison is −1.
        let beyond = _mm256_cmpgt_epi8(place, _mm256_shuffle_epi8(point, run));
        let some = magnitudes.map(|magnitude| _mm256_cmpgt_epi16(magnitude, quarter));
        let some = _mm256_packs_epi16(some[0], some[1]);
        let codes = _mm256_sub_epi8(_mm256_sub_epi8(_mm256_shuffle_epi8(below, run), beyond), some);
        // Saturation keeps the sign bit of a word. The bits below it do not matter.
        let signs = _mm256_srli_epi16::<4>(_mm256_packs_epi16(low, high));
        let signs = _mm256_and_si256(signs, _mm256_set1_epi8(8));
        let signs =
            if DOWN { _mm256_andnot_si256(_mm256_cmpeq_epi8(codes, _mm256_setzero_si256()), signs) } else { signs };
        let bytes = _mm256_maddubs_epi16(_mm256_or_si256(codes, signs), _mm256_set1_epi16(1 | 1 << 12));
        let packed = _mm_packus_epi16(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        write::<16, _>(packed, out);
    }
}

/// Lanes that hold the scales of the elements of a pair: of one group, and of two groups.
static ONE_SCALE: [[u32; 8]; 8] = lanes(1);
static TWO_SCALES: [[u32; 8]; 4] = lanes(2);

const fn lanes<const N: usize>(scales: usize) -> [[u32; 8]; N] {
    let mut lanes = [[0; 8]; N];
    let mut i = 0;
    while i < 8 * N {
        let second = if i % 8 < 4 { 0 } else { scales - 1 };
        #[expect(clippy::cast_possible_truncation, reason = "a lane is below 8")]
        let lane = (scales * (i / 8) + second) as u32;
        lanes[i / 8][i % 8] = lane;
        i += 1;
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portable::e2m1;

    /// Computes the code of one element as the vectors do.
    fn code(runs: &Runs, weight: u16, scale: f32) -> u8 {
        let half = u16::try_from((scale / 2.0).to_bits() >> 16).expect("sixteen bits");
        let distance = weight.saturating_sub(half);
        let run = usize::from(distance / 32).min(15);
        let beyond = distance % 32 > u16::from(runs.point[run]);
        runs.below[run] + u8::from(beyond) + u8::from(weight > half - (1 << 7))
    }

    #[test]
    fn every_weight_under_every_mantissa_has_the_nearest_code() {
        for (mantissa, (to_even, down)) in (0u8..).zip(TO_EVEN.iter().zip(&DOWNWARDS)) {
            for exponent in [-9i8, 0, 8] {
                let scale = (1.0 + f32::from(mantissa) / 8.0) * 2f32.powi(exponent.into());
                for bits in 0..=u16::try_from((scale * 1000.0).to_bits() >> 16).expect("sixteen bits") {
                    let quotient = f32::from_bits(u32::from(bits) << 16) / scale;
                    assert_eq!(code(to_even, bits, scale), e2m1::nearest_even(quotient), "{quotient} of {scale}");
                    assert_eq!(code(down, bits, scale), e2m1::first_nearest(quotient), "{quotient} of {scale}");
                }
            }
        }
    }
}
