//! The reference of the fast path.

use super::{CHAINS, Codes, Form, LaneBlock, ROWS, Row, Rows, Sums, TOKENS, Tile, Totals, form::E2M1_INTEGERS};
use crate::{
    matmul::exact::{quiet, total},
    portable::{MAX_GROUP, bits},
};

/// Expands codes to a byte each, in their order.
pub(in crate::matmul) fn expand(codes: Codes, stored: &[u8], out: &mut [u8]) {
    match codes {
        Codes::Nibbles | Codes::Packed(4) => bits::unpack::<4>(stored, out),
        Codes::E2m1 => {
            bits::unpack::<4>(stored, out);
            for code in out {
                *code = E2M1_INTEGERS[usize::from(*code)];
            }
        }
        Codes::Packed(2) => bits::unpack::<2>(stored, out),
        Codes::Packed(3) => bits::unpack::<3>(stored, out),
        Codes::Packed(5) => bits::unpack::<5>(stored, out),
        Codes::Packed(6) => bits::unpack::<6>(stored, out),
        Codes::Packed(_) | Codes::Bytes | Codes::Blocks(_) => out.copy_from_slice(stored),
    }
}

/// Computes `y`: rows of weights with one row of the input.
pub(in crate::matmul) fn one(form: Form, weights: Rows<'_>, input: Row<'_>, y: &mut [f32]) {
    let rows = weights.stored.chunks_exact(weights.stored_len).zip(weights.scales.chunks_exact(weights.padded_groups));
    for (row, ((stored, scales), y)) in rows.zip(y).enumerate() {
        let biases = weights.biases.get(row * weights.padded_groups..).unwrap_or_default();
        *y = quiet(total(lanes(form, stored, [scales, biases], input)));
    }
}

/// Computes the lanes of one row of weights with one row of the input.
fn lanes(form: Form, stored: &[u8], [scales, biases]: [&[f32]; 2], input: Row<'_>) -> [f32; CHAINS] {
    let mut lanes = [0.0; CHAINS];
    let nibbles = form.codes.are_nibbles();
    let stored_len = if nibbles { form.group / 2 } else { form.group };
    let mut expanded = [0; MAX_GROUP];
    for (g, stored) in stored.chunks_exact(stored_len).enumerate() {
        let codes = &mut expanded[..form.group];
        if nibbles {
            expand(form.codes, stored, codes);
        } else {
            codes.copy_from_slice(stored);
        }
        let mut sum = input.offsets[g];
        for (i, code) in codes.iter().enumerate() {
            let k = g * form.group + i;
            let at = if nibbles { k / 128 * 128 + k % 2 * 64 + k % 128 / 2 } else { k };
            let integer = match input.low.get(at) {
                Some(low) => i32::from(input.high[at]) * 128 + i32::from(*low),
                None => i32::from(input.high[at]),
            };
            sum += i32::from(*code) * integer;
        }
        let lane = &mut lanes[g % CHAINS];
        *lane = to_float(sum).mul_add(scales[g] * input.scales[g], *lane);
        if let Some(bias) = biases.get(g) {
            *lane = bias.mul_add(input.sums[g], *lane);
        }
    }
    lanes
}

/// Adds the products of a tile with blocks of input rows to the sums of each block.
pub(in crate::matmul) fn many(tile: Tile<'_>, blocks: &[LaneBlock], sums: &mut [Sums]) {
    for (input, sums) in blocks.iter().zip(sums) {
        for (i, scales) in tile.scales.iter().enumerate() {
            let g = tile.first_group + i;
            if g < CHAINS {
                sums[g] = [[0.0; TOKENS]; ROWS];
            }
            for (row, (codes, lanes)) in tile.codes.iter().zip(&mut sums[g % CHAINS]).enumerate() {
                let codes = &codes[i * tile.form.group..(i + 1) * tile.form.group];
                for (token, lane) in lanes.iter_mut().enumerate() {
                    let sum = input.offsets[g][token] + dot(codes, input, g * tile.form.group / 4, token);
                    *lane = to_float(sum).mul_add(scales[row] * input.scales[g][token], *lane);
                    if let Some(biases) = tile.biases.get(i) {
                        *lane = biases[row].mul_add(input.sums[g][token], *lane);
                    }
                }
            }
        }
    }
}

/// Adds up the chains of a block, in the order of the exact path.
///
/// Always inlined, so that it is compiled with the instructions of its caller.
#[inline(always)]
#[expect(clippy::inline_always, reason = "the loops are compiled for several sets of instructions")]
pub(in crate::matmul) fn totals(sums: &Sums) -> Totals {
    let mut totals = [[0.0; ROWS]; TOKENS];
    for row in 0..ROWS {
        let mut chains = sums.map(|rows| rows[row]);
        for width in [8, 4, 2, 1] {
            let (first, second) = chains.split_at_mut(width);
            for (a, b) in first.as_flattened_mut().iter_mut().zip(second.as_flattened()) {
                *a += *b;
            }
        }
        for (totals, total) in totals.iter_mut().zip(chains[0]) {
            totals[row] = quiet(total);
        }
    }
    totals
}

/// The dot product of codes with the integers of one row of a block, from a place that counts four integers each.
fn dot(codes: &[u8], input: &LaneBlock, place: usize, token: usize) -> i32 {
    let mut sum = 0;
    for (i, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
        for (j, code) in codes.iter().enumerate() {
            let high = i32::from(input.high[place + i][token][j]);
            let integer = match input.low.get(place + i) {
                Some(low) => high * 128 + i32::from(low[token][j]),
                None => high,
            };
            sum += i32::from(*code) * integer;
        }
    }
    sum
}

/// Rounds a sum to the nearest number, as the instructions do.
#[expect(clippy::cast_precision_loss, reason = "the rounding is part of the definition")]
fn to_float(sum: i32) -> f32 {
    sum as f32
}
