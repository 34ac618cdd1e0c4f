//! The fast path: inputs rounded to integers, group by group, so that products are sums of integers.
//!
//! The integers of a group are rounded under the group's largest magnitude, and their sum with the codes is exact. The
//! order of the remaining sums is part of the definition, so that neither the instructions, nor the number of threads,
//! nor the number of input rows changes a bit. For a group g with the scale s and the bias b of the weights:
//!
//! ```text
//! d    = max |x| / n                                   n is 127, or 8,192 for codes of 8 bits
//! q    = round(x × (n / max |x|)), ties to even
//! I    = sum of code × q                               exact
//! lane[g mod 16] = fused(I × (s × d) + lane[g mod 16]), then fused(b × (d × sum of q) + lane[g mod 16])
//! y    = the lanes added in the tree of the exact path
//! ```
//!
//! A group with a number that is not finite has d = NaN, and so has every sum that it is part of. A group without a
//! magnitude of 2^-100 counts as zeros.

mod activations;
mod form;
pub(super) mod portable;
mod scales;

pub(super) use activations::{Input, LaneBlock, Row, TOKENS};
#[cfg(target_arch = "x86_64")]
pub(super) use activations::{Rounded, round_group};
#[cfg(target_arch = "x86_64")]
pub(super) use form::E2M1_INTEGERS;
pub(super) use form::{Codes, Form};
pub(super) use scales::Scales;

use super::{
    exact::{quiet, total},
    level::{Kind, Level},
    scratch::Scratch,
    weights::{Encoded, Weights},
};

/// Sums that are kept apart.
pub(super) const CHAINS: usize = 16;

/// Rows of weights that are taken together.
pub(super) const ROWS: usize = 8;

/// One row of weights, or the rows of a tile: codes, one a byte or as stored, and scales and biases.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group<'a> {
    /// Codes as stored.
    pub(super) stored: &'a [u8],
    /// Scales, padded with zeros to a multiple of [`CHAINS`].
    pub(super) scales: &'a [f32],
    /// Biases, padded likewise, or nothing.
    pub(super) biases: &'a [f32],
}

/// Columns of a tile: a multiple of every group.
pub(super) const COLUMNS: usize = 1024;

/// Some columns of rows of weights, a code to a byte. Rows that are missing have arbitrary codes and scales.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a> {
    pub(super) codes: &'a [[u8; COLUMNS]; ROWS],
    /// Columns that there are.
    pub(super) columns: usize,
    pub(super) group: usize,
    /// The first group of these columns.
    pub(super) first_group: usize,
    /// `[rows, padded groups]`.
    pub(super) scales: &'a [f32],
    pub(super) biases: &'a [f32],
    pub(super) padded_groups: usize,
}

/// Lanes of the sums of input rows that lie side by side: `[blocks × rows of a tile, chains]`.
pub(super) type Sums = [[[f32; TOKENS]; CHAINS]];

/// Computes all rows of `weights`. `y` has one slice for each row of the input.
pub(super) fn multiply(
    level: Level,
    weights: Encoded<'_>,
    shape: &Weights<'_>,
    input: &Input,
    y: &mut [&mut [f32]],
    scratch: &mut Scratch,
) {
    let form = input.form;
    let (columns, groups) = (shape.columns(), shape.columns() / form.group);
    let padded_groups = groups.next_multiple_of(CHAINS);
    let stored_len = weights.scheme.group_len(weights.float).weight * groups;
    let direct = form.codes.is_read_as_stored();
    let expanded_len = if direct { 0 } else { columns };
    let buffers = scratch.fast(expanded_len, ROWS * padded_groups, ROWS * input.blocks.len());
    let (singles, in_blocks) = y.split_at_mut(input.rows);
    for first in (0..shape.rows()).step_by(ROWS) {
        let count = ROWS.min(shape.rows() - first);
        let parts = weights.groups(first * groups, count * groups);
        let work = Scales { parts, groups, padded_groups };
        let has_biases = read_scales(level, work, buffers.scales, buffers.biases);
        let biases: &[f32] = if has_biases { buffers.biases } else { &[] };
        if !singles.is_empty() {
            for (row, stored) in parts.weight.chunks_exact(stored_len).enumerate() {
                if !direct {
                    expand(level, form.codes, stored, buffers.codes);
                }
                let cut = row * padded_groups..(row + 1) * padded_groups;
                let group = Group {
                    stored: if direct { stored } else { buffers.codes },
                    scales: &buffers.scales[cut.clone()],
                    biases: biases.get(cut).unwrap_or_default(),
                };
                for (single, y) in singles.iter_mut().enumerate() {
                    y[first + row] = one(level, form, group, input.row(single));
                }
            }
        }
        if !in_blocks.is_empty() {
            buffers.sums.fill([[0.0; TOKENS]; CHAINS]);
            for start in (0..columns).step_by(COLUMNS) {
                let width = COLUMNS.min(columns - start);
                let (from, to) = (stored_len * start / columns, stored_len * (start + width) / columns);
                for (stored, out) in parts.weight.chunks_exact(stored_len).zip(buffers.tile.iter_mut()) {
                    expand(level, form.codes, &stored[from..to], &mut out[..width]);
                }
                let tile = Tile {
                    codes: buffers.tile,
                    columns: width,
                    group: form.group,
                    first_group: start / form.group,
                    scales: buffers.scales,
                    biases,
                    padded_groups,
                };
                many(level, form, tile, &input.blocks, buffers.sums);
            }
            for (y, sums) in in_blocks.chunks_mut(TOKENS).zip(buffers.sums.chunks_exact(ROWS)) {
                for (row, sums) in sums.iter().enumerate().take(count) {
                    for (y, total) in y.iter_mut().zip(totals(*sums)) {
                        y[first + row] = total;
                    }
                }
            }
        }
    }
}

/// Adds the chains of sixteen input rows, in the order of the exact path.
fn totals(mut sums: [[f32; TOKENS]; CHAINS]) -> [f32; TOKENS] {
    for width in [8, 4, 2, 1] {
        let (first, second) = sums.split_at_mut(width);
        for (a, b) in first.iter_mut().zip(second) {
            for (a, b) in a.iter_mut().zip(b) {
                *a += *b;
            }
        }
    }
    sums[0].map(quiet)
}

/// Reads the scales and biases of rows as `f32`. Returns whether there are biases.
fn read_scales(level: Level, work: Scales<'_>, scales: &mut [f32], biases: &mut [f32]) -> bool {
    match level.0 {
        Kind::Portable => work.read(scales, biases),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.read_scales(work, scales, biases),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.avx2().read_scales(work, scales, biases),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.read_scales(work, scales, biases),
    }
}

/// Expands codes to a byte each, in their order.
fn expand(level: Level, codes: Codes, stored: &[u8], out: &mut [u8]) {
    match level.0 {
        Kind::Portable => portable::expand(codes, stored, out),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.expand(codes, stored, out),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.avx2().expand(codes, stored, out),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.expand(codes, stored, out),
    }
}

/// Computes one number: a row of weights with a row of the input.
fn one(level: Level, form: Form, weights: Group<'_>, input: Row<'_>) -> f32 {
    let total = match level.0 {
        Kind::Portable => total(portable::one(form, weights, input)),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.one(form, weights, input),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.one(form, weights, input),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.one(form, weights, input),
    };
    quiet(total)
}

/// Adds the products of a tile with blocks of input rows to the sums.
fn many(level: Level, form: Form, tile: Tile<'_>, blocks: &[LaneBlock], sums: &mut Sums) {
    match level.0 {
        Kind::Portable => portable::many(form, tile, blocks, sums),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.many(form, tile, blocks, sums),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.many(form, tile, blocks, sums),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.many(form, tile, blocks, sums),
    }
}
