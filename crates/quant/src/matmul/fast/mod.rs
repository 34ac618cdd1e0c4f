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
//!
//! Eight rows of weights are taken together. A row of the input that stands alone meets them one after another; sixteen
//! rows of the input meet a tile of them, whose codes are expanded to bytes once.

mod activations;
mod blocks;
mod form;
pub(super) mod portable;
mod scales;

pub(super) use activations::{Input, LaneBlock, Row, TOKENS};
#[cfg(target_arch = "x86_64")]
pub(super) use activations::{Rounded, round_group};
pub(super) use blocks::{Expanded, expand as expand_blocks};
#[cfg(any(target_arch = "x86_64", all(target_arch = "aarch64", target_endian = "little")))]
pub(super) use form::E2M1_INTEGERS;
pub(super) use form::{Codes, Form};
pub(super) use scales::Scales;

use std::ops::Range;

use super::{
    level::{Kind, Level},
    scratch::{Fast, Scratch},
    weights::{Encoded, Stored, Weights},
};
use crate::ggml::GgmlType;

/// Sums that are kept apart.
pub(super) const CHAINS: usize = 16;

/// Rows of weights that are taken together.
pub(super) const ROWS: usize = 8;

/// Rows of weights: codes, one a byte or as stored, with scales and biases.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub(super) stored: &'a [u8],
    /// Bytes of a row in `stored`.
    pub(super) stored_len: usize,
    /// Scales, `[rows, padded groups]`: each row is padded with zeros to a multiple of [`CHAINS`].
    pub(super) scales: &'a [f32],
    /// Biases, padded likewise, or nothing.
    pub(super) biases: &'a [f32],
    pub(super) padded_groups: usize,
    /// Groups of a row.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "the other kernels count the codes"))]
    pub(super) groups: usize,
    /// Where a kernel reads scales and biases as they are stored: the parts of these rows, instead of the numbers.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "the other kernels read numbers"))]
    pub(super) parts: Option<Encoded<'a>>,
}

/// Codes of an expanded row are a multiple of this, so that a kernel may read beyond them.
const CODES: usize = 2048;

/// Bytes of weights that several rows of the input take one after another.
const NEAREST: usize = 1 << 14;

/// Columns of a tile: a multiple of every group.
pub(super) const COLUMNS: usize = 1024;

/// Some columns of rows of weights, a code to a byte. Rows that are missing have arbitrary codes and scales.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile<'a> {
    pub(super) codes: &'a [[u8; COLUMNS]; ROWS],
    pub(super) form: Form,
    /// The first group of these columns.
    pub(super) first_group: usize,
    /// The scales of each group of these columns.
    pub(super) scales: &'a [[f32; ROWS]],
    /// Biases likewise, or nothing.
    pub(super) biases: &'a [[f32; ROWS]],
}

/// Lanes of the sums of a block of input rows. The kernels set a chain to zero at its first group.
pub(super) type Sums = [[[f32; TOKENS]; ROWS]; CHAINS];

/// Numbers of the output for each input row of a block.
pub(super) type Totals = [[f32; ROWS]; TOKENS];

/// Rows of weights whose numbers are collected before they are written: some lines of the cache for each input row.
pub(super) const STAGED: usize = 64;

/// Computes all rows of `weights`. `y` has one slice for each row of the input.
pub(super) fn multiply(level: Level, weights: Weights<'_>, input: &Input, y: &mut [&mut [f32]], scratch: &mut Scratch) {
    let (columns, rows) = (weights.columns(), weights.rows());
    let stored = match weights.stored {
        Stored::Encoded(encoded) => encoded.weight,
        Stored::Blocks { bytes, .. } | Stored::Plain { bytes, .. } => bytes,
    };
    let (groups, padded_groups) = (columns / input.form.group, input.padded_groups);
    let work = Work { level, form: input.form, columns, stored_len: stored.len() / rows.max(1), padded_groups };
    if let Stored::Encoded(parts) = weights.stored
        && input.blocks.is_empty()
        && level.reads_stored_scales(input.form)
    {
        return work.as_stored(parts, input, y);
    }
    let mut buffers = scratch.fast(columns.next_multiple_of(CODES), ROWS * padded_groups, input.blocks.len());
    let (singles, in_blocks) = y.split_at_mut(input.rows);
    for first in (0..rows).step_by(ROWS) {
        let count = ROWS.min(rows - first);
        let stored = &stored[first * work.stored_len..(first + count) * work.stored_len];
        let mut parts_of_rows = None;
        if let Stored::Encoded(parts) = weights.stored {
            parts_of_rows = Some(parts.groups(first * groups, count * groups));
        }
        if let Some(parts) = parts_of_rows
            && !(in_blocks.is_empty() && level.reads_stored_scales(input.form))
        {
            read_scales(level, Scales { parts, groups, padded_groups }, buffers.scales, buffers.biases);
        }
        if !singles.is_empty() {
            let parts = parts_of_rows.filter(|_| level.reads_stored_scales(input.form));
            work.singles((stored, parts), input, singles, first..first + count, &mut buffers);
        }
        if !in_blocks.is_empty() {
            work.blocks(stored, input, &mut buffers);
            let at = first % STAGED;
            for (staged, sums) in buffers.staged.chunks_exact_mut(TOKENS).zip(&*buffers.sums) {
                for (staged, totals) in staged.iter_mut().zip(totals(level, sums)) {
                    staged.as_chunks_mut::<ROWS>().0[at / ROWS] = totals;
                }
            }
            if at + ROWS == STAGED || first + count == rows {
                for (y, staged) in in_blocks.iter_mut().zip(&*buffers.staged) {
                    y[first - at..first + count].copy_from_slice(&staged[..at + count]);
                }
            }
        }
    }
}

/// What all pieces of a product have in common.
#[derive(Clone, Copy, Debug)]
struct Work {
    level: Level,
    form: Form,
    columns: usize,
    /// Bytes of a row of the codes, or of the blocks.
    stored_len: usize,
    padded_groups: usize,
}

impl Work {
    /// Multiplies rows of weights, whose scales a kernel reads as they are stored, by the input rows, which all stand
    /// alone.
    fn as_stored(self, parts: Encoded<'_>, input: &Input, y: &mut [&mut [f32]]) {
        let Self { level, form, columns, stored_len, padded_groups } = self;
        let groups = columns / form.group;
        let total = parts.weight.len() / stored_len;
        // The next row of the input finds them in the nearest cache.
        let taken = if y.len() == 1 { total } else { (NEAREST / stored_len).next_multiple_of(ROWS).max(ROWS) };
        for first in (0..total).step_by(taken.max(1)) {
            let rows = first..total.min(first + taken);
            // What follows these rows is there to be read.
            let parts = parts.groups(first * groups, (total - first) * groups);
            let stored = parts.weight;
            let of_rows =
                Rows { stored, stored_len, scales: &[], biases: &[], padded_groups, groups, parts: Some(parts) };
            for (row, y) in y.iter_mut().enumerate() {
                one(level, form, of_rows, input.row(row), &mut y[rows.clone()]);
            }
        }
    }

    /// Multiplies at most [`ROWS`] rows of weights by the input rows that stand alone.
    fn singles(
        self,
        (stored, parts): (&[u8], Option<Encoded<'_>>),
        input: &Input,
        singles: &mut [&mut [f32]],
        rows: Range<usize>,
        buffers: &mut Fast<'_>,
    ) {
        let Self { level, form, columns, stored_len, padded_groups } = self;
        let has_biases = form.codes.have_biases();
        if form.codes.is_read_as_stored() {
            let biases: &[f32] = if has_biases { buffers.biases } else { &[] };
            let (scales, groups) = (&*buffers.scales, columns / form.group);
            let group = Rows { stored, stored_len, scales, biases, padded_groups, groups, parts };
            for (single, y) in singles.iter_mut().enumerate() {
                one(level, form, group, input.row(single), &mut y[rows.clone()]);
            }
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if let (Kind::Avx512(proof), Codes::Blocks(ggml_type)) = (level.0, form.codes) {
            for (single, y) in singles.iter_mut().enumerate() {
                proof.one_of_blocks(ggml_type, (stored, stored_len), input.row(single), &mut y[rows.clone()]);
            }
            return;
        }
        for (row, stored) in rows.zip(stored.chunks_exact(stored_len)) {
            let padded = row % ROWS * padded_groups..(row % ROWS + 1) * padded_groups;
            let (scales, biases) = (&mut buffers.scales[padded.clone()], &mut buffers.biases[padded]);
            let codes = &mut buffers.codes[..columns];
            expand(level, form, stored, &mut Expanded { codes, scales, biases });
            let biases: &[f32] = if has_biases { biases } else { &[] };
            let groups = columns / form.group;
            let (stored, stored_len) = (&*buffers.codes, columns);
            let group = Rows { stored, stored_len, scales, biases, padded_groups, groups, parts: None };
            for (single, y) in singles.iter_mut().enumerate() {
                one(level, form, group, input.row(single), &mut y[row..=row]);
            }
        }
    }

    /// Adds up the products of at most [`ROWS`] rows of weights with all blocks of input rows.
    fn blocks(self, stored: &[u8], input: &Input, buffers: &mut Fast<'_>) {
        let Self { level, form, columns, stored_len, padded_groups } = self;
        if columns / form.group < CHAINS {
            // The kernels start from zero only where there is a group.
            buffers.sums.fill([[[0.0; TOKENS]; ROWS]; CHAINS]);
        }
        for start in (0..columns).step_by(COLUMNS) {
            let width = COLUMNS.min(columns - start);
            let (first_group, groups) = (start / form.group, width / form.group);
            let (from, to) = (stored_len * start / columns, stored_len * (start + width) / columns);
            let rows = buffers.tile.iter_mut().zip(stored.chunks_exact(stored_len)).enumerate();
            for (row, (codes, stored)) in rows {
                let at = row * padded_groups + first_group;
                let (scales, biases) = (&mut buffers.scales[at..at + groups], &mut buffers.biases[at..at + groups]);
                expand(level, form, &stored[from..to], &mut Expanded { codes: &mut codes[..width], scales, biases });
            }
            let has_biases = form.codes.have_biases();
            let scales = by_group(buffers.scales, padded_groups, first_group, &mut buffers.tile_scales[..groups]);
            let biases = &mut buffers.tile_biases[..if has_biases { groups } else { 0 }];
            let biases = by_group(buffers.biases, padded_groups, first_group, biases);
            let tile = Tile { codes: buffers.tile, form, first_group, scales, biases };
            many(level, tile, &input.blocks, buffers.sums);
        }
    }
}

/// Collects the numbers of all rows for each group.
fn by_group<'a>(of: &[f32], padded_groups: usize, first: usize, out: &'a mut [[f32; ROWS]]) -> &'a [[f32; ROWS]] {
    let count = out.len();
    for (row, numbers) in of.chunks_exact(padded_groups).enumerate() {
        for (number, out) in numbers[first..first + count].iter().zip(&mut *out) {
            out[row] = *number;
        }
    }
    out
}

/// Expands codes of one row. Of blocks also the scales and biases, which are in them.
fn expand(level: Level, form: Form, stored: &[u8], out: &mut Expanded<'_>) {
    let groups = out.codes.len() / form.group;
    match form.codes {
        Codes::Blocks(ggml_type) => {
            let (scales, padding) = out.scales.split_at_mut(groups);
            padding.fill(0.0);
            let (biases, padding) = out.biases.split_at_mut(groups);
            padding.fill(0.0);
            expand_type(level, ggml_type, stored, &mut Expanded { codes: out.codes, scales, biases });
        }
        codes => expand_codes(level, codes, stored, out.codes),
    }
}

/// Reads the scales and biases of rows as `f32`.
fn read_scales(level: Level, work: Scales<'_>, scales: &mut [f32], biases: &mut [f32]) {
    match level.0 {
        Kind::Portable => work.read(scales, biases),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.read_scales(work, scales, biases),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.avx2().read_scales(work, scales, biases),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.read_scales(work, scales, biases),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => work.read(scales, biases),
    }
}

/// Expands codes to a byte each, in their order.
fn expand_codes(level: Level, codes: Codes, stored: &[u8], out: &mut [u8]) {
    match level.0 {
        Kind::Portable => portable::expand(codes, stored, out),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.expand(codes, stored, out),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.avx2().expand(codes, stored, out),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.expand(codes, stored, out),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => portable::expand(codes, stored, out),
    }
}

/// Expands blocks of ggml.
fn expand_type(level: Level, ggml_type: GgmlType, stored: &[u8], out: &mut Expanded<'_>) {
    match level.0 {
        Kind::Portable => expand_blocks(ggml_type, stored, out),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.expand_blocks(ggml_type, stored, out),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.avx2().expand_blocks(ggml_type, stored, out),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.expand_blocks(ggml_type, stored, out),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => expand_blocks(ggml_type, stored, out),
    }
}

/// Computes `y`: the rows of weights, as many as `y` has numbers, with one row of the input.
fn one(level: Level, form: Form, weights: Rows<'_>, input: Row<'_>, y: &mut [f32]) {
    match level.0 {
        Kind::Portable => portable::one(form, weights, input, y),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.one(form, weights, input, y),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.one(form, weights, input, y),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.one(form, weights, input, y),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => super::neon::one(form, weights, input, y),
    }
}

/// Adds the products of a tile with blocks of input rows to the sums of each block.
fn many(level: Level, tile: Tile<'_>, blocks: &[LaneBlock], sums: &mut [Sums]) {
    match level.0 {
        Kind::Portable => portable::many(tile, blocks, sums),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.many(tile, blocks, sums),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.many(tile, blocks, sums),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.many(tile, blocks, sums),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => portable::many(tile, blocks, sums),
    }
}

/// Adds up the chains of a block: the numbers of each input row.
fn totals(level: Level, sums: &Sums) -> Totals {
    match level.0 {
        Kind::Portable => portable::totals(sums),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2(proof) => proof.totals(sums),
        #[cfg(target_arch = "x86_64")]
        Kind::AvxVnni(proof) => proof.avx2().totals(sums),
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512(proof) => proof.totals(sums),
        #[cfg(all(target_arch = "aarch64", target_endian = "little"))]
        Kind::Neon => portable::totals(sums),
    }
}
