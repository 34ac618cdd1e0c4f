//! Fields of a block, and the loop over blocks.

use crate::portable::element::f16_to_f32;

/// The `N` bytes of a block from `at` on.
#[inline(always)]
pub(crate) fn field<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("the fields of a block lie in it")
}

/// The F16 of a block at `at`.
#[inline(always)]
pub(crate) fn half(block: &[u8], at: usize) -> f32 {
    f16_to_f32(short(block, at))
}

/// The 16-bit number of a block at `at`.
#[inline(always)]
pub(crate) fn short(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*field(block, at))
}

/// Decodes whole blocks, one after the other.
#[inline(always)]
pub(crate) fn each<const BYTES: usize, const LEN: usize>(
    bytes: &[u8],
    out: &mut [f32],
    one: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    for (block, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        one(block, out);
    }
}
