//! Errors of products, in every scheme and for inputs of several kinds.

use longshore_quant::{
    FloatType, Format, Scheme,
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

/// The errors of the fast path, as the module's documentation has them: what is measured alike shares a line.
#[test]
fn the_fast_path_loses_what_the_documentation_says() {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    let mut measure = |name: String, weights: Weights<'_>, decoded: &[f32]| {
        let mut cells = Vec::new();
        for (kind, x) in inputs() {
            let expected = reference(decoded, &x, COLUMNS);
            let exact = error(&multiply(Precision::Exact, weights, ROWS, &x), &expected);
            assert!(exact < 1e-6, "{name}, {kind}: {exact:e}");
            let lost = error(&multiply(Precision::Fast, weights, ROWS, &x), &expected);
            cells.push(format!(" {} |", percent(lost)));
        }
        let cells = cells.concat();
        match lines.iter_mut().find(|(known, _)| *known == cells) {
            Some((_, names)) => names.push(name),
            None => lines.push((cells, vec![name])),
        }
    };
    for scheme in Scheme::all().filter(|scheme| scheme.quant_type() != "mxfp8") {
        let matrix = Matrix::new(scheme, FloatType::BF16, [96, COLUMNS], 1);
        let name = match scheme.format() {
            Format::Affine { .. } => format!("{}-g{}", scheme.quant_type(), scheme.group_size()),
            _ => scheme.to_string(),
        };
        measure(name, matrix.weights(), &matrix.decoded());
    }
    for ggml_type in FAST_TYPES {
        let (stored, decoded) = blocks(ggml_type, [96, COLUMNS], 1);
        measure(ggml_type.to_string(), Weights::blocks(ggml_type, [96, COLUMNS], &stored).expect("it fits"), &decoded);
    }
    let table: Vec<_> = lines.iter().map(|(cells, names)| format!("//! | `{}` |{cells}", names.join("`, `"))).collect();
    let documentation = include_str!("../../../src/matmul/mod.rs");
    for line in &table {
        assert!(documentation.contains(line), "the documentation has no {line:?}; all:\n{}", table.join("\n"));
    }
}

#[test]
fn formats_that_the_fast_path_does_not_round_for_are_exact() {
    let scheme = "mxfp8".parse().expect("it is a scheme");
    let matrix = Matrix::new(scheme, FloatType::BF16, [96, COLUMNS], 1);
    for (name, x) in inputs() {
        let lost =
            error(&multiply(Precision::Fast, matrix.weights(), ROWS, &x), &reference(&matrix.decoded(), &x, COLUMNS));
        assert!(lost < 1e-6, "{name}: {lost:e}");
    }
}

/// Two digits of a part of one, in percent.
fn percent(part: f64) -> String {
    let percent = part * 100.0;
    let places = if percent < 0.1 {
        3
    } else if percent < 1.0 {
        2
    } else {
        1
    };
    format!("{percent:.places$} %")
}
