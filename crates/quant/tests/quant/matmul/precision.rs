//! Errors of products, in every scheme and for inputs of several kinds.

use longshore_quant::{
    FloatType, Scheme,
    ggml::GgmlType,
    matmul::{Precision, Weights},
};

use super::{FAST_TYPES, Matrix, blocks, error, multiply, reference};
use crate::support::{bytes, gaussian};

const COLUMNS: usize = 2048;
const ROWS: usize = 6;

/// Normal numbers, products of an activation and a projection as after a gate, and normal numbers with 1 % outliers.
fn inputs() -> [(&'static str, Vec<f32>); 3] {
    let normal = gaussian(11, ROWS * COLUMNS, 1.0);
    let up = gaussian(12, ROWS * COLUMNS, 1.0);
    let gated = normal.iter().zip(up).map(|(x, up)| x / (1.0 + (-x).exp()) * up).collect();
    let outliers = normal.iter().enumerate().map(|(i, x)| if i % 101 == 7 { x * 20.0 } else { *x }).collect();
    [("normal", normal), ("gated", gated), ("outliers", outliers)]
}

#[test]
fn the_exact_path_is_within_1e_5_in_every_scheme() {
    for scheme in Scheme::all() {
        let matrix = Matrix::new(scheme, FloatType::BF16, [24, COLUMNS], 1);
        let decoded = matrix.decoded();
        for (name, x) in inputs() {
            let found = multiply(Precision::Exact, matrix.weights(), ROWS, &x);
            let lost = error(&found, &reference(&decoded, &x, COLUMNS));
            assert!(lost < 1e-6, "{scheme}, {name}: {lost:e}");
        }
    }
}

#[test]
fn floats_are_multiplied_exactly() {
    for float in FloatType::ALL {
        let stored = bytes(float, &gaussian(2, 24 * 1000, 0.02));
        let weights = Weights::plain(float, [24, 1000], &stored).expect("the length fits");
        let x = gaussian(3, 5 * 1000, 1.0);
        for precision in [Precision::Exact, Precision::Fast] {
            let found = multiply(precision, weights, 5, &x);
            let lost = error(&found, &reference(&crate::support::floats(float, &stored), &x, 1000));
            assert!(lost < 1e-6, "{float}: {lost:e}");
        }
    }
}

/// The figures of the module's documentation.
#[test]
fn the_fast_path_loses_what_the_documentation_says() {
    for scheme in Scheme::all() {
        let matrix = Matrix::new(scheme, FloatType::BF16, [96, COLUMNS], 1);
        let decoded = matrix.decoded();
        for (i, (name, x)) in inputs().into_iter().enumerate() {
            let found = multiply(Precision::Fast, matrix.weights(), ROWS, &x);
            let lost = error(&found, &reference(&decoded, &x, COLUMNS));
            let most = match (scheme.quant_type(), scheme.group_size()) {
                ("mxfp8", _) => [4e-7; 3],
                ("int8", _) => [0.000_12, 0.000_25, 0.000_4],
                (_, 16) => [0.005_5, 0.008, 0.009],
                (_, 32) => [0.006, 0.01, 0.013],
                (_, 64) => [0.006_5, 0.012, 0.018],
                _ => [0.007, 0.015, 0.025],
            }[i];
            assert!(lost < most, "{scheme}, {name}: {lost:e}");
            assert!(lost > most / 3.0, "{scheme}, {name}: {lost:e} is far below {most:e}");
        }
    }
}

/// The figures of the module's documentation.
#[test]
fn blocks_lose_what_the_documentation_says() {
    for ggml_type in FAST_TYPES {
        let (stored, decoded) = blocks(ggml_type, [96, COLUMNS], 1);
        let weights = Weights::blocks(ggml_type, [96, COLUMNS], &stored).expect("the length fits");
        for (i, (name, x)) in inputs().into_iter().enumerate() {
            let expected = reference(&decoded, &x, COLUMNS);
            let exact = error(&multiply(Precision::Exact, weights, ROWS, &x), &expected);
            assert!(exact < 1e-6, "{ggml_type}, {name}: {exact:e}");
            let lost = error(&multiply(Precision::Fast, weights, ROWS, &x), &expected);
            let most = match ggml_type {
                GgmlType::Q8_0 => [0.000_12, 0.000_25, 0.000_3],
                GgmlType::Q6K => [0.005_5, 0.008, 0.009],
                // The fifth bits of these blocks are made up: the weights are not about zero, and what a row of the input sums to matters.
                GgmlType::Q5K => [0.009, 0.016, 0.024],
                _ => [0.006, 0.01, 0.013],
            }[i];
            assert!(lost < most, "{ggml_type}, {name}: {lost:e}");
            assert!(lost > most / 3.0, "{ggml_type}, {name}: {lost:e} is far below {most:e}");
        }
    }
}
