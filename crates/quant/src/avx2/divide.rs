//! Divides many numbers by one divisor.
//!
//! With `y` = 1 / `d`, correctly rounded, and exact remainders from fused operations:
//!
//! ```text
//! q = a × y
//! a / d ≈ q + (a − q × d) × y
//! ```
//!
//! These are three operations that start every half cycle. A division starts every five or eight cycles.
//!
//! Error bound: with each e at most 2^-24, `y` is (1 + e1) / d and `q` is a × y × (1 + e2), so `q` is a / d times 1 + e
//! with |e| below 2^-22.99. The remainder a × −e is exact, or rounded once more by 1 + e3. The last operation therefore
//! rounds a / d × (1 + e × (e1 + e3 + e1 × e3)), which is within 2^-45.9 of a / d. The result is the correctly rounded
//! quotient unless a half-way point between two floats lies within 2^-45.9 of a / d.
//!
//! Distance of half-way points: let the divisor have p bits. Write a = A × 2^i with A below 2^24, d = D × 2^k with D
//! below 2^p, and the half-way point h = H × 2^j with H odd and of 25 bits. Near each other, a and h × d are both
//! multiples of 2^(j + k), and they are never equal, since H × D has an odd factor above 2^24. They therefore differ by
//! at least 2^(j + k), which is 2^-(25 + p) of h × d. For p up to 20 that is more than 2^-45.9, so the result is the
//! correctly rounded quotient. This covers all scales that are stored as E4M3 (p = 4), BF16 (8) or F16 (11). The
//! [`tests`] try every dividend with every E4M3 scale.
//!
//! For a divisor of 24 bits the result may be a neighbour of the rounded quotient. The kernels only need to know on
//! which side of a half or of an integer such a quotient lies. The half-way points beside these numbers are few, and
//! the tests try every quotient that comes that near to one of them.

use std::arch::x86_64::{__m256, _mm256_div_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps, _mm256_mul_ps, _mm256_set1_ps};

/// A divisor with its reciprocal.
#[derive(Clone, Copy)]
pub(super) struct Divisor {
    divisor: __m256,
    reciprocal: __m256,
}

/// Returns the reciprocals of eight divisors. The reciprocal of each divisor must be a finite, normal number.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn reciprocals(divisors: __m256) -> __m256 {
    _mm256_div_ps(_mm256_set1_ps(1.0), divisors)
}

impl Divisor {
    /// Broadcasts one divisor, with its reciprocal from [`reciprocals`], to all lanes.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn new(divisor: f32, reciprocal: f32) -> Self {
        Self { divisor: _mm256_set1_ps(divisor), reciprocal: _mm256_set1_ps(reciprocal) }
    }

    /// Divides `dividend` by the divisor.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn divide(self, dividend: __m256) -> __m256 {
        let quotient = _mm256_mul_ps(dividend, self.reciprocal);
        let remainder = _mm256_fnmadd_ps(quotient, self.divisor, dividend);
        _mm256_fmadd_ps(remainder, self.reciprocal, quotient)
    }

    /// Multiplies `value` by the reciprocal.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn multiply(self, value: __m256) -> __m256 {
        _mm256_mul_ps(value, self.reciprocal)
    }
}

#[cfg(test)]
mod tests {
    /// Computes the quotient as a lane of the vector does.
    fn divide(dividend: f32, divisor: f32) -> f32 {
        let reciprocal = 1.0 / divisor;
        let quotient = dividend * reciprocal;
        (-quotient).mul_add(divisor, dividend).mul_add(reciprocal, quotient)
    }

    /// Multiplying the dividend or the divisor by a power of two changes nothing, so one binade of dividends and odd
    /// divisors suffice.
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

    /// The divisors of BF16 scales, with every seventeenth dividend.
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

    /// Inverse of an odd number modulo 2^32.
    fn inverse(odd: u32) -> u32 {
        (0..5).fold(odd, |x, _| x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x))))
    }

    /// Half-way points have 25 bits, so divisor × point − dividend is an integer number of units of 2^-25 of the
    /// dividend's last bit. The divisors with a difference of `n` units are those congruent to `n` / point modulo 2^25
    /// or 2^24.
    #[test]
    fn nothing_near_a_half_way_point_that_matters_is_rounded_otherwise() {
        let mut tried = 0;
        for half in 1u32..=511 {
            // The float `half` / 2 as 24 bits. The half-way points beside it are 2 × `float` ± 1, or ± 1/2 below a
            // power of two.
            let exponent = half.ilog2();
            let float = half << (23 - exponent);
            let mut points = vec![(u64::from(float) * 2 + 1, 0), (u64::from(float) * 2 - 1, 0)];
            if half.is_power_of_two() {
                points[1] = (u64::from(float) * 4 - 1, 1);
            }
            for (point, scale) in points {
                for n in -64i64..=64 {
                    // The congruence divisor × point ≡ n modulo 2^24 covers both positions of the dividend's leading
                    // bit.
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
