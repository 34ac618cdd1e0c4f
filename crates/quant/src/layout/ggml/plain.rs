//! Elements that are stored one by one. Those that an `f32` cannot hold are rounded to nearest, ties to even.
#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "rounding is what is wanted")]

use crate::portable::element::{bf16_to_f32, f16_to_f32};

#[inline(always)]
pub(crate) fn f32(element: &[u8; 4], out: &mut [f32; 1]) {
    *out = [f32::from_le_bytes(*element)];
}

#[inline(always)]
pub(crate) fn f16(element: &[u8; 2], out: &mut [f32; 1]) {
    *out = [f16_to_f32(u16::from_le_bytes(*element))];
}

#[inline(always)]
pub(crate) fn bf16(element: &[u8; 2], out: &mut [f32; 1]) {
    *out = [bf16_to_f32(u16::from_le_bytes(*element))];
}

#[inline(always)]
pub(crate) fn f64(element: &[u8; 8], out: &mut [f32; 1]) {
    *out = [f64::from_le_bytes(*element) as f32];
}

#[inline(always)]
pub(crate) fn i8(element: &[u8; 1], out: &mut [f32; 1]) {
    *out = [f32::from(i8::from_le_bytes(*element))];
}

#[inline(always)]
pub(crate) fn i16(element: &[u8; 2], out: &mut [f32; 1]) {
    *out = [f32::from(i16::from_le_bytes(*element))];
}

#[inline(always)]
pub(crate) fn i32(element: &[u8; 4], out: &mut [f32; 1]) {
    *out = [i32::from_le_bytes(*element) as f32];
}

#[inline(always)]
pub(crate) fn i64(element: &[u8; 8], out: &mut [f32; 1]) {
    *out = [i64::from_le_bytes(*element) as f32];
}
