//! Comparison of the values that two tensors stand for.

use longshore_st_format::Shape;

use super::{Tensor, Values, WeightsError};

/// Values that are compared at a time: whole groups of every coding.
const CHUNK: u64 = 64 << 10;

/// The difference of two tensors.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Difference {
    /// In their shapes.
    Shapes {
        /// Shape of the first.
        a: Shape,
        /// Shape of the second.
        b: Shape,
    },
    /// In some of their values.
    Values {
        /// The largest difference of two values. Infinite where only one of two is a number, or infinite.
        largest: f32,
        /// The largest magnitude of a value of the first, of those that are finite.
        max_a: f32,
    },
}

/// Compares the values of two tensors in F32, whatever their types and codings. Returns `None` if they are equal: zeros of
/// both signs are, and values that are no numbers.
///
/// # Errors
///
/// [`WeightsError::Decode`] for values that cannot be decoded: see [`Tensor::values`].
pub fn difference(a: &Tensor<'_>, b: &Tensor<'_>) -> Result<Option<Difference>, WeightsError> {
    if a.shape() != b.shape() {
        return Ok(Some(Difference::Shapes { a: a.shape().clone(), b: b.shape().clone() }));
    }
    let (mut a, mut b): (Values<'_>, Values<'_>) = (a.values()?, b.values()?);
    let chunk = usize::try_from(CHUNK.min(a.len())).expect("a chunk is small");
    let (mut ours, mut theirs) = (vec![0.0; chunk], vec![0.0; chunk]);
    let (mut largest, mut max_a, mut at) = (0.0_f32, 0.0_f32, 0);
    while at < a.len() {
        let len = usize::try_from(CHUNK.min(a.len() - at)).expect("a chunk is small");
        let (ours, theirs) = (&mut ours[..len], &mut theirs[..len]);
        a.read(at, ours);
        b.read(at, theirs);
        for (ours, theirs) in ours.iter().zip(&*theirs) {
            largest = largest.max(distance(*ours, *theirs));
            max_a = if ours.is_finite() { max_a.max(ours.abs()) } else { max_a };
        }
        at += len as u64;
    }
    Ok((largest > 0.0).then_some(Difference::Values { largest, max_a }))
}

#[expect(clippy::float_cmp, reason = "equal values do not differ")]
fn distance(a: f32, b: f32) -> f32 {
    match () {
        () if a == b || a.is_nan() && b.is_nan() => 0.0,
        () if a.is_finite() && b.is_finite() => (a - b).abs(),
        () => f32::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            (1.0, 1.5, 0.5),
            (0.0, -0.0, 0.0),
            (f32::NAN, f32::NAN, 0.0),
            (f32::INFINITY, f32::INFINITY, 0.0),
            (f32::INFINITY, f32::NEG_INFINITY, f32::INFINITY),
            (f32::NAN, 1.0, f32::INFINITY),
            (f32::MAX, f32::MIN, f32::INFINITY),
            (1e-45, 0.0, 1e-45),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
