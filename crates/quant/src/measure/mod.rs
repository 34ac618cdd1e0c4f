//! Measures the difference between a tensor and its restored copy.

mod sum;

use std::{iter::Sum, ops::AddAssign};

use crate::{FloatType, Scheme, level::Level, portable};
use sum::ExactSum;

/// The error of a restored tensor, or of a piece of it.
///
/// The measures of pieces add up to that of the whole tensor exactly, in any order. Pieces may have any size and be
/// measured on any thread, as long as all but the last are a multiple of 16 elements. Whole groups are.
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
    zeroed_groups: u64,
    max_abs: f64,
    squared_error: ExactSum,
    squared_original: ExactSum,
}

/// Error from comparing tensors of different lengths.
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
    /// The tensors are not whole groups.
    #[error("expected whole groups of {group} elements, found {found} elements")]
    PartialGroup {
        /// Elements per group.
        group: usize,
        /// Elements of each tensor.
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

/// Elements that are summed as floats, always in the same order. Every group size is a multiple of it.
pub(crate) const UNIT: usize = 16;
/// Elements that are widened to `f32` at once. Every group size divides it.
const CHUNK: usize = 256;

/// Contribution of one unit to a measure.
pub(crate) struct Unit {
    pub(crate) max_abs: f64,
    pub(crate) squared_error: f64,
    pub(crate) squared_original: f64,
}

impl Unit {
    /// Adds a unit up in four parallel sums, whose order is the same at every level. All numbers must be finite.
    #[inline]
    fn new(original: &[f32; UNIT], restored: &[f32; UNIT]) -> Self {
        const LANES: usize = 4;
        let (mut error, mut signal, mut largest) = ([0.0f64; LANES], [0.0f64; LANES], [0.0f64; LANES]);
        for (original, restored) in original.as_chunks::<LANES>().0.iter().zip(restored.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                let (original, restored) = (f64::from(original[lane]), f64::from(restored[lane]));
                let difference = (original - restored).abs();
                largest[lane] = if difference > largest[lane] { difference } else { largest[lane] };
                error[lane] += difference * difference;
                signal[lane] += original * original;
            }
        }
        let total = |lanes: [f64; LANES]| (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
        Self {
            max_abs: largest.into_iter().fold(0.0, f64::max),
            squared_error: total(error),
            squared_original: total(signal),
        }
    }
}

/// Largest bits of `values` without the sign: zero where all are zero, and [`INFINITE`] or more where not all are
/// finite.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
fn largest_bits(values: &[f32; UNIT]) -> u32 {
    // The maximum is taken of signed numbers, because more processors have an instruction for that.
    values.iter().fold(0, |largest: i32, value| largest.max(value.abs().to_bits().cast_signed())).cast_unsigned()
}

/// Bits of infinity. The bits of NaN are larger.
const INFINITE: u32 = f32::INFINITY.to_bits();

impl ErrorMeasure {
    /// Compares two tensors of little-endian elements, each of its own type. The buffers need no alignment, and nothing
    /// is allocated.
    ///
    /// # Errors
    ///
    /// [`MeasureError::PartialElement`] where a tensor is not whole elements, [`MeasureError::Elements`] where the
    /// numbers of elements differ.
    pub fn between(
        original_type: FloatType,
        original: &[u8],
        restored_type: FloatType,
        restored: &[u8],
    ) -> Result<Self, MeasureError> {
        Self::compare(Level::detect(), [original_type, restored_type], [original, restored], None)
    }

    /// Compares two tensors like [`between`](Self::between), and also counts the groups of `scheme` that were lost
    /// altogether. The tensors must be whole groups.
    ///
    /// # Errors
    ///
    /// The errors of `between`, and [`MeasureError::PartialGroup`] where the tensors are not whole groups.
    pub fn between_groups(
        scheme: Scheme,
        original_type: FloatType,
        original: &[u8],
        restored_type: FloatType,
        restored: &[u8],
    ) -> Result<Self, MeasureError> {
        Self::compare(
            Level::detect(),
            [original_type, restored_type],
            [original, restored],
            Some(scheme.group_elements()),
        )
    }

    fn compare(
        level: Level,
        types: [FloatType; 2],
        tensors: [&[u8]; 2],
        group: Option<usize>,
    ) -> Result<Self, MeasureError> {
        let (expected, found) = (elements(types[0], tensors[0])?, elements(types[1], tensors[1])?);
        if expected != found {
            return Err(MeasureError::Elements { expected, found });
        }
        if let Some(group) = group.filter(|group| !expected.is_multiple_of(*group)) {
            return Err(MeasureError::PartialGroup { group, found: expected });
        }
        let mut measure = Self { elements: expected as u64, ..Self::default() };
        let (mut a, mut b) = ([0.0; CHUNK], [0.0; CHUNK]);
        let originals = tensors[0].chunks(CHUNK * types[0].size());
        for (original, restored) in originals.zip(tensors[1].chunks(CHUNK * types[1].size())) {
            let count = original.len() / types[0].size();
            let padded = count.next_multiple_of(UNIT);
            a[count..padded].fill(0.0);
            b[count..padded].fill(0.0);
            portable::read(types[0], original, &mut a[..count]);
            portable::read(types[1], restored, &mut b[..count]);
            measure.add_at(level, [&a[..padded], &b[..padded]], group.unwrap_or(padded));
        }
        if group.is_none() {
            measure.zeroed_groups = 0;
        }
        Ok(measure)
    }

    fn add_at(&mut self, level: Level, numbers: [&[f32]; 2], group: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = level.avx2() {
            return avx2.measure(self, numbers, group);
        }
        let _ = level;
        self.add(numbers, group, Unit::new);
    }

    /// Adds groups of `group` elements, made of whole units. `unit` computes the contribution of a finite unit. Always
    /// inlined, so that it is compiled with the instructions of its caller.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "each level compiles its own")]
    pub(crate) fn add(
        &mut self,
        [original, restored]: [&[f32]; 2],
        group: usize,
        unit: impl Fn(&[f32; UNIT], &[f32; UNIT]) -> Unit,
    ) {
        for (original, restored) in original.chunks_exact(group).zip(restored.chunks_exact(group)) {
            let (mut of_original, mut of_restored) = (0, 0);
            for (original, restored) in original.as_chunks::<UNIT>().0.iter().zip(restored.as_chunks::<UNIT>().0) {
                let largest = [largest_bits(original), largest_bits(restored)];
                let found = if largest[0].max(largest[1]) < INFINITE {
                    unit(original, restored)
                } else {
                    let usable = |i: usize| original[i].is_finite() && restored[i].is_finite();
                    self.non_finite += (0..UNIT).map(|i| u64::from(!usable(i))).sum::<u64>();
                    let without =
                        |values: &[f32; UNIT]| std::array::from_fn(|i| if usable(i) { values[i] } else { 0.0 });
                    unit(&without(original), &without(restored))
                };
                self.max_abs = self.max_abs.max(found.max_abs);
                self.squared_error.add(found.squared_error);
                self.squared_original.add(found.squared_original);
                (of_original, of_restored) = (of_original.max(largest[0]), of_restored.max(largest[1]));
            }
            self.zeroed_groups += u64::from((1..INFINITE).contains(&of_original) && of_restored == 0);
        }
    }

    /// Number of compared elements.
    #[must_use]
    pub const fn elements(&self) -> u64 {
        self.elements
    }

    /// Number of elements that were NaN or infinite in either tensor. No other figure includes them.
    #[must_use]
    pub const fn non_finite(&self) -> u64 {
        self.non_finite
    }

    /// Number of groups of finite numbers, not all zero, that were restored as zeros only. Only
    /// [`between_groups`](Self::between_groups) counts them.
    #[must_use]
    pub const fn zeroed_groups(&self) -> u64 {
        self.zeroed_groups
    }

    /// Largest absolute error, in the unit of the elements.
    #[must_use]
    pub const fn max_abs(&self) -> f64 {
        self.max_abs
    }

    /// Relative root-mean-square error: the square root of the sum of squared errors over the sum of squared originals.
    /// 0.01 is one percent. `None` where the original is all zero.
    #[must_use]
    pub fn relative_rmse(&self) -> Option<f64> {
        let original = self.squared_original.value();
        (original > 0.0).then(|| (self.squared_error.value() / original).sqrt())
    }

    /// Signal-to-quantization-noise ratio in decibels: infinite where nothing is lost, `None` where the original is all
    /// zero.
    #[must_use]
    pub fn sqnr_db(&self) -> Option<f64> {
        let original = self.squared_original.value();
        (original > 0.0).then(|| 10.0 * (original / self.squared_error.value()).log10())
    }
}

impl AddAssign for ErrorMeasure {
    fn add_assign(&mut self, other: Self) {
        self.elements += other.elements;
        self.non_finite += other.non_finite;
        self.zeroed_groups += other.zeroed_groups;
        self.max_abs = self.max_abs.max(other.max_abs);
        self.squared_error.merge(&other.squared_error);
        self.squared_original.merge(&other.squared_original);
    }
}

impl Sum for ErrorMeasure {
    fn sum<I: Iterator<Item = Self>>(pieces: I) -> Self {
        pieces.fold(Self::default(), |mut total, piece| {
            total += piece;
            total
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_agree() {
        let mut state = 1u32;
        let mut bytes = || -> Vec<u8> {
            (0..16 * 100)
                .flat_map(|_| {
                    state = state.wrapping_mul(0x0019_660D).wrapping_add(0x3C6E_F35F);
                    state.to_le_bytes()
                })
                .collect()
        };
        let (original, restored) = (bytes(), bytes());
        for float in FloatType::ALL {
            let of = |level| ErrorMeasure::compare(level, [float; 2], [&original, &restored], Some(16));
            let expected = of(Level::PORTABLE).expect("they are whole groups");
            assert!(expected.non_finite() > 0);
            for level in Level::available() {
                assert_eq!(of(level), Ok(expected), "{float} at {}", level.name());
            }
        }
    }
}
