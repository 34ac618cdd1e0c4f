//! What an adapter does to a base.

use std::ops::Range;

/// A tensor of the base, as a checkpoint names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BaseTensor {
    /// Name in a checkpoint of floats.
    pub name: String,
    /// Extents in the checkpoint.
    pub shape: Vec<u64>,
    /// Whether the checkpoint has the inputs of each matrix as rows. Only stacked experts do.
    pub is_transposed: bool,
}

impl BaseTensor {
    /// Names a tensor of the base.
    #[must_use]
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<u64>>) -> Self {
        Self { name: name.into(), shape: shape.into(), is_transposed: false }
    }

    /// The same tensor, whose rows are inputs if `is_transposed` is set.
    #[must_use]
    pub fn transposed(self, is_transposed: bool) -> Self {
        Self { is_transposed, ..self }
    }
}

/// What an adapter does to a base.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Updates {
    /// Products that are added, in the order of the base's tensors.
    pub products: Vec<ProductUpdate>,
    /// Tensors that take the place of the base's.
    pub replacements: Vec<Replacement>,
}

/// `scale` times a product of two factors, which is added to rows of a matrix.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ProductUpdate {
    /// The tensor of the base: its place in the list that was fitted to.
    pub base: usize,
    /// The matrix of the tensor, which has several if it stacks experts.
    pub matrix: u64,
    /// The rows of the matrix, as the checkpoint has them.
    pub rows: Range<u64>,
    /// The number of columns of the matrix.
    pub columns: u64,
    /// The factor along the rows, from the first of them on.
    pub left: View,
    /// The factor along the columns.
    pub right: View,
    /// The number of terms of each sum.
    pub rank: u64,
    /// The factor of the product.
    pub scale: f32,
    /// The magnitudes that the sum gets (`DoRA`).
    pub magnitude: Option<Magnitude>,
}

/// A factor of a product in a tensor of the adapter. [`Self::element`] is the place of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// The adapter's tensor: its place in the list that was read.
    pub tensor: usize,
    /// Element of the first number.
    pub start: u64,
    /// Elements from one line to the next.
    pub along: u64,
    /// Elements from one number of a line to the next.
    pub rank: u64,
    /// Number of lines of a head, an even one, where the lines of each head alternate between its halves in the tensor. `None` where
    /// lines lie in order.
    pub head: Option<u64>,
}

impl View {
    /// The element of the tensor that number `k` of line `line` is: `start + n × along + k × rank`, where the line is stored as
    /// number `n`.
    #[must_use]
    pub fn element(&self, line: u64, k: u64) -> u64 {
        self.start + self.place(line) * self.along + k * self.rank
    }

    /// The number of a line in the tensor: the line itself, or its place among those of its head.
    #[must_use]
    pub fn place(&self, line: u64) -> u64 {
        let Some(head) = self.head else { return line };
        let (half, of_head) = (head / 2, line % head);
        line - of_head + of_head % half * 2 + of_head / half
    }

    /// The line that is stored as number `place`.
    #[must_use]
    pub fn line(&self, place: u64) -> u64 {
        let Some(head) = self.head else { return place };
        let of_head = place % head;
        place - of_head + of_head % 2 * (head / 2) + of_head / 2
    }
}

/// The magnitudes of outputs. Each output of the sum is scaled to have its magnitude as its L2 norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Magnitude {
    /// The adapter's tensor.
    pub tensor: usize,
    /// Element of the first output.
    pub start: u64,
    /// Whether the columns of the matrix are the outputs.
    pub is_of_columns: bool,
}

/// A tensor that takes the place of one of the base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replacement {
    /// The tensor of the base: its place in the list that was fitted to.
    pub base: usize,
    /// The adapter's tensor.
    pub tensor: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_heads_alternate() {
        let in_order = View { tensor: 0, start: 5, along: 3, rank: 1, head: None };
        let view = View { head: Some(6), ..in_order };
        let places: Vec<u64> = (0..12).map(|line| view.place(line)).collect();
        assert_eq!(places, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        assert!((0..12).all(|line| view.line(view.place(line)) == line && in_order.line(in_order.place(line)) == line));
        assert_eq!((view.element(3, 2), in_order.element(3, 2)), (5 + 3 + 2, 5 + 9 + 2));
    }
}
