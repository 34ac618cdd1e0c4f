//! Products of several matrices, rows picked by index, and experts.
#![expect(clippy::float_cmp, reason = "the numbers are exact")]

use longshore_quant::{
    FloatType, Scheme,
    ggml::{self, GgmlType},
    matmul::{ExpertRows, Multiplier, Precision, Product, Weights},
};

use super::{FAST_TYPES, Matrix, error, multiply, reference};
use crate::support::{bytes, floats, gaussian};

#[test]
fn products_that_share_an_input_are_those_of_one_at_a_time() {
    let stored = bytes(FloatType::BF16, &gaussian(1, 5 * 256, 0.1));
    let (a, b, c) = (
        Matrix::new(Scheme::INT4, FloatType::BF16, [33, 256], 2),
        Matrix::new(Scheme::INT8, FloatType::BF16, [17, 256], 3),
        Matrix::new(Scheme::INT4, FloatType::F16, [1, 256], 4),
    );
    let all =
        [a.weights(), b.weights(), c.weights(), Weights::plain(FloatType::BF16, [5, 256], &stored).expect("it fits")];
    for rows in [0, 1, 3, 18] {
        let x = gaussian(5, rows * 256, 1.0);
        for precision in [Precision::Exact, Precision::Fast] {
            let multiplier = Multiplier::new(precision);
            let mut together = all.map(|weights| vec![0.0; rows * weights.rows()]);
            let mut products: Vec<_> =
                all.into_iter().zip(&mut together).map(|(weights, y)| Product { weights, y }).collect();
            multiplier.multiply_all(rows, &x, &mut products).expect("the lengths fit");
            for (weights, together) in all.into_iter().zip(together) {
                let mut alone = vec![0.0; together.len()];
                multiplier.multiply(weights, rows, &x, &mut alone).expect("the lengths fit");
                assert_eq!(alone, together);
            }
        }
    }
}

#[test]
fn rows_are_decoded_by_index() {
    for scheme in Scheme::all() {
        let matrix = Matrix::new(scheme, FloatType::BF16, [9, 384], 1);
        let decoded = matrix.decoded();
        let indices = [8, 0, 3, 3];
        let mut out = vec![0.0; 4 * 384];
        matrix.weights().decode_rows(&indices, &mut out).expect("the lengths fit");
        for (index, out) in indices.iter().zip(out.chunks_exact(384)) {
            assert_eq!(out, &decoded[index * 384..][..384], "{scheme}");
        }
    }
    let stored = bytes(FloatType::F16, &gaussian(1, 4 * 3, 1.0));
    let weights = Weights::plain(FloatType::F16, [4, 3], &stored).expect("it fits");
    let mut out = [0.0; 3];
    weights.decode_rows(&[2], &mut out).expect("the lengths fit");
    assert_eq!(out, floats(FloatType::F16, &stored)[6..9]);
    weights.decode_rows(&[], &mut []).expect("no rows are no numbers");
}

#[test]
fn experts_are_picked_by_index() {
    let (experts, out, rows) = (4, 6, 20);
    for scheme in [Scheme::INT4, Scheme::MXFP4, Scheme::MXFP8, Scheme::INT8] {
        let matrix = Matrix::new(scheme, FloatType::BF16, [experts * out, 192], 1);
        let x = gaussian(2, rows * 192, 1.0);
        let all: Vec<usize> = (0..rows).rev().collect();
        let picks = [
            ExpertRows { expert: 3, rows: &[19, 0] },
            ExpertRows { expert: 0, rows: &[] },
            ExpertRows { expert: 1, rows: &all },
            ExpertRows { expert: 3, rows: &[7] },
        ];
        for precision in [Precision::Exact, Precision::Fast] {
            let multiplier = Multiplier::new(precision);
            let mut y = vec![0.0; (2 + rows + 1) * out];
            multiplier
                .multiply_experts(matrix.weights(), experts, (rows, &x), &picks, &mut y)
                .expect("the lengths fit");
            let mut found = y.chunks_exact(out);
            for pick in picks {
                let weights = matrix.weights().range(pick.expert * out..(pick.expert + 1) * out).expect("it exists");
                for row in pick.rows {
                    let mut expected = [0.0; 6];
                    multiplier.multiply(weights, 1, &x[row * 192..][..192], &mut expected).expect("the lengths fit");
                    assert_eq!(found.next(), Some(&expected[..]));
                }
            }
        }
    }
}

/// Any bytes are blocks.
#[test]
fn blocks_of_every_ggml_type_are_multiplied() {
    for (seed, &ggml_type) in (0u8..).zip(GgmlType::ALL) {
        let columns = 1280usize.next_multiple_of(ggml_type.block_size());
        let len = 7 * columns / ggml_type.block_size() * ggml_type.block_bytes();
        // Small exponents, so that no scale is infinite and no sum overflows.
        let stored: Vec<u8> = (0..len).map(|i| i.wrapping_mul(37).to_le_bytes()[0].wrapping_add(seed) % 44).collect();
        let weights = Weights::blocks(ggml_type, [7, columns], &stored).expect("the length fits");
        let mut decoded = vec![0.0; 7 * columns];
        ggml::decode(ggml_type, &stored, &mut decoded).expect("the lengths fit");
        let mut rows = vec![0.0; 2 * columns];
        weights.decode_rows(&[6, 2], &mut rows).expect("the lengths fit");
        assert_eq!(rows, [&decoded[6 * columns..], &decoded[2 * columns..3 * columns]].concat(), "{ggml_type}");
        for count in [1, 5, 17] {
            let x = gaussian(3, count * columns, 1.0);
            let expected = reference(&decoded, &x, columns);
            for precision in [Precision::Exact, Precision::Fast] {
                let found = multiply(precision, weights, count, &x);
                let lost = error(&found, &expected);
                let is_rounded = precision == Precision::Fast && FAST_TYPES.contains(&ggml_type);
                let most = if is_rounded { 0.02 } else { 1e-5 };
                assert!(lost < most || expected.iter().all(|y| *y == 0.0), "{ggml_type}: {lost:e}");
            }
        }
    }
}

#[test]
fn bytes_need_no_alignment() {
    let matrix = Matrix::new(Scheme::INT4, FloatType::F32, [5, 256], 1);
    let x = gaussian(2, 256, 1.0);
    let shifted = matrix.parts.clone().map(|part| [&[0xAA; 3][..], &part].concat());
    let [weight, scale, bias] = &shifted;
    let parts = [&weight[3..], &scale[3..], &bias[3..]];
    let weights = Weights::encoded(Scheme::INT4, FloatType::F32, [5, 256], parts).expect("they fit");
    for precision in [Precision::Exact, Precision::Fast] {
        let (mut found, mut expected) = ([0.0; 5], [0.0; 5]);
        Multiplier::new(precision).multiply(weights, 1, &x, &mut found).expect("the lengths fit");
        Multiplier::new(precision).multiply(matrix.weights(), 1, &x, &mut expected).expect("the lengths fit");
        assert_eq!(found, expected);
    }
}
