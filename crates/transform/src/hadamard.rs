//! Hadamard matrices, computed: ±1 matrices H of order m with H·Hᵀ = m·I.
//!
//! | construction | orders |
//! |---|---|
//! | Paley I | q + 1, for q a prime or the square of one, q ≡ 3 mod 4 |
//! | Paley II | 2 (q + 1), for q likewise, q ≡ 1 mod 4 |
//! | Williamson, searched for | 4 n, for odd n up to 23 |
//!
//! Doubling gives the others: a [`Rotation`](crate::rotation::Rotation) takes the smallest order that a size is a power of two
//! times of.

use std::collections::HashSet;

/// The largest order that is computed.
pub const MAX_ORDER: usize = 512;
/// The largest order of the circulants that are searched for.
const MAX_CIRCULANT: usize = 23;

/// Returns a Hadamard matrix of order `order`, row by row. `None` if no construction gives one, or it is larger than
/// [`MAX_ORDER`].
#[must_use]
pub fn hadamard(order: usize) -> Option<Vec<i8>> {
    match order {
        1 => Some(vec![1]),
        2 => Some(vec![1, 1, 1, -1]),
        _ if order == 0 || !order.is_multiple_of(4) || order > MAX_ORDER => None,
        _ => {
            let (one, two) = (order - 1, order / 2 - 1);
            if one % 4 == 3
                && let Some(table) = jacobsthal(one)
            {
                return Some(paley_one(one, &table));
            }
            if two % 4 == 1
                && let Some(table) = jacobsthal(two)
            {
                return Some(paley_two(two, &table));
            }
            let circulant = order / 4;
            (circulant % 2 == 1 && circulant <= MAX_CIRCULANT).then(|| williamson(circulant))?
        }
    }
}

/// For the field of `q` elements: the quadratic character of each difference of two elements. `None` if `q` is neither an odd prime
/// nor the square of one.
fn jacobsthal(q: usize) -> Option<Vec<i8>> {
    let p = (2..=q).find(|p| q.is_multiple_of(*p))?;
    if p == 2 || q != p && q != p * p {
        return None;
    }
    // An element is a + b·t with t² = the smallest number that is no square of the prime field, or a alone.
    let is_square = |n: usize| (0..p).any(|x| x * x % p == n);
    let root = (2..p).find(|n| !is_square(*n)).unwrap_or_default();
    let parts = |element: usize| if q == p { [element, 0] } else { [element % p, element / p] };
    let join = |[a, b]: [usize; 2]| b * p + a;
    let square = |element: usize| {
        let [a, b] = parts(element);
        join([(a * a + root * b * b) % p, 2 * a * b % p])
    };
    let squares: HashSet<usize> = (1..q).map(square).collect();
    let difference = |one: usize, other: usize| {
        let (one, other) = (parts(one), parts(other));
        join([0, 1].map(|at| (one[at] + p - other[at]) % p))
    };
    let character = |x: usize| match x {
        0 => 0,
        x if squares.contains(&x) => 1,
        _ => -1,
    };
    Some((0..q * q).map(|at| character(difference(at / q, at % q))).collect())
}

fn paley_one(q: usize, table: &[i8]) -> Vec<i8> {
    let order = q + 1;
    let number = |row: usize, column: usize| match (row, column) {
        _ if row == column => 1,
        (0, _) => 1,
        (_, 0) => -1,
        _ => table[(row - 1) * q + column - 1],
    };
    (0..order * order).map(|at| number(at / order, at % order)).collect()
}

fn paley_two(q: usize, table: &[i8]) -> Vec<i8> {
    let order = 2 * (q + 1);
    let number = |row: usize, column: usize| {
        let (outer, inner) = ((row / 2, column / 2), (row % 2, column % 2));
        if outer.0 == outer.1 {
            return if inner == (0, 0) { 1 } else { -1 };
        }
        let of_table = if outer.0 == 0 || outer.1 == 0 { 1 } else { table[(outer.0 - 1) * q + outer.1 - 1] };
        if inner == (1, 1) { -of_table } else { of_table }
    };
    (0..order * order).map(|at| number(at / order, at % order)).collect()
}

/// Sums of products of a symmetric ±1 circulant with itself, shifted by 1, 2 … (n − 1) / 2.
type Correlations = [i8; MAX_CIRCULANT / 2];

/// Rows of Williamson's blocks: the circulant, and its sign.
const BLOCKS: [[(usize, i8); 4]; 4] = [
    [(0, 1), (1, 1), (2, 1), (3, 1)],
    [(1, -1), (0, 1), (3, -1), (2, 1)],
    [(2, -1), (3, 1), (0, 1), (1, -1)],
    [(3, -1), (2, -1), (1, 1), (0, 1)],
];

/// Searches for four symmetric circulants of odd order `n` whose correlations cancel, and joins them.
fn williamson(n: usize) -> Option<Vec<i8>> {
    let half = n / 2;
    let row = |bits: usize, at: usize| {
        let place = at.min(n - at);
        if place > 0 && bits >> (place - 1) & 1 == 1 { -1_i8 } else { 1 }
    };
    let correlations: Vec<Correlations> = (0..1_usize << half)
        .map(|bits| {
            let mut found = Correlations::default();
            for (shift, found) in (1..=half).zip(&mut found) {
                *found = (0..n).map(|at| row(bits, at) * row(bits, (at + shift) % n)).sum();
            }
            found
        })
        .collect();
    let sum = |i: u16, j: u16, sign: i8| -> Correlations {
        let (i, j) = (usize::from(i), usize::from(j));
        std::array::from_fn(|at| sign * (correlations[i][at] + correlations[j][at]))
    };
    let all = u16::try_from(correlations.len()).ok()?;
    let pairs = || (0..all).flat_map(|i| (i..all).map(move |j| (i, j)));
    let mut sums: Vec<(Correlations, (u16, u16))> = pairs().map(|(i, j)| (sum(i, j, 1), (i, j))).collect();
    sums.sort_unstable();
    let four = pairs().find_map(|(i, j)| {
        let wanted = sum(i, j, -1);
        let at = sums.partition_point(|(found, _)| *found < wanted);
        let (found, (k, l)) = sums.get(at)?;
        (*found == wanted).then_some([i, j, *k, *l])
    })?;
    let order = 4 * n;
    let number = |at: usize| {
        let (row_at, column) = (at / order, at % order);
        let (circulant, sign) = BLOCKS[row_at / n][column / n];
        sign * row(usize::from(four[circulant]), (column % n + n - row_at % n) % n)
    };
    Some((0..order * order).map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_hadamard(order: usize, matrix: &[i8]) -> bool {
        let row = |at: usize| &matrix[at * order..][..order];
        let product =
            |i: usize, j: usize| row(i).iter().zip(row(j)).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>();
        matrix.iter().all(|number| number.abs() == 1)
            && (0..order).all(|i| (0..i).all(|j| product(i, j) == 0))
            && matrix.len() == order * order
    }

    #[test]
    fn orders_that_hidden_sizes_need() {
        let orders = [1, 2, 4, 12, 20, 24, 28, 36, 44, 48, 52, 60, 68, 72, 76, 84, 100, 104, 108, 140, 148, 152, 180];
        for order in orders {
            let matrix = hadamard(order).unwrap_or_else(|| panic!("there is one of order {order}"));
            assert!(is_hadamard(order, &matrix), "{order}");
        }
        for none in [0, 3, 6, 40, 56, 516, 1024] {
            assert!(hadamard(none).is_none(), "{none}");
        }
    }

    #[test]
    fn williamson_finds_what_paley_lacks() {
        assert!(is_hadamard(92, &hadamard(92).expect("it is found by search")));
        assert!(is_hadamard(28, &williamson(7).expect("it is found by search")));
    }
}
