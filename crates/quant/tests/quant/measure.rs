//! Tests of error measures.

use longshore_quant::{ErrorMeasure, FloatType, MeasureError, Scheme};
use proptest::prelude::*;

use crate::support::bytes;

fn between(original: &[f32], restored: &[f32]) -> ErrorMeasure {
    let (original, restored) = (bytes(FloatType::F32, original), bytes(FloatType::F32, restored));
    ErrorMeasure::between(FloatType::F32, &original, FloatType::F32, &restored).expect("they are of one length")
}

#[test]
fn figures_of_known_errors() {
    // More elements than are widened at once.
    let (original, restored) = (vec![2.0; 1000], vec![1.875; 1000]);
    let measure = between(&original, &restored);
    assert_eq!((measure.elements(), measure.non_finite()), (1000, 0));
    assert_eq!((measure.max_abs(), measure.relative_rmse()), (0.125, Some(0.0625)));
    let db = measure.sqnr_db().expect("the original is not zero");
    assert!((db - 24.082_399_653).abs() < 1e-9, "{db}");
}

#[test]
fn extremes() {
    let same = between(&[1.0, -2.0], &[1.0, -2.0]);
    assert_eq!((same.relative_rmse(), same.sqnr_db()), (Some(0.0), Some(f64::INFINITY)));
    let zero = between(&[0.0; 4], &[0.0; 4]);
    assert_eq!((zero.relative_rmse(), zero.sqnr_db(), zero.max_abs()), (None, None, 0.0));
    let none = between(&[], &[]);
    assert_eq!((none.elements(), none.relative_rmse()), (0, None));
    let odd = between(&[f32::NAN, 1.0, 4.0], &[0.0, f32::INFINITY, 3.0]);
    assert_eq!((odd.elements(), odd.non_finite(), odd.max_abs(), odd.relative_rmse()), (3, 2, 1.0, Some(0.25)));
    // The squares do not fit in an f32.
    assert_eq!(between(&[1e30], &[0.0]).relative_rmse(), Some(1.0));
}

proptest! {
    /// The measures of pieces add up to the last digit, in any order, for arbitrary numbers.
    #[test]
    fn pieces_add_up(
        bits in prop::collection::vec(any::<[u32; 2]>(), 1..700),
        cuts in prop::collection::vec(0usize..44, 0..5),
        backwards in any::<bool>(),
    ) {
        let (original, restored): (Vec<f32>, Vec<f32>) =
            bits.iter().map(|[a, b]| (f32::from_bits(*a), f32::from_bits(*b))).unzip();
        let mut ends: Vec<usize> = cuts.into_iter().map(|cut| (cut * 16).min(bits.len())).collect();
        ends.sort_unstable();
        ends.push(bits.len());
        let mut start = 0;
        let mut pieces = Vec::new();
        for end in ends {
            pieces.push(between(&original[start..end], &restored[start..end]));
            start = end;
        }
        if backwards {
            pieces.reverse();
        }
        let whole = between(&original, &restored);
        prop_assert_eq!(pieces.into_iter().sum::<ErrorMeasure>(), whole);
        prop_assert_eq!(whole, slowly(&original, &restored, whole));
    }
}

/// Checks the figures against the plain definition.
fn slowly(original: &[f32], restored: &[f32], measure: ErrorMeasure) -> ErrorMeasure {
    let pairs: Vec<(f64, f64)> = original
        .iter()
        .zip(restored)
        .filter(|(a, b)| a.is_finite() && b.is_finite())
        .map(|(a, b)| (f64::from(*a), f64::from(*b)))
        .collect();
    let sum = |term: fn(&(f64, f64)) -> f64| pairs.iter().map(term).sum::<f64>();
    let (error, signal) = (sum(|(a, b)| (a - b).powi(2)), sum(|(a, _)| a.powi(2)));
    assert_eq!(measure.non_finite() + pairs.len() as u64, measure.elements());
    let most = pairs.iter().fold(0.0, |most: f64, (a, b)| most.max((a - b).abs()));
    assert_eq!(measure.max_abs().to_bits(), most.to_bits());
    if let Some(found) = measure.relative_rmse() {
        let expected = (error / signal).sqrt();
        assert!((found - expected).abs() <= 1e-9 * expected, "{found:e}, expected {expected:e}");
    }
    measure
}

#[test]
fn lost_groups_are_counted() {
    let scheme = Scheme::NVFP4;
    let mut original = vec![0.0; 16 * 6];
    let mut restored = vec![0.0; 16 * 6];
    // Six groups: lost; zero in the original; kept in part; not finite; zero but restored to something; lost but for a
    // sign.
    (original[3], original[16 * 2], original[16 * 2 + 1]) = (1e-9, 2.0, 1e-3);
    restored[16 * 2] = 2.0;
    (original[16 * 3], original[16 * 3 + 1]) = (f32::NAN, 1.0);
    restored[16 * 4] = 1.0;
    (original[16 * 5 + 15], restored[16 * 5 + 15]) = (-1e-9, -0.0);
    let (original, restored) = (bytes(FloatType::F32, &original), bytes(FloatType::F32, &restored));
    let of = |scheme, original: &[u8], restored: &[u8]| {
        ErrorMeasure::between_groups(scheme, FloatType::F32, original, FloatType::F32, restored)
    };
    let whole = of(scheme, &original, &restored).expect("they are whole groups");
    assert_eq!((whole.zeroed_groups(), whole.non_finite(), whole.elements()), (2, 1, 96));
    // In groups of 32, the first two are one group, and so are the last two.
    let wide = of(Scheme::MXFP4, &original, &restored).expect("they are whole groups");
    assert_eq!(wide.zeroed_groups(), 1);
    let error = of(Scheme::INT4, &original, &restored).expect_err("they are one and a half");
    assert_eq!(error.to_string(), "expected whole groups of 64 elements, found 96 elements");
    let plain =
        ErrorMeasure::between(FloatType::F32, &original, FloatType::F32, &restored).expect("they are of one length");
    assert_eq!(plain.zeroed_groups(), 0);
}

#[test]
fn types_may_differ_but_not_lengths() {
    let between = |original: &[u8], restored: &[u8]| {
        ErrorMeasure::between(FloatType::BF16, original, FloatType::F32, restored).map(|measure| measure.max_abs())
    };
    assert_eq!(between(&bytes(FloatType::BF16, &[0.5]), &bytes(FloatType::F32, &[0.25])), Ok(0.25));
    assert_eq!(between(&[0; 4], &[0; 4]), Err(MeasureError::Elements { expected: 2, found: 1 }));
    let error = between(&[0; 2], &[0; 5]).expect_err("that is one element and a quarter");
    assert_eq!(error, MeasureError::PartialElement { float: FloatType::F32, found: 5 });
    assert_eq!(error.to_string(), "expected whole elements of F32, found 5 bytes");
}
