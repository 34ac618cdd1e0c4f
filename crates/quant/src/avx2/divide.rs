//! Division by a number that divides many others.
//!
//! With `y` = 1 / `d`, correctly rounded, and exact remainders from fused operations:
//!
//! ```text
//! q = a × y
//! a / d ≈ q + (a − q × d) × y
//! ```
//!
//! Three operations that start every half cycle, where a division starts every five or eight.
//!
//! How far off that is: with each e at most 2^-24, `y` is (1 + e1) / d and `q` is a × y × (1 + e2), so that `q` is a / d times
//! 1 + e with |e| below 2^-22.99. The remainder a × −e is exact or rounded once more, by 1 + e3. So what the last operation
//! rounds is a / d × (1 + e × (e1 + e3 + e1 × e3)), which is within 2^-45.9 of a / d, and the result is the rounded quotient unless a point
//! half-way between two floats lies within 2^-45.9 of a / d.
//!
//! How near that can be: let the divisor have p bits, and write a = A × 2^i with A below 2^24, d = D × 2^k with D below 2^p, and the
//! half-way point h = H × 2^j with H odd and of 25 bits. Near each other, a and h × d are both multiples of 2^(j + k), and
//! they are never equal, since H × D has an odd factor above 2^24. So they differ by 2^(j + k) at least, which is 2^-(25 + p) of
//! h × d. For p up to 20 that is more than 2^-45.9, and the quotient is the rounded one: so for all scales that are
//! stored as E4M3 (p = 4), BF16 (8) or F16 (11). The [`tests`] try every dividend with every
//! E4M3 scale.
//!
//! For a divisor of 24 bits it may be the neighbour. There, what is asked of the quotient is on which side of a half or of a
//! whole it lies, and the half-way points beside those are so few that the tests try every quotient that comes that near to
//! one.

use std::arch::x86_64::{__m256, _mm256_div_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_mul_ps, _mm256_set1_ps};

/// A divisor with its reciprocal.
#[derive(Clone, Copy)]
pub(super) struct Divisor {
    divisor: __m256,
    reciprocal: __m256,
}

/// The reciprocals of eight divisors, each neither so large nor so small that its own is subnormal or infinite.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn reciprocals(divisors: __m256) -> __m256 {
    _mm256_div_ps(_mm256_set1_ps(1.0), divisors)
}

impl Divisor {
    /// One divisor, and what [`reciprocals`] gave for it, for all lanes.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn new(divisor: f32, reciprocal: f32) -> Self {
        Self { divisor: _mm256_set1_ps(divisor), reciprocal: _mm256_set1_ps(reciprocal) }
    }

    /// `dividend` / divisor.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn divide(self, dividend: __m256) -> __m256 {
        let quotient = _mm256_mul_ps(dividend, self.reciprocal);
        let remainder = _mm256_fnmadd_ps(quotient, self.divisor, dividend);
        _mm256_fmadd_ps(remainder, self.reciprocal, quotient)
    }

    /// `value` × reciprocal.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn multiply(self, value: __m256) -> __m256 {
        _mm256_mul_ps(value, self.reciprocal)
    }
}

#[cfg(test)]
mod tests {
    /// The quotient as the vector computes it.
    fn divide(dividend: f32, divisor: f32) -> f32 {
        let reciprocal = 1.0 / divisor;
        let quotient = dividend * reciprocal;
        (-quotient).mul_add(divisor, dividend).mul_add(reciprocal, quotient)
    }

    /// Powers of two change nothing on either side.
    #[test]
    fn quotients_by_divisors_of_four_bits_are_the_rounded_ones() {
        for divisor in (9u8..16).map(f32::from) {
            for dividend in (0x80_0000u32..0x100_0000).map(|mantissa| f32::from_bits(mantissa + (126 << 23))) {
                assert_eq!(
                    divide(dividend, divisor).to_bits(),
                    (dividend / divisor).to_bits(),
                    "{dividend} / {divisor}"
                );
            }
        }
    }

    /// The scales stored as BF16; of the dividends every seventeenth.
    #[test]
    fn so_are_those_by_divisors_of_eight_bits() {
        for divisor in (1u8..=255).step_by(2).map(f32::from) {
            for dividend in
                (0x80_0000u32..0x100_0000).step_by(17).map(|mantissa| f32::from_bits(mantissa + (126 << 23)))
            {
                assert_eq!(
                    divide(dividend, divisor).to_bits(),
                    (dividend / divisor).to_bits(),
                    "{dividend} / {divisor}"
                );
            }
        }
    }

    /// The inverse of an odd number modulo 2^32.
    fn inverse(odd: u32) -> u32 {
        (0..5).fold(odd, |x, _| x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x))))
    }

    /// Half-way points have 25 bits, so divisor × point − dividend is a whole number of units 2^25 below the dividend's
    /// last bit, and the divisors for which it is `n` units are those congruent to `n` / point modulo 2^25 or 2^24.
    #[test]
    fn nothing_near_a_half_way_point_that_matters_is_rounded_otherwise() {
        let mut tried = 0;
        for half in 1u32..=511 {
            // The float `half` / 2 as 24 bits; beside it lie the points 2 × this ± 1, or below a power of two ± 1/2.
            let exponent = half.ilog2();
            let float = half << (23 - exponent);
            let mut points = vec![(u64::from(float) * 2 + 1, 0), (u64::from(float) * 2 - 1, 0)];
            if half.is_power_of_two() {
                points[1] = (u64::from(float) * 4 - 1, 1);
            }
            for (point, scale) in points {
                for n in -64i64..=64 {
                    // divisor × point ≡ n modulo 2^24 covers both positions of the dividend's leading bit.
                    let point_low = u32::try_from(point & 0x1FF_FFFF).expect("25 bits");
                    let residue = u32::try_from(n.rem_euclid(1 << 32)).expect("32 bits");
                    let base = inverse(point_low).wrapping_mul(residue) & 0xFF_FFFF;
                    for divisor in [base, base | 0x80_0000] {
                        if divisor < 0x80_0000 {
                            continue;
                        }
                        let product = u64::from(divisor) * point;
                        for shift in [24u32, 25, 26] {
                            let dividend = (product + (1 << (shift - 1))) >> shift;
                            if !(0x80_0000..=0xFF_FFFF).contains(&dividend) {
                                continue;
                            }
                            #[expect(clippy::cast_precision_loss, reason = "24 bits fit")]
                            let (dividend, divisor) = (dividend as f32, divisor as f32);
                            tried += 1;
                            for (a, d) in [(dividend, divisor), (-dividend, divisor), (dividend, -divisor)] {
                                assert_eq!(
                                    divide(a, d).to_bits(),
                                    (a / d).to_bits(),
                                    "{a:e} / {d:e}, {scale} {n} units from {point}"
                                );
                            }
                        }
                    }
                }
            }
        }
        assert!(tried > 50_000, "only {tried} were tried");
    }
}
