//! Every level, number of rows and number of threads gives the same bits.

use longshore_quant::{
    FloatType, Scheme,
    matmul::{Multiplier, Precision, Weights},
};
use proptest::prelude::*;

use super::{FAST_TYPES, Matrix, blocks, multiply};
use crate::support::{bytes, gaussian};

const BOTH: [Precision; 2] = [Precision::Exact, Precision::Fast];

#[test]
fn levels_agree_in_every_scheme_with_every_number_of_rows() {
    for (seed, scheme) in (0..).zip(Scheme::all()) {
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        let float = FloatType::ALL[usize::try_from(seed % 3).expect("it is small")];
        // One more than sixteen groups, and less; more than one tile of rows.
        for (groups, out) in [(17, 19), (1, 3), (33, 9), (40, 4)] {
            let mut matrix = Matrix::new(scheme, float, [out, groups * group], seed);
            if scheme == Scheme::NVFP4 && groups == 33 {
                matrix.global = Some(0.37);
            }
            for rows in [1, 2, 5, 16, 23] {
                let x = gaussian(seed + 100, rows * groups * group, 1.0);
                for precision in BOTH {
                    multiply(precision, matrix.weights(), rows, &x);
                }
            }
        }
    }
}

#[test]
fn levels_agree_in_blocks_of_every_fast_type_with_every_number_of_rows() {
    for (seed, ggml_type) in (0..).zip(FAST_TYPES) {
        let block = ggml_type.block_size();
        // An odd number of blocks, more than one tile of columns and of rows, and less than sixteen groups.
        for (columns, out) in [(1280, 9), (1056, 3), (256, 19), (160, 2), (512, 8)] {
            let count = columns / block;
            let (stored, _) = blocks(ggml_type, [out, count * block], seed);
            let weights = Weights::blocks(ggml_type, [out, count * block], &stored).expect("the length fits");
            for rows in [1, 3, 5, 9, 23, 40] {
                let x = gaussian(seed + 100, rows * count * block, 1.0);
                multiply(Precision::Fast, weights, rows, &x);
            }
        }
    }
}

/// Groups of every width and number, so that every way through the kernels of a row is taken.
#[test]
fn levels_agree_in_rows_of_any_number_of_groups() {
    for scheme in ["int4-g32", "int4", "int4-g128", "int5-g128", "int8-g32", "mxfp4", "nvfp4"] {
        let scheme: Scheme = scheme.parse().expect("it exists");
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        for groups in 1..=34 {
            let matrix = Matrix::new(scheme, FloatType::BF16, [2, groups * group], 9);
            for rows in [1, 6, 12] {
                multiply(Precision::Fast, matrix.weights(), rows, &gaussian(10, rows * groups * group, 1.0));
            }
        }
    }
}

#[test]
fn levels_agree_on_floats_of_any_length() {
    for float in FloatType::ALL {
        for (out, columns) in [(5, 1), (18, 15), (3, 16), (7, 1061)] {
            let stored = bytes(float, &gaussian(7, out * columns, 0.1));
            let weights = Weights::plain(float, [out, columns], &stored).expect("the length fits");
            for rows in [1, 7, 67] {
                multiply(Precision::Exact, weights, rows, &gaussian(8, rows * columns, 1.0));
            }
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    for scheme in ["int3", "int4", "int8-g128", "nvfp4", "mxfp8"] {
        let matrix = Matrix::new(scheme.parse().expect("it exists"), FloatType::BF16, [21, 1280], 3);
        let (rows, weights) = (70, matrix.weights());
        let x = gaussian(4, rows * 1280, 1.0);
        for precision in BOTH {
            let multiplier = Multiplier::new(precision);
            let mut all = vec![0.0; rows * 21];
            multiplier.multiply(weights, rows, &x, &mut all).expect("the lengths fit");
            for (x, expected) in x.chunks_exact(1280).zip(all.chunks_exact(21)) {
                let mut one = [0.0; 21];
                multiplier.multiply(weights, 1, x, &mut one).expect("the lengths fit");
                assert_eq!(one.map(f32::to_bits)[..], expected.iter().map(|y| y.to_bits()).collect::<Vec<_>>());
            }
            let mut some = vec![0.0; rows * 9];
            let range = weights.range(5..14).expect("there are so many rows");
            multiplier.multiply(range, rows, &x, &mut some).expect("the lengths fit");
            for (some, all) in some.chunks_exact(9).zip(all.chunks_exact(21)) {
                assert_eq!(some, &all[5..14]);
            }
        }
    }
}

#[cfg(feature = "rayon")]
#[test]
fn threads_change_nothing() {
    for (scheme, rows) in [("int4", 1), ("int4", 20), ("int8", 3), ("mxfp8", 2), ("int5", 17)] {
        let matrix = Matrix::new(scheme.parse().expect("it exists"), FloatType::F16, [1100, 1088], 5);
        let x = gaussian(6, rows * 1088, 1.0);
        for precision in BOTH {
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
                let mut y = vec![0.0; rows * 1100];
                pool.install(|| Multiplier::new(precision).multiply(matrix.weights(), rows, &x, &mut y))
                    .expect("the lengths fit");
                y
            };
            let expected = run(1);
            assert!(run(2) == expected && run(5) == expected, "{scheme} {precision:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Any bytes are weights: with scales and biases that are zero, subnormal, infinite or NaN.
    #[test]
    fn levels_agree_on_arbitrary_bytes(
        (scheme, seed) in (0..Scheme::all().count(), any::<u64>()),
        (out, groups, rows) in (1..12usize, 1..36usize, 1..20usize),
        special in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..3),
    ) {
        let scheme = Scheme::all().nth(scheme).expect("it is below the count");
        let columns = groups * usize::try_from(scheme.group_size()).expect("it is small");
        let mut matrix = Matrix::new(scheme, FloatType::F16, [out, columns], seed);
        let mut state = seed | 1;
        for byte in matrix.parts.iter_mut().flatten() {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            // A part of the scales stays as it is, so that not everything is NaN.
            if state >> 62 == 0 {
                *byte = state.to_le_bytes()[6];
            }
        }
        let mut x = gaussian(seed ^ 1, rows * columns, 1.0);
        for (at, bits) in special {
            let at = at.index(x.len());
            x[at] = f32::from_bits(bits);
        }
        for precision in BOTH {
            multiply(precision, matrix.weights(), rows, &x);
        }
    }

    /// Any bytes are blocks, with scales that are zero, subnormal, infinite or NaN.
    #[test]
    fn levels_agree_on_arbitrary_blocks(
        (ggml_type, seed) in (0..FAST_TYPES.len(), any::<u64>()),
        (out, count, rows) in (1..12usize, 1..9usize, 1..20usize),
        special in prop::collection::vec((any::<prop::sample::Index>(), any::<u32>()), 0..3),
    ) {
        let ggml_type = FAST_TYPES[ggml_type];
        let columns = count * ggml_type.block_size();
        let (mut stored, _) = blocks(ggml_type, [out, columns], seed);
        let mut state = seed | 1;
        for byte in &mut stored {
            state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            if state >> 62 == 0 {
                *byte = state.to_le_bytes()[6];
            }
        }
        let mut x = gaussian(seed ^ 1, rows * columns, 1.0);
        for (at, bits) in special {
            let at = at.index(x.len());
            x[at] = f32::from_bits(bits);
        }
        let weights = Weights::blocks(ggml_type, [out, columns], &stored).expect("the length fits");
        for precision in BOTH {
            multiply(precision, weights, rows, &x);
        }
    }
}
