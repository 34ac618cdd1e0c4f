//! Affine codes that are chosen one column after the other, each for the errors of those before it (GPTQ).
//!
//! With the [`Factor`] R of the Hessian, the loss of a row is ‖(w − q)·R‖², and number j of that product depends on the
//! columns up to j alone. So
//!
//! ```text
//! for each group of columns, from left to right:
//!     carried = errors · R[before, group]                        products in panels
//!     scale, bias = those of w + carried · R[group, group]⁻¹     the weights that undo what is carried
//!     for each column j of the group:
//!         code = nearest(w[j] + carried[j] / R[j, j])
//!         error = w[j] − decoded(code); carried[j + 1 …] += error · R[j, j + 1 …]
//! ```
//!
//! Groups keep their order, since the formats have none of their own. Columns within a group go by the Hessian's diagonal,
//! largest first: [`order`]. Rows do not depend on each other.

use crate::{
    cholesky::Factor,
    codes::{nearest, top},
    product::{Product, WIDTH},
};

/// Rows that go through a group together.
const LANES: usize = 16;

type Lanes = [f32; LANES];

/// Returns the order of inputs within their groups: by the Hessian's diagonal, the largest first, then by place.
#[must_use]
pub fn order(diagonal: &[f32], group: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..diagonal.len()).collect();
    for group in order.chunks_mut(group.max(1)) {
        group.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]).then(a.cmp(b)));
    }
    order
}

/// Chooses the scales and biases of the groups that begin at input `first`. The values are those of the groups of all rows, one group
/// after the other, in the order of the inputs.
pub type Choose<'c> = dyn FnMut(usize, &[f32], &mut [f32], &mut [f32]) + 'c;

/// The choice of codes for rows of one weight.
#[derive(Debug, Clone, Copy)]
pub struct Gptq<'a> {
    /// The factor of the Hessian.
    pub factor: &'a Factor,
    /// The order of inputs that the factor has. It moves inputs within their groups alone.
    pub order: &'a [usize],
    /// Bits of a code.
    pub bits: u8,
    /// Inputs of a group, at most 128.
    pub group: usize,
}

/// What was chosen for some rows, in the order of the inputs.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Chosen {
    /// A code for each weight.
    pub codes: Vec<u8>,
    /// A scale for each group.
    pub scales: Vec<f32>,
    /// A bias for each group.
    pub biases: Vec<f32>,
    /// Weights less decoded codes, in the order of the factor.
    errors: Vec<f32>,
    carried: Vec<f32>,
    values: Vec<f32>,
    sums: Vec<f32>,
}

impl Gptq<'_> {
    /// Chooses codes, scales and biases for whole rows of `weights`. `choose` gives scales and biases as they are stored.
    ///
    /// # Panics
    ///
    /// Panics if the rows are not whole, or a group does not divide them.
    pub fn rows(self, weights: &[f32], choose: &mut Choose<'_>, out: &mut Chosen) {
        let (size, group) = (self.factor.size(), self.group);
        let (rows, groups) = (weights.len() / size, size / group);
        out.codes.resize(weights.len(), 0);
        out.scales.resize(rows * groups, 0.0);
        out.biases.resize(rows * groups, 0.0);
        out.errors.clear();
        out.errors.resize(weights.len(), 0.0);
        out.values.resize(rows * group, 0.0);
        out.carried.resize(rows * group, 0.0);
        let (mut scales, mut biases) = (vec![0.0; rows], vec![0.0; rows]);
        for first in (0..size).step_by(group) {
            self.carry(first, rows, out);
            let triangle = self.triangle(first);
            for row in (0..rows).step_by(LANES) {
                self.undo(weights, first, row..rows.min(row + LANES), &triangle, out);
            }
            choose(first, &out.values, &mut scales, &mut biases);
            for row in 0..rows {
                out.scales[row * groups + first / group] = scales[row];
                out.biases[row * groups + first / group] = biases[row];
            }
            for row in (0..rows).step_by(LANES) {
                self.decide(weights, first, row..rows.min(row + LANES), &triangle, [&scales, &biases], out);
            }
        }
    }

    /// Adds up what the errors before the group do to its columns.
    fn carry(self, first: usize, rows: usize, out: &mut Chosen) {
        let (size, group) = (self.factor.size(), self.group);
        out.sums.resize(rows * WIDTH, 0.0);
        let product = Product::default();
        for of_panel in (0..group).step_by(WIDTH) {
            let width = WIDTH.min(group - of_panel);
            let panel = self.factor.panel(first, first + of_panel);
            product.panel(first, rows, &out.errors, size, panel, &mut out.sums);
            for (carried, sums) in out.carried.chunks_exact_mut(group).zip(out.sums.chunks_exact(WIDTH)) {
                carried[of_panel..of_panel + width].copy_from_slice(&sums[..width]);
            }
        }
    }

    /// The part of the factor for the columns of a group, `group` numbers a row.
    fn triangle(self, first: usize) -> Vec<f32> {
        let mut found = vec![0.0; self.group * self.group];
        for from in 0..self.group {
            for to in from..self.group {
                found[from * self.group + to] = self.factor.at(first + from, first + to);
            }
        }
        found
    }

    /// Finds the weights of a group that would undo what is carried, in the order of the inputs.
    fn undo(self, weights: &[f32], first: usize, rows: std::ops::Range<usize>, triangle: &[f32], out: &mut Chosen) {
        let (size, group) = (self.factor.size(), self.group);
        let mut rest = gather(&out.carried, rows.clone(), group, group);
        for column in 0..group {
            let diagonal = triangle[column * group + column];
            let change: Lanes = rest[column].map(|carried| carried / diagonal);
            let input = self.order[first + column];
            for (row, change) in rows.clone().zip(change) {
                out.values[row * group + input - first] = weights[row * size + input] + change;
            }
            for (rest, factor) in rest[..group].iter_mut().zip(&triangle[column * group..]).skip(column + 1) {
                for (rest, change) in rest.iter_mut().zip(change) {
                    *rest -= change * factor;
                }
            }
        }
    }

    /// Chooses the codes of a group, column by column.
    fn decide(
        self,
        weights: &[f32],
        first: usize,
        rows: std::ops::Range<usize>,
        triangle: &[f32],
        [scales, biases]: [&[f32]; 2],
        out: &mut Chosen,
    ) {
        let (size, group, top) = (self.factor.size(), self.group, top(self.bits));
        let mut carried = gather(&out.carried, rows.clone(), group, group);
        for column in 0..group {
            let diagonal = triangle[column * group + column];
            let input = self.order[first + column];
            let mut errors = [0.0; LANES];
            for ((row, error), carried) in rows.clone().zip(&mut errors).zip(carried[column]) {
                let (scale, bias, weight) = (scales[row], biases[row], weights[row * size + input]);
                let code = nearest((weight + carried / diagonal - bias) / scale, top);
                *error = weight - (f32::from(code) * scale + bias);
                out.codes[row * size + input] = code;
                out.errors[row * size + first + column] = *error;
            }
            for (carried, factor) in carried[..group].iter_mut().zip(&triangle[column * group..]).skip(column + 1) {
                for (carried, error) in carried.iter_mut().zip(errors) {
                    *carried += error * factor;
                }
            }
        }
    }
}

/// Numbers of some rows, by columns.
fn gather(from: &[f32], rows: std::ops::Range<usize>, stride: usize, columns: usize) -> Vec<Lanes> {
    let mut found = vec![[0.0; LANES]; columns];
    for (lane, row) in rows.enumerate() {
        for (found, number) in found.iter_mut().zip(&from[row * stride..]) {
            found[lane] = *number;
        }
    }
    found
}

/// The loss of errors under a symmetric Hessian: the sum of e·H·eᵀ over rows e of `errors`, in the order of the inputs.
///
/// `hessian` writes numbers `[k, first + j]` of the Hessian, [`WIDTH`] for each input `k` from 0 on, zero after the last, as many
/// as the slice has.
///
/// # Panics
///
/// Panics if the rows are not whole.
#[must_use]
pub fn loss(errors: &[f32], size: usize, hessian: &dyn Fn(usize, &mut [f32])) -> f64 {
    let rows = errors.len() / size.max(1);
    let (mut panel, mut sums) = (vec![0.0; size * WIDTH], vec![0.0; rows * WIDTH]);
    let mut loss = 0.0;
    for first in (0..size).step_by(WIDTH) {
        // What lies below the block on the diagonal is what lies right of it.
        let end = size.min(first + WIDTH);
        let panel = &mut panel[..end * WIDTH];
        hessian(first, panel);
        panel[..first * WIDTH].iter_mut().for_each(|number| *number *= 2.0);
        Product::default().panel(end, rows, errors, size, panel, &mut sums);
        for (errors, sums) in errors.chunks_exact(size).zip(sums.chunks_exact(WIDTH)) {
            let products = errors[first..end].iter().zip(sums);
            loss += products.map(|(error, sum)| f64::from(*error) * f64::from(*sum)).sum::<f64>();
        }
    }
    loss
}
