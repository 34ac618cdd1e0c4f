//! How far a tensor is from what it was.

use std::ops::AddAssign;

use crate::{FloatType, portable};

/// The error of a restored tensor, or of a piece of it. Measures of pieces add up to that of the whole, but for the
/// rounding of sums: add them in the same order to get the same digits.
///
/// ```
/// use longshore_quant::{ErrorMeasure, FloatType};
///
/// let original: Vec<u8> = [3.0f32, -4.0].iter().flat_map(|w| w.to_le_bytes()).collect();
/// let restored: Vec<u8> = [3.0f32, -4.5].iter().flat_map(|w| w.to_le_bytes()).collect();
/// let measure = ErrorMeasure::between(FloatType::F32, &original, FloatType::F32, &restored)?;
/// assert_eq!(measure.max_abs(), 0.5);
/// assert_eq!(measure.relative_rmse(), Some(0.1)); // |0.5| to |(3, -4)|
/// assert_eq!(measure.sqnr_db(), Some(20.0));
/// # Ok::<(), longshore_quant::MeasureError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorMeasure {
    elements: u64,
    non_finite: u64,
    max_abs: f64,
    squared_error: f64,
    squared_original: f64,
}

/// Tensors that cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// A tensor is not a whole number of elements.
    #[error("expected whole elements of {float}, found {found} bytes")]
    PartialElement {
        /// The element type.
        float: FloatType,
        /// The length in bytes.
        found: usize,
    },
    /// The tensors have different numbers of elements.
    #[error("expected {expected} elements in the restored tensor, as in the original, found {found}")]
    Elements {
        /// Elements of the original.
        expected: usize,
        /// Elements of the restored tensor.
        found: usize,
    },
}

fn elements(float: FloatType, bytes: &[u8]) -> Result<usize, MeasureError> {
    if bytes.len().is_multiple_of(float.size()) {
        Ok(bytes.len() / float.size())
    } else {
        Err(MeasureError::PartialElement { float, found: bytes.len() })
    }
}

impl ErrorMeasure {
    /// Compares two tensors of little-endian elements, each of its own type, without regard to alignment. Allocates
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`MeasureError::PartialElement`] where either is not whole elements, [`MeasureError::Elements`] where they differ in
    /// number.
    pub fn between(
        original_type: FloatType,
        original: &[u8],
        restored_type: FloatType,
        restored: &[u8],
    ) -> Result<Self, MeasureError> {
        const CHUNK: usize = 256;
        let (expected, found) = (elements(original_type, original)?, elements(restored_type, restored)?);
        if expected != found {
            return Err(MeasureError::Elements { expected, found });
        }
        let mut measure = Self::default();
        let (mut a, mut b) = ([0.0; CHUNK], [0.0; CHUNK]);
        let originals = original.chunks(CHUNK * original_type.size());
        for (original, restored) in originals.zip(restored.chunks(CHUNK * restored_type.size())) {
            let count = original.len() / original_type.size();
            portable::read(original_type, original, &mut a[..count]);
            portable::read(restored_type, restored, &mut b[..count]);
            measure.add(&a[..count], &b[..count]);
        }
        Ok(measure)
    }

    fn add(&mut self, original: &[f32], restored: &[f32]) {
        for (original, restored) in original.iter().zip(restored) {
            self.elements += 1;
            if !original.is_finite() || !restored.is_finite() {
                self.non_finite += 1;
                continue;
            }
            let (original, restored) = (f64::from(*original), f64::from(*restored));
            let error = (original - restored).abs();
            self.max_abs = self.max_abs.max(error);
            self.squared_error += error * error;
            self.squared_original += original * original;
        }
    }

    /// How many elements were compared.
    #[must_use]
    pub const fn elements(&self) -> u64 {
        self.elements
    }

    /// How many of them were NaN or infinite on either side; no other figure includes them.
    #[must_use]
    pub const fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// The largest absolute error, in the unit of the elements.
    #[must_use]
    pub const fn max_abs(&self) -> f64 {
        self.max_abs
    }

    /// The root of the squared errors' sum over that of the squared originals' sum: 0.01 is one percent. `None` where
    /// the original is all zero.
    #[must_use]
    pub fn relative_rmse(&self) -> Option<f64> {
        (self.squared_original > 0.0).then(|| (self.squared_error / self.squared_original).sqrt())
    }

    /// The signal-to-quantization-noise ratio in decibels: infinite where nothing is lost, `None` where the original is
    /// all zero.
    #[must_use]
    pub fn sqnr_db(&self) -> Option<f64> {
        (self.squared_original > 0.0).then(|| 10.0 * (self.squared_original / self.squared_error).log10())
    }
}

impl AddAssign for ErrorMeasure {
    fn add_assign(&mut self, other: Self) {
        self.elements += other.elements;
        self.non_finite += other.non_finite;
        self.max_abs = self.max_abs.max(other.max_abs);
        self.squared_error += other.squared_error;
        self.squared_original += other.squared_original;
    }
}
