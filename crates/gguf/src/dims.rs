use std::{fmt, iter::FusedIterator};

use crate::GgmlType;

/// The most dimensions that ggml knows.
pub(crate) const MAX_RANK: usize = 4;

/// The extents of a tensor: at most four, with a number of elements below 2^63. No extents are a scalar of one element.
///
/// ggml counts extents from the innermost one, and that is how a file has them; [`Self::shape`] is the same in row-major order,
/// outermost first, as everybody else writes it.
///
/// ```
/// use longshore_gguf::{Dims, GgmlType};
///
/// let dims = Dims::from_shape(&[2, 64])?; // two rows of 64
/// assert_eq!(dims.as_slice(), [64, 2]);
/// assert_eq!(dims.shape().collect::<Vec<_>>(), [2, 64]);
/// assert_eq!(dims.byte_len(GgmlType::Q8_0), Ok(2 * 2 * 34));
/// # Ok::<(), longshore_gguf::DimsError>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Dims {
    rank: u8,
    /// Those beyond the rank are 0, so that equal dims are equal arrays.
    extents: [u64; MAX_RANK],
}

impl Dims {
    /// Dims of these extents, in ggml's order: innermost first.
    ///
    /// # Errors
    ///
    /// [`DimsError::Rank`], [`DimsError::Extent`], [`DimsError::Elements`].
    pub fn new(extents: &[u64]) -> Result<Self, DimsError> {
        Self::collect(extents.iter().copied())
    }

    /// Dims of a shape in row-major order: outermost first.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::new`].
    pub fn from_shape(shape: &[u64]) -> Result<Self, DimsError> {
        Self::collect(shape.iter().rev().copied())
    }

    /// The extents in ggml's order: innermost first.
    #[must_use]
    pub fn as_slice(&self) -> &[u64] {
        &self.extents[..self.rank()]
    }

    /// The extents in row-major order: outermost first.
    #[must_use]
    pub fn shape(&self) -> impl ExactSizeIterator<Item = u64> + DoubleEndedIterator + FusedIterator + Clone {
        self.as_slice().iter().rev().copied()
    }

    /// The number of dimensions; 0 for a scalar.
    #[must_use]
    pub fn rank(&self) -> usize {
        usize::from(self.rank)
    }

    /// The number of elements: 0 where an extent is 0, else below 2^63.
    #[must_use]
    pub fn elements(&self) -> u64 {
        // An extent of 0 may stand beside others whose product does not fit.
        if self.as_slice().contains(&0) { 0 } else { self.as_slice().iter().product() }
    }

    /// The number of elements in a row: the innermost extent, 1 for a scalar.
    #[must_use]
    pub fn row_len(&self) -> u64 {
        self.as_slice().first().copied().unwrap_or(1)
    }

    /// The length in bytes of a tensor of this type.
    ///
    /// # Errors
    ///
    /// [`DimsError::PartialBlock`] where blocks do not fill a row, [`DimsError::Bytes`] where the length passes [`u64::MAX`].
    pub fn byte_len(&self, ggml_type: GgmlType) -> Result<u64, DimsError> {
        let row_len = self.row_len();
        if !row_len.is_multiple_of(ggml_type.block_size()) {
            return Err(DimsError::PartialBlock { ggml_type, row_len });
        }
        ggml_type.row_bytes(self.elements()).ok_or(DimsError::Bytes { ggml_type, dims: *self })
    }

    fn collect(extents: impl ExactSizeIterator<Item = u64> + Clone) -> Result<Self, DimsError> {
        let rank = check_rank(extents.len() as u64)?;
        let mut dims = Self { rank, ..Self::default() };
        for ((index, slot), extent) in dims.extents.iter_mut().enumerate().zip(extents.clone()) {
            if i64::try_from(extent).is_err() {
                return Err(DimsError::Extent { index, found: extent });
            }
            *slot = extent;
        }
        let product = dims.as_slice().iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
        let empty = dims.as_slice().contains(&0);
        if !empty && product.is_none_or(|elements| elements >= i64::MAX as u64) {
            return Err(DimsError::Elements { extents: extents.collect() });
        }
        Ok(dims)
    }
}

/// The rank as the type that holds it.
pub(crate) fn check_rank(found: u64) -> Result<u8, DimsError> {
    u8::try_from(found).ok().filter(|&rank| usize::from(rank) <= MAX_RANK).ok_or(DimsError::Rank { found })
}

impl fmt::Display for Dims {
    /// In ggml's order, as the file has them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_slice(), f)
    }
}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_slice(), f)
    }
}

/// Why extents are not a tensor's, or have no length in bytes with a type. Extents are in ggml's order: innermost first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DimsError {
    /// More than four dimensions.
    #[error("{found} dimensions: expected at most {MAX_RANK}")]
    Rank {
        /// The number of dimensions.
        found: u64,
    },
    /// An extent that ggml, which counts in `i64`, cannot hold.
    #[error("dimension {index}, counted from 0, has {found} elements: expected at most 2^63 - 1")]
    Extent {
        /// Its number, counted from 0.
        index: usize,
        /// The extent as found.
        found: u64,
    },
    /// Too many elements.
    #[error("{extents:?} is 2^63 - 1 elements or more")]
    Elements {
        /// The extents.
        extents: Box<[u64]>,
    },
    /// Blocks do not fill a row.
    #[error("a row has {row_len} elements: expected a multiple of {}, the block of {ggml_type}", ggml_type.block_size())]
    PartialBlock {
        /// The type.
        ggml_type: GgmlType,
        /// Elements of a row.
        row_len: u64,
    },
    /// The number of bytes does not fit.
    #[error("{ggml_type} × {dims} passes 2^64 bytes")]
    Bytes {
        /// The type.
        ggml_type: GgmlType,
        /// The extents.
        dims: Dims,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_fit_or_are_refused() {
        assert_eq!(Dims::new(&[]).map(|dims| (dims.rank(), dims.elements(), dims.row_len())), Ok((0, 1, 1)));
        let most = i64::MAX as u64;
        assert_eq!(Dims::new(&[most - 1]).map(|dims| dims.elements()), Ok(most - 1));
        assert_eq!(Dims::new(&[most]), Err(DimsError::Elements { extents: [most].into() }));
        assert_eq!(Dims::new(&[1, 1 << 63]), Err(DimsError::Extent { index: 1, found: 1 << 63 }));
        assert!(matches!(Dims::new(&[1 << 32, 1 << 31]), Err(DimsError::Elements { .. })));
        assert!(matches!(Dims::new(&[1 << 32, 1 << 32]), Err(DimsError::Elements { .. })));
        assert_eq!(Dims::new(&[1; 5]), Err(DimsError::Rank { found: 5 }));
        // An empty tensor has no elements whatever its other extents are, in any order.
        for extents in [[0, most, most], [most, most, 0], [most, 0, most]] {
            assert_eq!(Dims::new(&extents).map(|dims| dims.elements()), Ok(0));
        }
    }

    #[test]
    fn blocks_fill_rows() {
        let dims = |extents: &[u64]| Dims::new(extents).expect("small");
        assert_eq!(dims(&[64, 3]).byte_len(GgmlType::Q4_0), Ok(3 * 2 * 18));
        let partial = Err(DimsError::PartialBlock { ggml_type: GgmlType::Q4_0, row_len: 16 });
        assert_eq!(dims(&[16, 2]).byte_len(GgmlType::Q4_0), partial, "a block does not cross a row");
        assert_eq!(dims(&[16, 0]).byte_len(GgmlType::Q4_0), partial);
        assert_eq!(dims(&[]).byte_len(GgmlType::F32), Ok(4));
        assert!(matches!(dims(&[]).byte_len(GgmlType::Q8_0), Err(DimsError::PartialBlock { row_len: 1, .. })));
        assert_eq!(dims(&[0, 7]).byte_len(GgmlType::Q6K), Ok(0));
        assert_eq!(dims(&[1 << 60]).byte_len(GgmlType::F64), Ok(1 << 63));
        let huge = dims(&[1 << 61]);
        assert_eq!(huge.byte_len(GgmlType::F64), Err(DimsError::Bytes { ggml_type: GgmlType::F64, dims: huge }));
    }
}
