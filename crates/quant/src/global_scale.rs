//! nvfp4's scale for a whole tensor.

use crate::{
    FloatType,
    portable::element::{Element as _, F16},
};

/// The most that a group can reach without a global scale: the largest E2M1 value times the largest E4M3 value.
const REACH: f32 = 6.0 * 448.0;

/// A second, F32 scale for all of an nvfp4 tensor, which brings its group scales into the range of E4M3.
///
/// It multiplies: value = code × (scale × [`multiplier`](Self::multiplier)). MLX's argument of that name is 2,688 times
/// larger, the magnitude that the tensor's largest weight may have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GlobalScale {
    max_abs: f32,
}

/// A number that cannot be a global scale.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "expected a global scale that is positive, finite and neither too small nor too large to divide by, found {found}"
)]
#[non_exhaustive]
pub struct InvalidGlobalScale {
    /// The number.
    pub found: f32,
}

impl GlobalScale {
    /// The global scale that changes nothing: it multiplies by one.
    pub const ONE: Self = Self { max_abs: REACH };

    /// The global scale under which a weight of magnitude `max_abs` is the largest that can be encoded. This is MLX's
    /// `global_scale` argument.
    ///
    /// # Errors
    ///
    /// [`InvalidGlobalScale`] unless `max_abs` is positive and finite, and so are its quotients with 2,688.
    pub fn from_max_abs(max_abs: f32) -> Result<Self, InvalidGlobalScale> {
        let scale = Self { max_abs };
        let usable = |value: f32| value > 0.0 && value.is_finite();
        if usable(max_abs) && usable(scale.multiplier()) && usable(scale.encoding_factor()) {
            Ok(scale)
        } else {
            Err(InvalidGlobalScale { found: max_abs })
        }
    }

    /// What a decoded value is multiplied by; the number to store beside the tensor.
    #[must_use]
    pub fn multiplier(self) -> f32 {
        self.max_abs / REACH
    }

    /// What to pass to MLX as `global_scale`.
    #[must_use]
    pub const fn max_abs(self) -> f32 {
        self.max_abs
    }

    /// What an encoder multiplies group scales by, as MLX rounds it.
    pub(crate) fn encoding_factor(self) -> f32 {
        REACH / self.max_abs
    }
}

/// The largest magnitude among the finite elements of `src`, little-endian elements of type `float`; 0 where there are none.
/// Bytes beyond the last whole element are not looked at.
///
/// A tensor may be cut anywhere: the largest of its pieces' answers is that of the whole, for
/// [`GlobalScale::from_max_abs`].
#[must_use]
pub fn largest_magnitude(float: FloatType, src: &[u8]) -> f32 {
    // Magnitudes of floats of one type are ordered like the integers of their bits.
    let halves = |infinity: u16| {
        let bits = src.chunks_exact(2).map(|half| u16::from_le_bytes([half[0], half[1]]) & 0x7FFF);
        bits.filter(|bits| *bits < infinity).max().unwrap_or_default()
    };
    match float {
        FloatType::F32 => {
            let bits = src.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            let bits = bits.map(|bits| bits & 0x7FFF_FFFF).filter(|bits| *bits < 0x7F80_0000);
            f32::from_bits(bits.max().unwrap_or_default())
        }
        FloatType::BF16 => f32::from_bits(u32::from(halves(0x7F80)) << 16),
        FloatType::F16 => {
            let mut value = [0.0];
            F16::read(&halves(0x7C00).to_le_bytes(), &mut value);
            value[0]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_what_is_finite() {
        let of = |float, elements: &[&[u8]]| largest_magnitude(float, &elements.concat());
        let f32s = [1.5f32, -2.5, f32::NAN, f32::INFINITY].map(f32::to_le_bytes);
        assert_eq!(of(FloatType::F32, &[&f32s.concat()]).to_bits(), 2.5f32.to_bits());
        assert_eq!(of(FloatType::BF16, &[&[0x80, 0xBF], &[0x00, 0x40], &[0x80, 0x7F], &[9]]).to_bits(), 2f32.to_bits());
        assert_eq!(of(FloatType::F16, &[&[0xFF, 0xFB], &[0x00, 0x3C], &[0x00, 0x7C]]).to_bits(), 65504f32.to_bits());
        assert_eq!(of(FloatType::F16, &[]).to_bits(), 0);
    }

    #[test]
    fn one_changes_nothing() {
        assert_eq!(GlobalScale::from_max_abs(GlobalScale::ONE.max_abs()), Ok(GlobalScale::ONE));
        assert_eq!(GlobalScale::ONE.multiplier().to_bits(), 1f32.to_bits());
    }
}
