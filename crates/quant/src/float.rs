//! The float types that can be quantized.

use std::{fmt, str::FromStr};

use crate::portable;

/// Element type of a tensor before it is encoded or after it is decoded, and of an affine scheme's scales and biases.
/// Elements are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// Bfloat16: the upper half of a binary32.
    BF16,
}

impl FloatType {
    /// All float types, widest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// Bytes per element: 4 or 2.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The name in safetensors headers: `F32`, `F16` or `BF16`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }

    /// Computes the largest magnitude among little-endian elements of this type. NaN and infinite elements are skipped;
    /// the result is zero where no others remain. The value for a tensor in pieces is the largest of the pieces'
    /// values.
    ///
    /// Bytes at the end that do not make a whole element are ignored.
    #[must_use]
    pub fn max_abs(self, src: &[u8]) -> f32 {
        match self {
            Self::F32 => {
                let magnitudes = src.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes) & 0x7FFF_FFFF);
                f32::from_bits(largest(magnitudes, 0x7F80_0000))
            }
            Self::F16 => {
                let bits = largest(halves(src), 0x7C00);
                let mut value = [0.0];
                portable::read(self, &bits.to_le_bytes(), &mut value);
                value[0]
            }
            Self::BF16 => f32::from_bits(u32::from(largest(halves(src), 0x7F80)) << 16),
        }
    }
}

/// Iterates over the bits of 16-bit elements with the sign bit cleared.
fn halves(src: &[u8]) -> impl Iterator<Item = u16> {
    src.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes) & 0x7FFF)
}

/// Returns the largest of `magnitudes` below `infinite`, or zero. The bits of magnitudes have the order of the
/// magnitudes.
fn largest<B: Copy + Default + Ord>(magnitudes: impl Iterator<Item = B>, infinite: B) -> B {
    magnitudes.fold(B::default(), |largest, bits| largest.max(if bits < infinite { bits } else { B::default() }))
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Error from parsing a type name other than `F32`, `F16` and `BF16`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a float type (F32, F16 or BF16), found {found:?}")]
#[non_exhaustive]
pub struct UnknownFloatType {
    /// The name as found.
    pub found: String,
}

/// Parses the exact upper-case name that a safetensors header uses.
impl FromStr for FloatType {
    type Err = UnknownFloatType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|float| float.name() == name).ok_or_else(|| UnknownFloatType { found: name.into() })
    }
}
