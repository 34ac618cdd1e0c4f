//! Eigenvalues and eigenvectors of symmetric matrices: reflections to a tridiagonal matrix, and QR steps with shifts on that.
//!
//! ```text
//! H·A·Hᵀ = T        H a product of reflections 1 − β·v·vᵀ, each of which clears a row beyond the diagonal's neighbours
//! G·T·Gᵀ = Λ        G a product of plane rotations: of each step, the first is that of T − μ, and the others clear what it leaves
//! ```
//!
//! The rows of G·H are the eigenvectors. The work is about six times the cube of the size with them, and one and a half times without.

/// QR steps for each eigenvalue after which they end in any case. Two suffice on average.
const STEPS: usize = 60;

/// The eigenvalues of a symmetric matrix, the largest first, and the eigenvectors in the same order if they were asked for.
#[derive(Debug)]
pub(crate) struct Eigen {
    pub(crate) values: Vec<f64>,
    pub(crate) vectors: Vec<Vec<f64>>,
}

/// Decomposes a symmetric matrix `[size, size]`.
pub(crate) fn symmetric(matrix: Vec<f64>, size: usize, with_vectors: bool) -> Eigen {
    let Tridiagonal { mut diagonal, mut beside, reflections } = tridiagonal(matrix, size);
    let mut vectors = if with_vectors { product(&reflections, size) } else { Vec::new() };
    diagonalize(&mut diagonal, &mut beside, &mut |first, [cos, sin]| {
        if with_vectors {
            let (above, below) = vectors.split_at_mut((first + 1) * size);
            for (a, b) in above[first * size..].iter_mut().zip(below) {
                (*a, *b) = (cos * *a + sin * *b, cos * *b - sin * *a);
            }
        }
    });
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
    let vector = |at: &usize| vectors[at * size..][..size].to_vec();
    let vectors = if with_vectors { order.iter().map(vector).collect() } else { Vec::new() };
    Eigen { values: order.iter().map(|at| diagonal[*at]).collect(), vectors }
}

/// A symmetric tridiagonal matrix, and the reflections that made it of another.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// The numbers beside the diagonal.
    beside: Vec<f64>,
    /// Vector and factor β of each reflection. The vectors end with the last axis.
    reflections: Vec<(Vec<f64>, f64)>,
}

fn tridiagonal(mut matrix: Vec<f64>, size: usize) -> Tridiagonal {
    let (mut diagonal, mut beside, mut reflections) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..size {
        let (row, rest) = matrix[at * size..].split_at_mut(size);
        diagonal.push(row[at]);
        let mut vector = row[at + 1..].to_vec();
        let Some(first) = vector.first().copied() else { break };
        let norm = dot(&vector, &vector).sqrt();
        if vector[1..].iter().all(|value| *value == 0.0) || norm == 0.0 {
            beside.push(first);
            continue;
        }
        // The sign is the one with which nothing cancels.
        let image = -norm.copysign(first);
        beside.push(image);
        vector[0] -= image;
        let factor = 2.0 / dot(&vector, &vector);
        // With p = β·B·v and w = p − (β/2·pᵀ·v)·v, the reflected rest B is B − v·wᵀ − w·vᵀ.
        let rows = || (0..vector.len()).map(|row| row * size + at + 1);
        let mut w: Vec<f64> = rows().map(|start| factor * dot(&rest[start..][..vector.len()], &vector)).collect();
        let along = factor / 2.0 * dot(&w, &vector);
        w.iter_mut().zip(&vector).for_each(|(w, v)| *w -= along * v);
        for (start, (v, of_w)) in rows().zip(vector.iter().zip(&w)) {
            let row = &mut rest[start..][..vector.len()];
            for (value, (other_v, other_w)) in row.iter_mut().zip(vector.iter().zip(&w)) {
                *value -= v * other_w + of_w * other_v;
            }
        }
        reflections.push((vector, factor));
    }
    Tridiagonal { diagonal, beside, reflections }
}

/// The product of reflections as a matrix, the first of them on the right.
fn product(reflections: &[(Vec<f64>, f64)], size: usize) -> Vec<f64> {
    let mut out = vec![0.0; size * size];
    (0..size).for_each(|at| out[at * size + at] = 1.0);
    for (vector, factor) in reflections.iter().rev() {
        // What stands in earlier rows is that of the identity still.
        let first = size - vector.len();
        for row in out.chunks_exact_mut(size).skip(first) {
            let row = &mut row[first..];
            let along = factor * dot(row, vector);
            row.iter_mut().zip(vector).for_each(|(value, v)| *value -= along * v);
        }
    }
    out
}

/// Makes a tridiagonal matrix diagonal. `rotate` hears of each rotation: the first of its two axes, its cosine and its sine.
fn diagonalize(diagonal: &mut [f64], beside: &mut [f64], rotate: &mut dyn FnMut(usize, [f64; 2])) {
    let is_small = |diagonal: &[f64], beside: &[f64], at: usize| {
        beside[at].abs() <= f64::EPSILON * (diagonal[at].abs() + diagonal[at + 1].abs())
    };
    let (mut last, mut steps) = (diagonal.len().saturating_sub(1), 0);
    while last > 0 {
        if steps >= STEPS || is_small(diagonal, beside, last - 1) {
            (beside[last - 1], last, steps) = (0.0, last - 1, 0);
            continue;
        }
        let mut first = last - 1;
        while first > 0 && !is_small(diagonal, beside, first - 1) {
            first -= 1;
        }
        if first > 0 {
            beside[first - 1] = 0.0;
        }
        step(diagonal, beside, first..last, rotate);
        steps += 1;
    }
}

/// One QR step on the axes of `range` and the one after, with the shift of Wilkinson.
fn step(
    diagonal: &mut [f64],
    beside: &mut [f64],
    range: std::ops::Range<usize>,
    rotate: &mut dyn FnMut(usize, [f64; 2]),
) {
    let (last, corner) = (range.end, beside[range.end - 1]);
    let half = (diagonal[last - 1] - diagonal[last]) / 2.0;
    let shift = diagonal[last] - corner * (corner / (half + half.hypot(corner).copysign(half)));
    let (mut kept, mut cleared) = (diagonal[range.start] - shift, beside[range.start]);
    for at in range.clone() {
        let norm = kept.hypot(cleared);
        let [cos, sin] = if norm > 0.0 { [kept / norm, cleared / norm] } else { [1.0, 0.0] };
        if at > range.start {
            beside[at - 1] = norm;
        }
        let (a, b, c) = (diagonal[at], beside[at], diagonal[at + 1]);
        diagonal[at] = cos * cos * a + 2.0 * cos * sin * b + sin * sin * c;
        diagonal[at + 1] = sin * sin * a - 2.0 * cos * sin * b + cos * cos * c;
        beside[at] = cos * sin * (c - a) + (cos * cos - sin * sin) * b;
        kept = beside[at];
        if at + 1 < last {
            cleared = sin * beside[at + 1];
            beside[at + 1] *= cos;
        }
        rotate(at, [cos, sin]);
    }
}

/// The sum of products, in eight sums whose order does not depend on the machine.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (whole_a, rest_a) = a.as_chunks::<8>();
    let (whole_b, rest_b) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in whole_a.iter().zip(whole_b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f64 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the numbers of a test are small")]
#[expect(clippy::cast_possible_wrap, reason = "as above")]
mod tests {
    use super::*;

    /// A symmetric matrix of numbers between -1 and 1.
    fn random(size: usize, seed: u32) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 23) - 1.0
        };
        let mut matrix = vec![0.0; size * size];
        for row in 0..size {
            for column in 0..=row {
                let value = next();
                (matrix[row * size + column], matrix[column * size + row]) = (value, value);
            }
        }
        matrix
    }

    /// Checks that the vectors are orthonormal, that they are those of the values, and that nothing depends on asking for them.
    fn check(matrix: &[f64], size: usize, what: &str) {
        let Eigen { values, vectors } = symmetric(matrix.to_vec(), size, true);
        let most = matrix.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * most * (1.0 + values.len() as f64);
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]), "{what}: {values:?}");
        for (at, (value, vector)) in values.iter().zip(&vectors).enumerate() {
            for (row, of_vector) in matrix.chunks_exact(size).zip(vector) {
                assert!(near(dot(row, vector), value * of_vector), "{what}: vector {at}");
            }
            for (other, of_other) in vectors.iter().enumerate() {
                assert!(near(dot(vector, of_other), f64::from(u8::from(at == other))), "{what}: {at} and {other}");
            }
        }
        assert_eq!(vectors.len(), size, "{what}");
        let alone = symmetric(matrix.to_vec(), size, false);
        assert!(alone.vectors.is_empty() && alone.values == values, "{what}");
    }

    #[test]
    fn vectors_are_those_of_the_values() {
        for size in [0, 1, 2, 3, 4, 5, 8, 17, 40, 61] {
            check(&random(size, 7), size, &format!("{size} random"));
            check(&vec![0.0; size * size], size, &format!("{size} zeros"));
            check(&vec![1.0; size * size], size, &format!("{size} ones"));
            let diagonal = |of: &dyn Fn(usize) -> f64| {
                let value = |at: usize| if at / size == at % size { of(at % size) } else { 0.0 };
                (0..size * size).map(value).collect::<Vec<f64>>()
            };
            check(&diagonal(&|_| 2.5), size, &format!("{size} equal"));
            check(&diagonal(&|at| [3.0, -1.0, 3.0][at % 3]), size, &format!("{size} pairs"));
            check(&diagonal(&|at| 10.0_f64.powi(-(at as i32) / 2)), size, &format!("{size} falling"));
        }
    }

    /// Of the matrix with 2 on its diagonal and -1 beside it, the values are known.
    #[test]
    fn values_are_those_of_a_chain() {
        let size = 31;
        let mut matrix = vec![0.0; size * size];
        for at in 0..size {
            matrix[at * size + at] = 2.0;
            if at + 1 < size {
                (matrix[at * size + at + 1], matrix[(at + 1) * size + at]) = (-1.0, -1.0);
            }
        }
        let found = symmetric(matrix, size, false).values;
        for (at, value) in found.iter().rev().enumerate() {
            let angle = std::f64::consts::PI * (at as f64 + 1.0) / (size as f64 + 1.0);
            assert!((value - (2.0 - 2.0 * angle.cos())).abs() < 1e-13, "{at}: {value}");
        }
    }
}
