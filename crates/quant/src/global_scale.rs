//! The scale of a whole nvfp4 tensor.

/// Largest magnitude that a group can hold without a global scale: the largest E2M1 value times the largest E4M3 value.
const REACH: f32 = 6.0 * 448.0;

/// A second, F32 scale for a whole nvfp4 tensor, which brings the group scales into the range of E4M3.
///
/// A decoded value is code × (scale × [`multiplier`](Self::multiplier)). MLX's `global_scale` argument is 2,688 times
/// larger: it is the largest magnitude that the tensor's weights may have.
///
/// A tensor that is read in pieces is read twice: once for its largest magnitude, once to be encoded. A tensor of zeros
/// needs no global scale, and none can be computed for it.
///
/// ```
/// use longshore_quant::{Decoder, EncodeBuffers, Encoder, FloatType, GlobalScale, Profile, Scheme};
///
/// // Weights that E4M3 scales alone would not reach down to.
/// let weights: Vec<u8> = (0..64u8).flat_map(|i| ((f32::from(i) * 0.37).sin() * 1e-5).to_le_bytes()).collect();
/// let pieces = || weights.chunks(128); // of a file, say
///
/// let max_abs = pieces().map(|piece| FloatType::F32.max_abs(piece)).fold(0.0, f32::max);
/// let global = GlobalScale::from_max_abs(max_abs)?;
/// let encoder = Encoder::new(Scheme::NVFP4, FloatType::F32, Profile::Best).with_global_scale(global);
/// let (mut weight, mut scale) = ([0; 32], [0; 4]);
/// for ((piece, weight), scale) in pieces().zip(weight.chunks_mut(16)).zip(scale.chunks_mut(2)) {
///     encoder.encode(piece, EncodeBuffers { weight, scale, bias: &mut [] })?;
/// }
///
/// let mut restored = [0; 256];
/// let decoder = Decoder::new(Scheme::NVFP4, FloatType::F32, FloatType::F32).with_global_scale(global.multiplier());
/// decoder.decode(&weight, &scale, &[], &mut restored)?;
/// assert!(FloatType::F32.max_abs(&restored) > 0.9e-5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GlobalScale {
    max_abs: f32,
}

/// Error from choosing a number that cannot be a global scale.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "expected a global scale that is positive, finite and neither too small nor too large to divide by, found {found}"
)]
#[non_exhaustive]
pub struct InvalidGlobalScale {
    /// The rejected number.
    pub found: f32,
}

impl GlobalScale {
    /// The global scale that changes nothing: its multiplier is one.
    pub const ONE: Self = Self { max_abs: REACH };

    /// Creates the global scale under which `max_abs` is the largest magnitude that can be encoded. Pass the tensor's
    /// [largest magnitude](crate::FloatType::max_abs). The number is MLX's `global_scale` argument.
    ///
    /// # Errors
    ///
    /// [`InvalidGlobalScale`] unless `max_abs`, `max_abs` / 2,688 and 2,688 / `max_abs` are positive and finite.
    pub fn from_max_abs(max_abs: f32) -> Result<Self, InvalidGlobalScale> {
        let scale = Self { max_abs };
        let usable = |value: f32| value > 0.0 && value.is_finite();
        if usable(max_abs) && usable(scale.multiplier()) && usable(scale.encoding_factor()) {
            Ok(scale)
        } else {
            Err(InvalidGlobalScale { found: max_abs })
        }
    }

    /// Factor that decoded values are multiplied by. Store this number beside the tensor.
    #[must_use]
    pub fn multiplier(self) -> f32 {
        self.max_abs / REACH
    }

    /// The number to pass to MLX as `global_scale`.
    #[must_use]
    pub const fn max_abs(self) -> f32 {
        self.max_abs
    }

    /// Factor that an encoder multiplies group scales by, rounded as MLX rounds it.
    pub(crate) fn encoding_factor(self) -> f32 {
        REACH / self.max_abs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changes_nothing() {
        assert_eq!(GlobalScale::from_max_abs(GlobalScale::ONE.max_abs()), Ok(GlobalScale::ONE));
        assert_eq!(GlobalScale::ONE.multiplier().to_bits(), 1f32.to_bits());
    }
}
