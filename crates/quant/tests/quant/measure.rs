//! Error measures.

use longshore_quant::{ErrorMeasure, FloatType, MeasureError};

use crate::support::bytes;

fn between(original: &[f32], restored: &[f32]) -> ErrorMeasure {
    let (original, restored) = (bytes(FloatType::F32, original), bytes(FloatType::F32, restored));
    ErrorMeasure::between(FloatType::F32, &original, FloatType::F32, &restored).expect("they are of one length")
}

#[test]
fn figures_of_known_errors() {
    // More elements than one pass takes.
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
    // Squares that no f32 holds.
    assert_eq!(between(&[1e30], &[0.0]).relative_rmse(), Some(1.0));
}

#[test]
fn pieces_add_up() {
    let (original, restored) = ([1.0, 2.0, 3.0, 4.0], [1.0, 2.5, 2.0, 4.0]);
    let mut pieces = between(&original[..1], &restored[..1]);
    pieces += between(&original[1..], &restored[1..]);
    assert_eq!(pieces, between(&original, &restored));
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
