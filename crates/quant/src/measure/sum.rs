//! Sums of floats that do not depend on the order of the summands.
//!
//! A sum is a wide fixed-point number, because adding integers rounds nothing. Pieces may therefore be measured on any
//! thread and merged in any order. The number is wide enough for squares of `f32`: from 2^-298, the square of the
//! smallest, to 2^256.

/// Exponent of the lowest bit. Smaller bits of a summand are dropped; the square of the smallest `f32` keeps 22 bits.
const LOWEST: i32 = -320;
/// 64-bit words of a sum. They reach up to 2^320, which leaves room for 2^60 of the largest summands.
const LIMBS: usize = 10;

/// A sum of non-negative numbers below 2^261.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ExactSum([u64; LIMBS]);

impl ExactSum {
    /// Adds a finite number.
    #[inline]
    pub(super) fn add(&mut self, number: f64) {
        let bits = number.to_bits();
        let (exponent, fraction) = ((bits >> 52) & 0x7FF, bits & ((1 << 52) - 1));
        // Subnormal numbers lie far below the lowest bit and count as zero.
        let mantissa = if exponent == 0 { 0 } else { fraction | 1 << 52 };
        let place = i32::try_from(exponent).expect("eleven bits") - 1075 - LOWEST;
        let (mantissa, place) = match u32::try_from(place) {
            Ok(place) => (mantissa, place),
            Err(_) => (mantissa.checked_shr(place.unsigned_abs()).unwrap_or(0), 0),
        };
        let wide = u128::from(mantissa) << (place % 64);
        let half = |wide: u128| u64::try_from(wide & u128::from(u64::MAX)).expect("64 bits");
        let (limb, low, high) = (place as usize / 64, half(wide), half(wide >> 64));
        let (sum, carry) = self.0[limb].overflowing_add(low);
        self.0[limb] = sum;
        self.carry(limb + 1, high + u64::from(carry));
    }

    /// Adds `carry` to the limb `from`, and propagates the overflow to the limbs above.
    #[inline]
    fn carry(&mut self, from: usize, mut carry: u64) {
        for limb in &mut self.0[from..] {
            if carry == 0 {
                return;
            }
            let (sum, over) = limb.overflowing_add(carry);
            (*limb, carry) = (sum, u64::from(over));
        }
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: &Self) {
        let mut carry = false;
        for (limb, other) in self.0.iter_mut().zip(other.0) {
            let (sum, over) = limb.overflowing_add(other);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, over || over_again);
        }
    }

    /// Converts the sum to `f64`, rounded in the last digits.
    pub(super) fn value(&self) -> f64 {
        let mut value = 0.0;
        let mut unit = 2f64.powi(LOWEST);
        for limb in self.0 {
            #[expect(clippy::cast_precision_loss, reason = "rounding is what is wanted")]
            let limb = limb as f64;
            value += limb * unit;
            unit *= 2f64.powi(64);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_in_any_order() {
        let numbers = [1e60, 1.0, 2f64.powi(-298), 3.75e-20, 1e60, 0.0, 1.0 - f64::EPSILON];
        let (mut forth, mut back) = (ExactSum::default(), ExactSum::default());
        for (number, opposite) in numbers.iter().zip(numbers.iter().rev()) {
            forth.add(*number);
            back.add(*opposite);
        }
        assert_eq!(forth, back);
        assert_eq!(forth.value().to_bits(), 2e60f64.to_bits());
        for (i, number) in numbers.iter().enumerate() {
            let mut alone = ExactSum::default();
            alone.add(*number);
            assert!((alone.value() - number).abs() <= number * f64::EPSILON, "{number:e}, {:e}", alone.value());
            let mut pieces = [ExactSum::default(); 2];
            for (j, number) in numbers.iter().enumerate() {
                pieces[usize::from(j < i)].add(*number);
            }
            let [mut merged, other] = pieces;
            merged.merge(&other);
            assert_eq!(merged, forth);
        }
    }

    #[test]
    fn carries_go_all_the_way() {
        let mut sum = ExactSum::default();
        sum.add(2f64.powi(200));
        let before = sum;
        // Adds a number with the 512 lowest bits set, then the lowest bit once more, which carries through all of them.
        for place in (0..512).step_by(32) {
            sum.add(f64::from(u32::MAX) * 2f64.powi(LOWEST + place));
        }
        sum.add(2f64.powi(LOWEST));
        let mut expected = before;
        expected.add(2f64.powi(LOWEST + 512));
        assert_eq!(sum, expected);
        // Numbers below the lowest bit add nothing.
        sum.add(2f64.powi(LOWEST - 1));
        sum.add(2f64.powi(-1060));
        assert_eq!(sum, expected);
    }
}
