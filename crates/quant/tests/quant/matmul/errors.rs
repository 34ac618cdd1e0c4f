//! Lengths that do not fit, and numbers that are no numbers.
#![expect(clippy::float_cmp, reason = "the numbers are exact")]

use longshore_quant::{
    FloatType, Scheme, SchemeError,
    ggml::GgmlType,
    matmul::{ExpertRows, MatmulError, Multiplier, Precision, Weights},
};

use super::{FAST_TYPES, Matrix, blocks, multiply, reference};
use crate::support::{bytes, gaussian};

#[test]
fn weights_have_the_lengths_of_their_shape() {
    let (weight, scale) = ([0; 64], [0; 4]);
    let encoded = |shape, parts| Weights::encoded(Scheme::INT4, FloatType::BF16, shape, parts).expect_err("too long");
    assert_eq!(
        encoded([2, 64], [&weight, &scale, &scale[..2]]),
        MatmulError::PartLength { part: "bias", rows: 2, columns: 64, expected: 4, found: 2 }
    );
    assert_eq!(
        encoded([2, 64], [&weight[1..], &scale, &scale]).to_string(),
        "expected 64 bytes of weight for weights of 2 × 64, found 63"
    );
    assert!(matches!(
        encoded([1, 65], [&weight, &scale, &scale]),
        MatmulError::Scheme(SchemeError::LastDimension { group_size: 64, last: 65, .. })
    ));
    let huge = 1 << (usize::BITS - 2);
    assert_eq!(encoded([huge, huge], [&[]; 3]), MatmulError::TooLarge { rows: huge, columns: huge });
    assert_eq!(
        Weights::plain(FloatType::F32, [huge, 1], &[]).expect_err("too large"),
        MatmulError::TooLarge { rows: huge, columns: 1 }
    );
    assert_eq!(
        Weights::plain(FloatType::F16, [3, 5], &weight).expect_err("too long"),
        MatmulError::PartLength { part: "weight", rows: 3, columns: 5, expected: 30, found: 64 }
    );
    let blocks = |shape| Weights::blocks(GgmlType::Q4_0, shape, &weight).expect_err("it does not fit");
    assert_eq!(blocks([1, 48]), MatmulError::PartialBlock { ggml_type: GgmlType::Q4_0, block: 32, columns: 48 });
    assert_eq!(
        blocks([2, 64]),
        MatmulError::PartLength { part: "weight", rows: 2, columns: 64, expected: 72, found: 64 }
    );
}

#[test]
fn other_bytes_have_the_lengths_of_those_that_they_replace() {
    let matrix = Matrix::new(Scheme::INT4, FloatType::BF16, [3, 64], 1);
    let [weight, scale, bias] = matrix.weights().parts().map(<[u8]>::to_vec);
    let moved = matrix.weights().with_parts([&weight, &scale, &bias]).expect("they are as long");
    let x = gaussian(2, 64, 1.0);
    let product = |weights| {
        let mut y = [0.0; 3];
        Multiplier::new(Precision::Exact).multiply(weights, 1, &x, &mut y).expect("the lengths fit");
        y
    };
    assert_eq!(product(moved), product(matrix.weights()));
    assert_eq!(
        matrix.weights().with_parts([&weight, &scale, &[]]).expect_err("a part is short"),
        MatmulError::PartLength { part: "bias", rows: 3, columns: 64, expected: bias.len(), found: 0 }
    );
}

#[test]
fn inputs_and_outputs_have_the_lengths_of_the_product() {
    let matrix = Matrix::new(Scheme::INT4, FloatType::BF16, [3, 64], 1);
    let multiplier = Multiplier::new(Precision::Exact);
    let mut y = [7.0; 6];
    assert_eq!(
        multiplier.multiply(matrix.weights(), 2, &[0.0; 127], &mut y),
        Err(MatmulError::InputLength { rows: 2, columns: 64, expected: 128, found: 127 })
    );
    assert_eq!(
        multiplier.multiply(matrix.weights(), 2, &[0.0; 128], &mut y[..5]),
        Err(MatmulError::OutputLength { rows: 2, columns: 3, expected: 6, found: 5 })
    );
    assert_eq!(
        multiplier.multiply(matrix.weights(), usize::MAX, &[], &mut []),
        Err(MatmulError::TooLarge { rows: usize::MAX, columns: 64 })
    );
    assert_eq!(y, [7.0; 6]);
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "the range is at fault")]
fn indices_exist() {
    let matrix = Matrix::new(Scheme::INT8, FloatType::BF16, [6, 64], 1);
    let weights = matrix.weights();
    assert_eq!(weights.range(2..7).expect_err("too far"), MatmulError::Range { rows: 6, start: 2, end: 7 });
    assert!(weights.range(4..3).is_err());
    assert_eq!(weights.range(6..6).expect("it is empty").rows(), 0);
    let mut out = [7.0; 128];
    assert_eq!(
        weights.decode_rows(&[0, 6], &mut out),
        Err(MatmulError::Row { what: "the weights", rows: 6, found: 6 })
    );
    assert_eq!(
        weights.decode_rows(&[0], &mut out),
        Err(MatmulError::OutputLength { rows: 1, columns: 64, expected: 64, found: 128 })
    );
    let multiplier = Multiplier::new(Precision::Fast);
    let x = [1.0; 128];
    let mut experts = |experts, expert, rows: &[usize], len| {
        let picks = [ExpertRows { expert, rows }];
        multiplier.multiply_experts(weights, experts, (2, &x), &picks, &mut out[..len])
    };
    assert_eq!(experts(4, 0, &[0], 2), Err(MatmulError::Experts { rows: 6, experts: 4 }));
    assert_eq!(experts(0, 0, &[0], 2), Err(MatmulError::Experts { rows: 6, experts: 0 }));
    assert_eq!(experts(3, 3, &[0], 2), Err(MatmulError::Expert { experts: 3, found: 3 }));
    assert_eq!(experts(3, 1, &[2], 2), Err(MatmulError::Row { what: "the input", rows: 2, found: 2 }));
    assert_eq!(
        experts(3, 1, &[0, 1], 2),
        Err(MatmulError::OutputLength { rows: 2, columns: 2, expected: 4, found: 2 })
    );
    assert_eq!(experts(3, 1, &[0, 1], 4), Ok(()));
    assert_eq!(out[4..], [7.0; 124]);
}

#[test]
fn what_is_empty_is_zero_or_nothing() {
    for precision in [Precision::Exact, Precision::Fast] {
        let multiplier = Multiplier::new(precision);
        let mut y = [7.0; 6];
        let none = Weights::encoded(Scheme::INT4, FloatType::BF16, [3, 0], [&[]; 3]).expect("it is empty");
        multiplier.multiply(none, 2, &[], &mut y).expect("the lengths fit");
        assert_eq!(y, [0.0; 6]);
        none.decode_rows(&[1, 2], &mut []).expect("the lengths fit");
        y = [7.0; 6];
        let picks = [ExpertRows { expert: 1, rows: &[0, 0] }];
        multiplier.multiply_experts(none, 3, (1, &[]), &picks, &mut y[..2]).expect("the lengths fit");
        assert_eq!(y, [0.0, 0.0, 7.0, 7.0, 7.0, 7.0]);
        let none = Weights::encoded(Scheme::INT4, FloatType::BF16, [0, 64], [&[]; 3]).expect("it is empty");
        multiplier.multiply(none, 2, &[1.0; 128], &mut []).expect("the lengths fit");
        let matrix = Matrix::new(Scheme::INT4, FloatType::BF16, [3, 64], 1);
        multiplier.multiply(matrix.weights(), 0, &[], &mut []).expect("the lengths fit");
        multiplier.multiply_all(0, &[], &mut []).expect("there is nothing to do");
    }
}

#[test]
fn the_exact_path_gives_what_ieee_gives() {
    let matrix = Matrix::new(Scheme::INT4, FloatType::BF16, [9, 256], 1);
    let decoded = matrix.decoded();
    for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-40] {
        let mut x = gaussian(2, 3 * 256, 1.0);
        x[256 + 70] = special;
        let found = multiply(Precision::Exact, matrix.weights(), 3, &x);
        for (found, expected) in found.iter().zip(reference(&decoded, &x, 256)) {
            if expected.is_finite() {
                assert!((f64::from(*found) - expected).abs() <= 1e-5 * expected.abs().max(1.0));
            } else {
                assert!(expected.is_nan() && found.is_nan() || f64::from(*found) == expected);
            }
        }
    }
}

/// In every scheme, alone and in a block.
#[test]
fn the_fast_path_gives_nan_for_what_is_not_finite() {
    for scheme in Scheme::all() {
        let matrix = Matrix::new(scheme, FloatType::BF16, [3, 384], 1);
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for rows in [2, 16] {
                let mut x = gaussian(2, rows * 384, 1.0);
                x[384 + 300] = special;
                let found = multiply(Precision::Fast, matrix.weights(), rows, &x);
                for (row, y) in found.chunks_exact(3).enumerate() {
                    let right = |y: &f32| if row == 1 { !y.is_finite() } else { y.is_finite() };
                    assert!(y.iter().all(right), "{scheme}, row {row} of {rows}: {y:?}");
                    let exact = scheme == Scheme::MXFP8 && special.is_infinite();
                    assert!(row != 1 || exact || y.iter().all(|y| y.is_nan()), "{scheme}: {y:?}");
                }
            }
        }
    }
}

/// In blocks of every type, alone and in a block of rows.
#[test]
fn the_fast_path_gives_nan_for_blocks_with_what_is_not_finite() {
    for ggml_type in FAST_TYPES {
        let (stored, _) = blocks(ggml_type, [3, 512], 1);
        let weights = Weights::blocks(ggml_type, [3, 512], &stored).expect("the length fits");
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for rows in [2, 7, 16] {
                let mut x = gaussian(2, rows * 512, 1.0);
                x[512 + 300] = special;
                let found = multiply(Precision::Fast, weights, rows, &x);
                for (row, y) in found.chunks_exact(3).enumerate() {
                    assert!(y.iter().all(|y| y.is_nan() == (row == 1)), "{ggml_type}, row {row} of {rows}: {y:?}");
                }
            }
        }
    }
}

/// The F16 at the start of a block of `Q4_0`.
#[test]
fn scales_of_blocks_may_be_zero_or_subnormal_or_infinite() {
    let x = gaussian(3, 2 * 32, 1.0);
    for precision in [Precision::Exact, Precision::Fast] {
        let product = |scale: u16| {
            let block = [&scale.to_le_bytes()[..], &[0x71; 16]].concat();
            let weights = Weights::blocks(GgmlType::Q4_0, [1, 32], &block).expect("the length fits");
            multiply(precision, weights, 2, &x)
        };
        assert_eq!(product(0x0000), [0.0; 2]);
        assert!(product(0x0001).iter().all(|y| *y != 0.0 && y.abs() < 1e-4));
        assert!(product(0x7C00).iter().all(|y| !y.is_finite()));
        assert!(product(0x7E00).iter().all(|y| y.is_nan()));
    }
}

#[test]
fn scales_may_be_zero_or_subnormal_or_infinite() {
    let x = gaussian(3, 2 * 64, 1.0);
    for precision in [Precision::Exact, Precision::Fast] {
        let product = |scale: f32, bias: f32| {
            let (scale, bias) = (bytes(FloatType::F32, &[scale]), bytes(FloatType::F32, &[bias]));
            let codes = [0x71; 32];
            let parts = [&codes[..], &scale, &bias];
            let weights = Weights::encoded(Scheme::INT4, FloatType::F32, [1, 64], parts).expect("they fit");
            multiply(precision, weights, 2, &x)
        };
        assert_eq!(product(0.0, 0.0), [0.0; 2]);
        let sums: Vec<f32> = x.chunks_exact(64).map(|x| x.iter().sum()).collect();
        for (found, sum) in product(0.0, 1.0).iter().zip(&sums) {
            assert!((found - sum).abs() < 0.2, "{found}, expected {sum}");
        }
        assert!(product(1e-41, 0.0).iter().all(|y| y.abs() < 1e-37));
        assert!(product(f32::INFINITY, 0.0).iter().all(|y| !y.is_finite()));
        assert!(product(1.0, f32::NEG_INFINITY).iter().all(|y| !y.is_finite()));
        assert!(product(f32::NAN, 0.0).iter().all(|y| y.is_nan()));
    }
}

/// A group below 2^-100 counts as zeros on the fast path, and the others keep what they have.
#[test]
fn tiny_inputs_are_zeros_on_the_fast_path() {
    let matrix = Matrix::new(Scheme::INT4, FloatType::BF16, [3, 128], 1);
    let mut x = vec![1e-38; 128];
    assert_eq!(multiply(Precision::Fast, matrix.weights(), 1, &x), [0.0; 3]);
    x[64..].fill(1.0);
    let found = multiply(Precision::Fast, matrix.weights(), 1, &x);
    x[..64].fill(0.0);
    assert_eq!(found, multiply(Precision::Fast, matrix.weights(), 1, &x));
}
