//! Measures products with stored weights, by scheme, shape and level, on the threads of a rayon pool where the feature
//! `rayon` is on.
//!
//! Throughput counts the bytes of the weights. Before anything is timed, the number of each level is compared with the
//! portable one. `cargo bench -p longshore-quant --features rayon --bench matmul -- fast/avx512-vnni/1` takes less than
//! all.

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longshore_quant::{
    FloatType, Scheme,
    ggml::GgmlType,
    matmul::{Level, Multiplier, Precision, Weights},
};

const SHAPES: [[usize; 2]; 4] = [[576, 576], [1536, 576], [4096, 4096], [49152, 576]];
const ROWS: [usize; 5] = [1, 4, 16, 32, 256];
const SCHEMES: [&str; 9] = ["int2", "int3", "int4", "int5", "int6", "int8", "nvfp4", "mxfp4", "mxfp8"];
const TYPES: [GgmlType; 8] = [
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q4K,
    GgmlType::Q5K,
    GgmlType::Q6K,
];

/// What the bytes of a matrix are.
#[derive(Clone, Copy)]
enum Kind {
    Scheme(Scheme),
    Blocks(GgmlType),
}

/// Weights with arbitrary codes and small scales.
struct Matrix {
    kind: Kind,
    shape: [usize; 2],
    parts: [Vec<u8>; 3],
}

impl Matrix {
    /// All kinds for which the columns are whole groups.
    fn all(shape: [usize; 2]) -> Vec<Self> {
        let schemes = SCHEMES.iter().map(|scheme| Self::encoded(scheme.parse().expect("it exists"), shape));
        let types = TYPES.iter().filter(|ggml_type| shape[1].is_multiple_of(ggml_type.block_size()));
        schemes.chain(types.map(|ggml_type| Self::blocks(*ggml_type, shape))).collect()
    }

    fn name(&self) -> String {
        match self.kind {
            Kind::Scheme(scheme) => scheme.to_string(),
            Kind::Blocks(ggml_type) => ggml_type.to_string(),
        }
    }

    /// Blocks of bytes that are small exponents wherever they are scales.
    fn blocks(ggml_type: GgmlType, shape: [usize; 2]) -> Self {
        let len = shape[0] * shape[1] / ggml_type.block_size() * ggml_type.block_bytes();
        let bytes = (0..len).map(|i| i.wrapping_mul(0x9E37_79B9).to_le_bytes()[1] & 0x2F).collect();
        Self { kind: Kind::Blocks(ggml_type), shape, parts: [bytes, Vec::new(), Vec::new()] }
    }

    fn encoded(scheme: Scheme, shape: [usize; 2]) -> Self {
        let groups = shape[0] * shape[1] / usize::try_from(scheme.group_size()).expect("it is small");
        let len = scheme.encoded_len(groups, FloatType::BF16).expect("it fits");
        let codes = (0..len.weight).map(|i| i.wrapping_mul(0x9E37_79B9).to_le_bytes()[1] & 0x77).collect();
        // As BF16 0.747, as E4M3 1.875, as a power of two 1/256 or less.
        Self { kind: Kind::Scheme(scheme), shape, parts: [codes, vec![0x3F; len.scale], vec![0x3F; len.bias]] }
    }

    fn weights(&self) -> Weights<'_> {
        let [weight, scale, bias] = &self.parts;
        match self.kind {
            Kind::Scheme(scheme) => Weights::encoded(scheme, FloatType::BF16, self.shape, [weight, scale, bias]),
            Kind::Blocks(ggml_type) => Weights::blocks(ggml_type, self.shape, weight),
        }
        .expect("the parts fit")
    }
}

fn compare(multiplier: Multiplier, matrix: &Matrix, rows: usize, x: &[f32]) {
    let weights = matrix.weights().range(0..9).expect("there are more rows");
    let (mut found, mut expected) = (vec![0.0; rows * 9], vec![0.0; rows * 9]);
    multiplier.multiply(weights, rows, x, &mut found).expect("the lengths fit");
    let portable = multiplier.with_level(Level::PORTABLE);
    portable.multiply(weights, rows, x, &mut expected).expect("the lengths fit");
    assert!(found == expected, "{} gives other numbers", matrix.name());
}

fn run(criterion: &mut Criterion) {
    for level in Level::available().filter(|level| *level != Level::PORTABLE) {
        for (name, precision) in [("fast", Precision::Fast), ("exact", Precision::Exact)] {
            let multiplier = Multiplier::new(precision).with_level(level);
            for rows in ROWS {
                let mut group = criterion.benchmark_group(format!("{name}/{}/{rows}", level.name()));
                group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
                for shape in SHAPES {
                    let x: Vec<f32> = (0..rows * shape[1]).map(|i| f32::from(i.to_le_bytes()[0]) - 127.5).collect();
                    let mut y = vec![0.0; rows * shape[0]];
                    for matrix in Matrix::all(shape) {
                        let bytes = matrix.parts.iter().map(Vec::len).sum::<usize>();
                        group.throughput(Throughput::Bytes(u64::try_from(bytes).expect("it fits")));
                        compare(multiplier, &matrix, rows, &x);
                        group.bench_function(format!("{}/{}x{}", matrix.name(), shape[0], shape[1]), |bencher| {
                            bencher.iter(|| {
                                let y = black_box(&mut y);
                                multiplier.multiply(matrix.weights(), rows, black_box(&x), y).expect("they fit");
                            });
                        });
                    }
                }
                group.finish();
            }
        }
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
