//! The fast path with NEON: a row of weights with a row of an input, one group at a time.
//!
//! ```text
//! for 16 bytes of codes      nibbles: mask, shift; E2M1: two look-ups more
//!     products of bytes      added in words of 16 bits, which never overflow, then in pairs to 32 bits
//! for each group             a sum across lanes, to f32, scale, bias
//! ```
//!
//! All rows of an input meet the weights one after another here. The other steps are the portable ones, whose loops
//! compilers turn into NEON instructions. Nothing has been measured on hardware.
#![expect(unsafe_code, reason = "calling functions with target features from functions without")]

use std::arch::aarch64::{
    int8x16_t, int32x4_t, uint8x16_t, vaddq_s32, vaddvq_s32, vandq_u8, vdupq_n_s32, vdupq_n_u8, vget_low_s8,
    vget_low_s16, vget_low_u8, vmlal_high_s8, vmlal_high_s16, vmlal_s8, vmlal_s16, vmovl_high_s8, vmovl_high_u8,
    vmovl_s8, vmovl_u8, vmull_s8, vpadalq_s16, vqtbl1q_u8, vreinterpretq_s8_u8, vreinterpretq_s16_u16, vshlq_n_s32,
    vshrq_n_u8,
};

use super::{
    exact::{quiet, total},
    fast::{CHAINS, Codes, E2M1_INTEGERS, Form, Row, Rows},
};

const _: () = assert!(cfg!(target_feature = "neon"), "the target guarantees the instructions of these kernels");

/// Conversion of a vector of stored bytes to integers.
const NIBBLES: u8 = 0;
const E2M1: u8 = 1;
const BYTES: u8 = 2;
const WIDE_BYTES: u8 = 3;

/// Computes `y`: rows of weights with one row of the input.
pub(super) fn one(form: Form, weights: Rows<'_>, input: Row<'_>, y: &mut [f32]) {
    let rows = weights.stored.chunks_exact(weights.stored_len).zip(weights.scales.chunks_exact(weights.padded_groups));
    for (row, ((stored, scales), y)) in rows.zip(y).enumerate() {
        let biases = weights.biases.get(row * weights.padded_groups..).unwrap_or_default();
        let parts = [scales, biases];
        // SAFETY: the function needs NEON. The assertion above proves that the target has it.
        let lanes = unsafe { lanes_of(form, stored, parts, input) };
        *y = quiet(total(lanes));
    }
}

/// Computes the lanes of one row of codes of any form.
#[target_feature(enable = "neon")]
fn lanes_of(form: Form, stored: &[u8], parts: [&[f32]; 2], input: Row<'_>) -> [f32; CHAINS] {
    match form.codes {
        Codes::Nibbles => lanes::<NIBBLES>(form.group, stored, parts, input),
        Codes::E2m1 => lanes::<E2M1>(form.group, stored, parts, input),
        codes if codes.is_wide() => lanes::<WIDE_BYTES>(form.group, stored, parts, input),
        _ => lanes::<BYTES>(form.group, stored, parts, input),
    }
}

/// Computes the lanes of one row of codes of this kind.
#[target_feature(enable = "neon")]
fn lanes<const KIND: u8>(group: usize, stored: &[u8], [scales, biases]: [&[f32]; 2], input: Row<'_>) -> [f32; CHAINS] {
    let is_packed = KIND == NIBBLES || KIND == E2M1;
    let stored_len = if is_packed { group / 2 } else { group };
    let mut lanes = [0.0; CHAINS];
    for (g, stored) in stored.chunks_exact(stored_len).enumerate() {
        let (mut high, mut low) = (vdupq_n_s32(0), vdupq_n_s32(0));
        let first = g * stored_len;
        let (vectors, rest) = stored.as_chunks::<16>();
        for (i, vector) in vectors.iter().enumerate() {
            [high, low] = add::<KIND>([high, low], bytemuck::cast(*vector), input, first + 16 * i);
        }
        let mut sum = input.offsets[g];
        if !rest.is_empty() {
            // Sixteen codes of 4 bits are eight bytes.
            let mut vector = [0; 16];
            vector[..rest.len()].copy_from_slice(rest);
            [high, low] = add_half::<KIND>([high, low], vector, input, first + 16 * vectors.len());
        }
        sum += vaddvq_s32(vaddq_s32(vshlq_n_s32::<7>(high), low));
        let lane = &mut lanes[g % CHAINS];
        *lane = to_float(sum).mul_add(scales[g] * input.scales[g], *lane);
        if let Some(bias) = biases.get(g) {
            *lane = bias.mul_add(input.sums[g], *lane);
        }
    }
    lanes
}

/// Adds the products of sixteen stored bytes from the place `at` on.
#[inline]
#[target_feature(enable = "neon")]
fn add<const KIND: u8>([high, low]: [int32x4_t; 2], stored: uint8x16_t, input: Row<'_>, at: usize) -> [int32x4_t; 2] {
    match KIND {
        NIBBLES | E2M1 => {
            let place = at / 64 * 128 + at % 64;
            let even = integers::<KIND>(vandq_u8(stored, vdupq_n_u8(15)));
            let odd = integers::<KIND>(vshrq_n_u8::<4>(stored));
            let (of_even, of_odd) = (load(input.high, place), load(input.high, place + 64));
            let mut words = vmull_s8(vget_low_s8(even), vget_low_s8(of_even));
            words = vmlal_high_s8(words, even, of_even);
            words = vmlal_s8(words, vget_low_s8(odd), vget_low_s8(of_odd));
            words = vmlal_high_s8(words, odd, of_odd);
            [high, vpadalq_s16(low, words)]
        }
        BYTES => {
            let (codes, integers) = (vreinterpretq_s8_u8(stored), load(input.high, at));
            let words = vmull_s8(vget_low_s8(codes), vget_low_s8(integers));
            [high, vpadalq_s16(low, vmlal_high_s8(words, codes, integers))]
        }
        _ => [wide(high, stored, load(input.high, at)), wide(low, stored, load(input.low, at))],
    }
}

/// As [`add`], of the first eight of sixteen bytes. The others are zeros.
#[inline]
#[target_feature(enable = "neon")]
fn add_half<const KIND: u8>(sums: [int32x4_t; 2], stored: [u8; 16], input: Row<'_>, at: usize) -> [int32x4_t; 2] {
    let place = at / 64 * 128 + at % 64;
    let mut integers = [[0i8; 16]; 2];
    for (integers, from) in integers.iter_mut().zip([place, place + 64]) {
        integers[..8].copy_from_slice(&input.high[from..from + 8]);
    }
    let row = [[integers[0]; 4], [integers[1]; 4]];
    let row = Row { high: row.as_flattened().as_flattened(), ..input };
    add::<KIND>(sums, bytemuck::cast(stored), row, 0)
}

/// Adds products with codes of 8 bits.
#[inline]
#[target_feature(enable = "neon")]
fn wide(sums: int32x4_t, codes: uint8x16_t, integers: int8x16_t) -> int32x4_t {
    let lower = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(codes)));
    let upper = vreinterpretq_s16_u16(vmovl_high_u8(codes));
    let (of_lower, of_upper) = (vmovl_s8(vget_low_s8(integers)), vmovl_high_s8(integers));
    let sums = vmlal_s16(sums, vget_low_s16(lower), vget_low_s16(of_lower));
    let sums = vmlal_high_s16(sums, lower, of_lower);
    let sums = vmlal_s16(sums, vget_low_s16(upper), vget_low_s16(of_upper));
    vmlal_high_s16(sums, upper, of_upper)
}

/// The integers of codes of 4 bits.
#[inline]
#[target_feature(enable = "neon")]
fn integers<const KIND: u8>(codes: uint8x16_t) -> int8x16_t {
    vreinterpretq_s8_u8(if KIND == E2M1 { vqtbl1q_u8(bytemuck::cast(E2M1_INTEGERS), codes) } else { codes })
}

/// Sixteen integers of an input row.
#[inline]
#[target_feature(enable = "neon")]
fn load(of: &[i8], at: usize) -> int8x16_t {
    bytemuck::cast::<[i8; 16], _>(*of[at..].first_chunk().expect("rows of integers are padded to whole vectors"))
}

/// Rounds a sum to the nearest number, as the instructions do.
#[expect(clippy::cast_precision_loss, reason = "the rounding is part of the definition")]
fn to_float(sum: i32) -> f32 {
    sum as f32
}
