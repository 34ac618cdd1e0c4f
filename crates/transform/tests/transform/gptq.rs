//! GPTQ against its definition in f64: `vectors.py` writes the weights, the Hessian and the losses.

use std::num::NonZero;

use longshore_transform::{
    cholesky::Factor,
    gptq::{Chosen, Gptq, loss, order},
    product::WIDTH,
};
use serde::Deserialize;

const GROUP: usize = 64;

#[derive(Deserialize)]
struct Vectors {
    inputs: usize,
    factor: Vec<f32>,
    weights: Vec<f32>,
    nearest: f64,
    gptq: f64,
}

impl Vectors {
    fn read() -> Self {
        serde_json::from_str(include_str!("vectors.json")).expect("vectors.py wrote it")
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "numbers of a test")]
    fn hessian(&self) -> Vec<f32> {
        let mut sums = vec![0.0_f64; self.inputs * self.inputs];
        for input in self.factor.chunks_exact(self.inputs) {
            for (at, sum) in sums.iter_mut().enumerate() {
                *sum += f64::from(input[at / self.inputs]) * f64::from(input[at % self.inputs]);
            }
        }
        let rows = self.factor.len() / self.inputs;
        sums.iter().map(|sum| (sum / rows as f64) as f32).collect()
    }
}

/// The scale and the bias that span a group.
fn spanning(_: usize, values: &[f32], scales: &mut [f32], biases: &mut [f32]) {
    for ((values, scale), bias) in values.chunks_exact(GROUP).zip(scales).zip(biases) {
        let (low, high) =
            values.iter().fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
        (*scale, *bias) = (((high - low) / 15.0).max(1e-12), low);
    }
}

/// Quantizes with inputs in `order`, and returns the codes with the loss under the damped Hessian.
fn quantize(vectors: &Vectors, order: &[usize], at_once: usize) -> (Vec<u8>, f64) {
    let (size, hessian) = (vectors.inputs, vectors.hessian());
    let read = |row: usize, out: &mut [f32]| out.copy_from_slice(&hessian[row * size..][..size]);
    let factor = Factor::new(size, &read, order, 0.01, NonZero::<usize>::MIN).expect("inputs made it");
    let gptq = Gptq { factor: &factor, order, bits: 4, group: GROUP };
    let (mut codes, mut errors) = (Vec::new(), Vec::new());
    for weights in vectors.weights.chunks(at_once * size) {
        let mut chosen = Chosen::default();
        gptq.rows(weights, &mut spanning, &mut chosen);
        for (at, (weight, code)) in weights.iter().zip(&chosen.codes).enumerate() {
            let group = at / GROUP;
            errors.push(weight - (f32::from(*code) * chosen.scales[group] + chosen.biases[group]));
        }
        codes.extend(chosen.codes);
    }
    let mean =
        (0..size).map(|at| hessian[at * size + at]).sum::<f32>() / f32::from(u16::try_from(size).expect("it is small"));
    let damped = |first: usize, out: &mut [f32]| {
        for (k, out) in out.chunks_exact_mut(WIDTH).enumerate() {
            for (j, out) in out.iter_mut().enumerate() {
                let damping = if k == first + j { 0.01 * mean } else { 0.0 };
                *out = hessian[k * size + first + j] + damping;
            }
        }
    };
    (codes, loss(&errors, size, &damped))
}

#[test]
fn the_loss_is_that_of_the_definition() {
    let vectors = Vectors::read();
    let natural: Vec<usize> = (0..vectors.inputs).collect();
    let (_, found) = quantize(&vectors, &natural, 100);
    // Ties fall otherwise in F32 than in f64, and move what follows them.
    assert!((found / vectors.gptq - 1.0).abs() < 0.05, "{found}, by definition {}", vectors.gptq);
    assert!(found < 0.6 * vectors.nearest, "{found}, nearest codes {}", vectors.nearest);
}

#[test]
fn rows_do_not_depend_on_each_other() {
    let vectors = Vectors::read();
    let natural: Vec<usize> = (0..vectors.inputs).collect();
    let (all, _) = quantize(&vectors, &natural, 100);
    for at_once in [1, 5] {
        assert!(quantize(&vectors, &natural, at_once).0 == all, "{at_once} rows at once");
    }
}

#[test]
fn columns_go_by_the_diagonal_within_groups() {
    let vectors = Vectors::read();
    let (size, hessian) = (vectors.inputs, vectors.hessian());
    let diagonal: Vec<f32> = (0..size).map(|at| hessian[at * size + at]).collect();
    let order = order(&diagonal, GROUP);
    for (group, order) in order.chunks(GROUP).enumerate() {
        assert!(order.windows(2).all(|pair| diagonal[pair[0]] >= diagonal[pair[1]]));
        assert!(order.iter().all(|input| input / GROUP == group));
    }
    let (_, found) = quantize(&vectors, &order, 7);
    assert!(found < 1.1 * vectors.gptq, "{found}, in the order of the columns {}", vectors.gptq);
}
