//! Blocks of E2M1 codes under a scale of 8 bits.

use super::{block::field, legacy::nibbles};

/// Twice the value of each E2M1 code. There is no negative zero.
pub(crate) const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half of an E8M0 scale: 2^(code − 128). The code 255 is no NaN here.
#[inline(always)]
pub(crate) fn half_of_e8m0(code: u8) -> f32 {
    f32::from_bits(match code {
        0 => 1 << 21,
        1 => 1 << 22,
        _ => (u32::from(code) - 1) << 23,
    })
}

/// Half of an unsigned E4M3 scale. The sign bit is ignored, and 0x7F is zero; hence 0xFF is 480.
#[inline(always)]
pub(crate) fn half_of_e4m3(code: u8) -> f32 {
    if code == 0x7F {
        return 0.0;
    }
    let code = code & 0x7F;
    // A product with a subnormal number of F32 would take a hundred times as long as one without.
    if code < 8 { f32::from(code) / 1024.0 } else { f32::from_bits((u32::from(code) << 20) + (119 << 23)) }
}

#[inline(always)]
pub(crate) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    let scale = half_of_e8m0(block[0]);
    nibbles(field::<16>(block, 1), out, |q| f32::from(DOUBLED[usize::from(q)]) * scale);
}

#[inline(always)]
pub(crate) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    let groups = field::<32>(block, 4).as_chunks::<8>().0;
    for ((out, codes), scale) in out.as_chunks_mut::<16>().0.iter_mut().zip(groups).zip(field::<4>(block, 0)) {
        let scale = half_of_e4m3(*scale);
        nibbles(codes, out, |q| f32::from(DOUBLED[usize::from(q)]) * scale);
    }
}
