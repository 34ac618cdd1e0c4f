//! Conversion of the codes of a matrix to integers.

use crate::{Format, Scheme, ggml::GgmlType, matmul::weights::Stored};

/// Codes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::matmul) enum Codes {
    /// Integers of 4 bits, two to a byte.
    Nibbles,
    /// E2M1, two to a byte. The integer is twice the value, plus [`E2M1_OFFSET`].
    E2m1,
    /// Integers of 2, 3, 5 or 6 bits, in one bit stream.
    Packed(u8),
    /// Integers of 8 bits.
    Bytes,
    /// Blocks of ggml, which hold codes and scales. The integers are the codes without a sign.
    Blocks(GgmlType),
}

/// The integers of E2M1 are not negative.
pub(in crate::matmul) const E2M1_OFFSET: i32 = 12;

/// The integer of each E2M1 code.
pub(in crate::matmul) const E2M1_INTEGERS: [u8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];

impl Codes {
    /// Whether a row of weights is multiplied by one row of the input without being expanded first.
    pub(in crate::matmul) const fn is_read_as_stored(self) -> bool {
        !matches!(self, Self::Packed(_) | Self::Blocks(_))
    }

    /// Whether two codes lie in a byte, which the order of an input row follows.
    pub(in crate::matmul) const fn are_nibbles(self) -> bool {
        matches!(self, Self::Nibbles | Self::E2m1)
    }

    /// Offset of the integers above the values.
    pub(in crate::matmul) const fn offset(self) -> i32 {
        match self {
            Self::E2m1 => E2M1_OFFSET,
            Self::Blocks(GgmlType::Q4_0) => 8,
            Self::Blocks(GgmlType::Q5_0) => 16,
            Self::Blocks(GgmlType::Q6K) => 32,
            Self::Blocks(GgmlType::Q8_0) => 128,
            _ => 0,
        }
    }

    /// Whether an input needs more than 8 bits, so that it does not cost more accuracy than the weights do.
    pub(in crate::matmul) const fn is_wide(self) -> bool {
        matches!(self, Self::Bytes | Self::Blocks(GgmlType::Q8_0))
    }

    /// Whether a number is added to all weights of a group.
    pub(in crate::matmul) const fn have_biases(self) -> bool {
        match self {
            Self::Nibbles | Self::Packed(_) | Self::Bytes => true,
            Self::E2m1 => false,
            Self::Blocks(ggml_type) => {
                matches!(ggml_type, GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q4K | GgmlType::Q5K)
            }
        }
    }
}

/// Codes and the elements of a group. Weights of one form take the same input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::matmul) struct Form {
    pub(in crate::matmul) group: usize,
    pub(in crate::matmul) codes: Codes,
}

impl Form {
    /// The form of weights, or `None` where values are not integers of few bits.
    pub(in crate::matmul) fn of(stored: Stored<'_>) -> Option<Self> {
        match stored {
            Stored::Encoded(encoded) => Self::of_scheme(encoded.scheme),
            Stored::Blocks { ggml_type, .. } => Self::of_blocks(ggml_type),
            Stored::Plain { .. } => None,
        }
    }

    fn of_scheme(scheme: Scheme) -> Option<Self> {
        let codes = match scheme.format() {
            Format::Affine { bits: 4 } => Codes::Nibbles,
            Format::Affine { bits: 8 } => Codes::Bytes,
            Format::Affine { bits } => Codes::Packed(bits),
            Format::Nvfp4 | Format::Mxfp4 => Codes::E2m1,
            Format::Mxfp8 => return None,
        };
        Some(Self { group: scheme.group_elements(), codes })
    }

    fn of_blocks(ggml_type: GgmlType) -> Option<Self> {
        use GgmlType::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
        let group = match ggml_type {
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q4K | Q5K => 32,
            Q6K => 16,
            _ => return None,
        };
        Some(Self { group, codes: Codes::Blocks(ggml_type) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portable::e2m1;

    #[test]
    fn integers_of_e2m1_are_twice_the_values() {
        for (code, integer) in (0u8..).zip(E2M1_INTEGERS) {
            let expected = 2.0 * e2m1::decode(code) + 12.0;
            assert_eq!(f32::from(integer).to_bits(), expected.to_bits());
        }
        assert_eq!(E2M1_OFFSET, 12);
    }
}
