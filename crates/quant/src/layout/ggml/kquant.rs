//! Blocks of 256 elements, whose groups of 16 or 32 have small integer scales, and minima in some types.

use super::{
    block::{field, half, short},
    legacy::{STEPS, nibbles, signed},
};

/// Where the codes of a group of 16 lie in the types that interleave codes of two bits. Element 128h + 32s + i has the
/// bits from 2s on of byte 32h + i.
struct Place {
    /// Half of the block.
    half: usize,
    /// Selection of the codes of the bytes.
    slot: usize,
    /// First byte of the group within the 32 of its half.
    from: usize,
}

impl Place {
    #[inline(always)]
    fn of(group: usize) -> Self {
        Self { half: group / 8, slot: group / 2 % 4, from: group % 2 * 16 }
    }

    /// The bytes of the group.
    #[inline(always)]
    fn bytes<'a>(&self, packed: &'a [u8; 64]) -> &'a [u8; 16] {
        field(packed, 32 * self.half + self.from)
    }
}

#[inline(always)]
pub(crate) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, codes) = (field::<16>(block, 0), field::<64>(block, 16));
    let (d, dmin) = (half(block, 80), half(block, 82));
    for (group, (out, scale)) in out.as_chunks_mut::<16>().0.iter_mut().zip(scales).enumerate() {
        let (scale, min) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        let place = Place::of(group);
        for (out, byte) in out.iter_mut().zip(place.bytes(codes)) {
            *out = scale * f32::from(byte >> (2 * place.slot) & 3) - min;
        }
    }
}

/// The sixteen scales of `Q3_K`: 6 bits each, offset by 32.
#[inline(always)]
fn scales_of_q3(packed: &[u8; 12]) -> [i8; 16] {
    std::array::from_fn(|k| {
        let low = if k < 8 { packed[k] & 15 } else { packed[k - 8] >> 4 };
        let high = packed[8 + k % 4] >> (2 * (k / 4)) & 3;
        (low | high << 4).cast_signed() - 32
    })
}

#[inline(always)]
pub(crate) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let (high, codes) = (field::<32>(block, 0), field::<64>(block, 32));
    let (scales, d) = (scales_of_q3(field(block, 96)), half(block, 108));
    for (group, (out, scale)) in out.as_chunks_mut::<16>().0.iter_mut().zip(scales).enumerate() {
        let (scale, place) = (d * f32::from(scale), Place::of(group));
        let high = field::<16>(high, place.from);
        for (out, (byte, high)) in out.iter_mut().zip(place.bytes(codes).iter().zip(high)) {
            let (low, high) = (byte >> (2 * place.slot) & 3, high >> (4 * place.half + place.slot) & 1);
            *out = scale * f32::from((low | high << 2).cast_signed() - 4);
        }
    }
}

/// The scales and the minima of the eight groups of `Q4_K` and `Q5_K`: 6 bits each.
#[inline(always)]
pub(crate) fn pairs(packed: &[u8; 12]) -> [[u8; 2]; 8] {
    std::array::from_fn(|j| {
        if j < 4 {
            [packed[j] & 63, packed[j + 4] & 63]
        } else {
            [packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4]
        }
    })
}

#[inline(always)]
pub(crate) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let pairs = pairs(field(block, 4)).map(|[scale, min]| [d * f32::from(scale), dmin * f32::from(min)]);
    let codes = field::<128>(block, 16).as_chunks::<32>().0;
    for ((out, codes), pairs) in out.as_chunks_mut::<64>().0.iter_mut().zip(codes).zip(pairs.as_chunks::<2>().0) {
        let (low, high) = out.split_at_mut(32);
        let [[scale, min], [high_scale, high_min]] = *pairs;
        for ((byte, low), high) in codes.iter().zip(low).zip(high) {
            *low = scale * f32::from(byte & 15) - min;
            *high = high_scale * f32::from(byte >> 4) - high_min;
        }
    }
}

#[inline(always)]
pub(crate) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    let pairs = pairs(field(block, 4)).map(|[scale, min]| [d * f32::from(scale), dmin * f32::from(min)]);
    let (fifth, codes) = (field::<32>(block, 16), field::<128>(block, 48).as_chunks::<32>().0);
    let parts = codes.iter().zip(pairs.as_chunks::<2>().0);
    for (k, (out, (codes, pairs))) in out.as_chunks_mut::<64>().0.iter_mut().zip(parts).enumerate() {
        let (low, high) = out.split_at_mut(32);
        let [[scale, min], [high_scale, high_min]] = *pairs;
        for (((byte, fifth), low), high) in codes.iter().zip(fifth).zip(low).zip(high) {
            let fifth = fifth >> (2 * k);
            *low = scale * f32::from(byte & 15 | (fifth & 1) << 4) - min;
            *high = high_scale * f32::from(byte >> 4 | (fifth >> 1 & 1) << 4) - high_min;
        }
    }
}

#[inline(always)]
pub(crate) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (low, high) = (field::<128>(block, 0), field::<64>(block, 128));
    let (scales, d) = (field::<16>(block, 192), half(block, 208));
    for (group, (out, scale)) in out.as_chunks_mut::<16>().0.iter_mut().zip(scales).enumerate() {
        let (scale, place) = (d * f32::from(scale.cast_signed()), Place::of(group));
        let low = field::<16>(low, 64 * place.half + 32 * (place.slot % 2) + place.from);
        for (out, (low, high)) in out.iter_mut().zip(low.iter().zip(place.bytes(high))) {
            let code = low >> (4 * (place.slot / 2)) & 15 | (high >> (2 * place.slot) & 3) << 4;
            *out = scale * f32::from(code.cast_signed() - 32);
        }
    }
}

/// The sums of the groups, at 260, are for products with activations.
#[inline(always)]
pub(crate) fn q8_k(block: &[u8; 292], out: &mut [f32; 256]) {
    signed(field::<256>(block, 4), f32::from_le_bytes(*field(block, 0)), out);
}

#[inline(always)]
pub(crate) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (d, high, low) = (half(block, 0), short(block, 2), u32::from_le_bytes(*field(block, 4)));
    let groups = field::<128>(block, 8).as_chunks::<16>().0;
    for (group, (out, codes)) in out.as_chunks_mut::<32>().0.iter_mut().zip(groups).enumerate() {
        let [low, ..] = (low >> (4 * group) & 15).to_le_bytes();
        let [high, _] = (high >> (2 * group) & 3).to_le_bytes();
        let scale = d * f32::from((low | high << 4).cast_signed() - 32);
        nibbles(codes, out, |q| scale * f32::from(STEPS[usize::from(q)]));
    }
}
