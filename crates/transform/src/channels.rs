//! Factors of input channels: columns of a weight are multiplied by them, and what makes its inputs is divided by them.
//!
//! The product stays the same, (W · diag(s)) · (x / s) = W · x, and a column whose inputs are large is rounded more finely beside
//! its neighbours. Source of the method: Lin et al., "AWQ: Activation-aware Weight Quantization", 2023.

/// Largest factor, and the inverse of the least: a channel that was not seen at work is not lost.
const LARGEST: f64 = 16.0;

/// Returns the factor of each channel by the mean square of its inputs, E\[x²\]: its root to `power`, over the geometric mean of all
/// channels, from 1/16 to 16. A channel without inputs gets 1, and so does one whose mean square is not finite; all do for a power of
/// 0. A power is a number from 0 to 1. `[channels]`
///
/// ```
/// use longshore_transform::channels;
///
/// assert_eq!(channels::factors(&[16.0, 1.0, 0.0, 1.0 / 16.0], 0.5), [2.0, 1.0, 1.0, 0.5]);
/// ```
#[must_use]
pub fn factors(squares: &[f32], power: f64) -> Vec<f32> {
    let logarithm = |square: &f32| (*square > 0.0 && square.is_finite()).then(|| f64::from(*square).ln() * power / 2.0);
    let (mut sum, mut count) = (0.0, 0.0);
    for logarithm in squares.iter().filter_map(logarithm) {
        sum += logarithm;
        count += 1.0;
    }
    let mean = if count > 0.0 { sum / count } else { 0.0 };
    let factor = |square| logarithm(square).map_or(1.0, |logarithm| (logarithm - mean).exp());
    #[expect(clippy::cast_possible_truncation, reason = "factors are F32")]
    let narrow = |factor: f64| factor.clamp(1.0 / LARGEST, LARGEST) as f32;
    squares.iter().map(|square| narrow(factor(square))).collect()
}

/// Returns the mean over the rows of `values`, `[rows, columns]`. `[columns]`
///
/// # Panics
///
/// Panics if `columns` is 0 or `values` has no whole rows.
#[must_use]
pub fn mean(values: &[f32], columns: usize) -> Vec<f32> {
    assert!(columns > 0 && values.len().is_multiple_of(columns), "whole rows are expected");
    let mut sums = vec![0.0_f64; columns];
    for row in values.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
    let rows = (values.len() / columns).max(1) as f64;
    #[expect(clippy::cast_possible_truncation, reason = "means are F32")]
    sums.into_iter().map(|sum| (sum / rows) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_follow_the_root_of_the_mean_square() {
        let squares = [4.0, 1.0, 0.25, 1.0];
        let found = factors(&squares, 1.0);
        for (found, expected) in found.iter().zip([2.0, 1.0, 0.5, 1.0]) {
            assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
        }
        assert_eq!(factors(&squares, 0.0), [1.0; 4]);
        // A unit of the inputs makes no difference.
        let scaled = factors(&squares.map(|square| square * 1e6), 1.0);
        assert!(scaled.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn factors_are_bounded_and_finite() {
        let found = factors(&[f32::MAX, f32::MIN_POSITIVE, 0.0, 1.0], 1.0);
        assert_eq!(found[..3], [16.0, 1.0 / 16.0, 1.0]);
        assert!(found.iter().all(|factor| factor.is_finite()));
        assert_eq!(factors(&[f32::INFINITY, 4.0, f32::NAN, 1.0], 1.0)[..3], [1.0, 2.0_f32.sqrt(), 1.0]);
        assert_eq!(factors(&[0.0; 3], 1.0), [1.0; 3]);
        assert_eq!(factors(&[], 1.0), [0.0; 0]);
    }

    #[test]
    fn means_are_of_columns() {
        assert_eq!(mean(&[1.0, 2.0, 3.0, 6.0], 2), [2.0, 4.0]);
        assert_eq!(mean(&[], 2), [0.0, 0.0]);
    }
}
