use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Dtype;

/// Extents of a tensor, outermost first. `[]` is a scalar of one element.
///
/// ```
/// use longshore_st_format::{Dtype, Shape};
///
/// let shape = Shape::new([2, 3]);
/// assert_eq!(shape.elements(), Some(6));
/// assert_eq!(shape.byte_len(Dtype::BF16), Ok(12));
/// assert_eq!(shape.to_string(), "[2, 3]");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(Box<[u64]>);

impl Shape {
    /// Creates a shape from its extents, outermost first.
    #[must_use]
    pub fn new(dims: impl Into<Box<[u64]>>) -> Self {
        Self(dims.into())
    }

    /// The extents, outermost first.
    #[must_use]
    pub fn dims(&self) -> &[u64] {
        &self.0
    }

    /// Number of dimensions; 0 for a scalar.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements: the product of the extents, 1 for a scalar. `None` where the product, taken from the left,
    /// passes [`u64::MAX`], even if a later extent is 0.
    #[must_use]
    pub fn elements(&self) -> Option<u64> {
        self.0.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim))
    }

    /// Length in bytes of a tensor of this shape with elements of `dtype`, packed.
    ///
    /// # Errors
    ///
    /// [`ShapeError::Overflow`] where the number of bits passes [`u64::MAX`]; [`ShapeError::PartialByte`] where
    /// elements narrower than a byte do not fill the last byte.
    pub fn byte_len(&self, dtype: Dtype) -> Result<u64, ShapeError> {
        let bits = self
            .elements()
            .and_then(|elements| elements.checked_mul(u64::from(dtype.bits())))
            .ok_or_else(|| ShapeError::Overflow { dtype, shape: self.clone() })?;
        if bits % 8 != 0 {
            return Err(ShapeError::PartialByte { dtype, shape: self.clone(), bits });
        }
        Ok(bits / 8)
    }
}

impl From<Vec<u64>> for Shape {
    fn from(dims: Vec<u64>) -> Self {
        Self(dims.into())
    }
}

impl From<&[u64]> for Shape {
    fn from(dims: &[u64]) -> Self {
        Self(dims.into())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, dim) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{dim}")?;
        }
        f.write_str("]")
    }
}

/// Error from computing the length in bytes of a dtype and a shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// The number of bits does not fit in 64 bits.
    #[error("{dtype} × {shape} passes 2^64 bits")]
    Overflow {
        /// The element type.
        dtype: Dtype,
        /// The extents.
        shape: Shape,
    },
    /// Elements narrower than a byte do not fill the last byte.
    #[error("{dtype} × {shape} is {bits} bits: expected whole bytes")]
    PartialByte {
        /// The element type.
        dtype: Dtype,
        /// The extents.
        shape: Shape,
        /// The number of bits.
        bits: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_overflow_from_the_left() {
        assert_eq!(Shape::new([]).elements(), Some(1));
        assert_eq!(Shape::new([0, u64::MAX, u64::MAX]).elements(), Some(0));
        assert_eq!(Shape::new([1 << 63, 2, 0]).elements(), None);
        assert_eq!(Shape::new([u64::MAX]).elements(), Some(u64::MAX));
        assert!(matches!(Shape::new([1 << 61]).byte_len(Dtype::U8), Err(ShapeError::Overflow { .. })));
        assert_eq!(Shape::new([(1 << 61) - 1]).byte_len(Dtype::U8), Ok((1 << 61) - 1));
    }

    #[test]
    fn packed_elements_fill_whole_bytes() {
        assert_eq!(Shape::new([2, 3]).byte_len(Dtype::F4), Ok(3));
        assert_eq!(Shape::new([4]).byte_len(Dtype::F6E3M2), Ok(3));
        assert_eq!(
            Shape::new([3]).byte_len(Dtype::F4),
            Err(ShapeError::PartialByte { dtype: Dtype::F4, shape: Shape::new([3]), bits: 12 })
        );
    }
}
