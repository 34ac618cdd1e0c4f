//! The reference of the fast path.

use super::{CHAINS, Codes, Form, Group, LaneBlock, Row, Rows, Sums, TOKENS, form::E2M1_INTEGERS};
use crate::portable::{MAX_GROUP, bits};

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
        Codes::Packed(_) | Codes::Bytes => out.copy_from_slice(stored),
    }
}

/// Computes the lanes of one row of weights with one row of the input.
pub(in crate::matmul) fn one(form: Form, weights: Group<'_>, input: Row<'_>) -> [f32; CHAINS] {
    let mut lanes = [0.0; CHAINS];
    let nibbles = form.codes.are_nibbles();
    let stored_len = if nibbles { form.group / 2 } else { form.group };
    let mut expanded = [0; MAX_GROUP];
    for (g, stored) in weights.stored.chunks_exact(stored_len).enumerate() {
        let codes = &mut expanded[..form.group];
        if nibbles {
            expand(form.codes, stored, codes);
        } else {
            codes.copy_from_slice(stored);
        }
        let mut sum = -input.offsets[g];
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
        *lane = to_float(sum).mul_add(weights.scales[g] * input.scales[g], *lane);
        if let Some(bias) = weights.biases.get(g) {
            *lane = bias.mul_add(input.sums[g], *lane);
        }
    }
    lanes
}

/// Computes the sums of rows of weights with a block of input rows.
pub(in crate::matmul) fn many(form: Form, weights: Rows<'_>, input: &LaneBlock, sums: &mut Sums) {
    let quads = form.group / 4;
    for (row, sums) in sums.iter_mut().enumerate() {
        *sums = [[0.0; TOKENS]; CHAINS];
        let codes = &weights.codes[row * weights.columns..][..weights.columns];
        for (g, codes) in codes.chunks_exact(form.group).enumerate() {
            let at = row * weights.padded_groups + g;
            for token in 0..TOKENS {
                let mut sum = -input.offsets[g][token];
                for (i, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
                    for (j, code) in codes.iter().enumerate() {
                        let high = i32::from(input.high[g * quads + i][token][j]);
                        let integer = match input.low.get(g * quads + i) {
                            Some(low) => high * 128 + i32::from(low[token][j]),
                            None => high,
                        };
                        sum += i32::from(*code) * integer;
                    }
                }
                let lane = &mut sums[g % CHAINS][token];
                *lane = to_float(sum).mul_add(weights.scales[at] * input.scales[g][token], *lane);
                if let Some(bias) = weights.biases.get(at) {
                    *lane = bias.mul_add(input.sums[g][token], *lane);
                }
            }
        }
    }
}

/// Rounds a sum to the nearest number, as the instructions do.
#[expect(clippy::cast_precision_loss, reason = "the rounding is part of the definition")]
fn to_float(sum: i32) -> f32 {
    sum as f32
}
