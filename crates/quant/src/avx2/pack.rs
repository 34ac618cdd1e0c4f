//! Converts codes to and from the bit stream of [`portable::bits`](crate::portable), a vector at a time.
//!
//! Packing joins neighbours as the portable packer does. Each step is one multiply-and-add: `a + b × 2^BITS` on pairs
//! of bytes, then `a + b × 4^BITS` on pairs of those. Unpacking brings the two bytes that hold a code into a lane of
//! its own with one shuffle, and shifts each lane by its own count. That serves every width alike.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_set_epi64x, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_castsi256_si128,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_min_epu8, _mm256_or_si256, _mm256_packus_epi16,
    _mm256_permute4x64_epi64, _mm256_permutevar8x32_epi32, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_epi64x, _mm256_setr_epi32, _mm256_shuffle_epi8, _mm256_slli_epi64, _mm256_srli_epi64,
    _mm256_srlv_epi32,
};

use super::element::write;

/// Largest code of `bits` bits, as a signed byte.
const fn top(bits: usize) -> i8 {
    (u8::MAX >> (8 - bits)).cast_signed()
}

/// Packs two vectors of sixteen words into bytes, saturated to `[0, 255]`. The result has eight bytes of the first
/// vector, eight of the second, and once more eight of each.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn bytes(first: __m256i, second: __m256i) -> __m256i {
    _mm256_packus_epi16(first, second)
}

/// Packs 32 codes in the order of [`bytes`], clamped to what `BITS` bits hold, into the first 4 × `BITS` bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn pack<const BITS: usize>(codes: __m256i, out: &mut [u8]) {
    if BITS == 8 {
        write::<32, _>(_mm256_permute4x64_epi64::<0b11_01_10_00>(codes), out);
        return;
    }
    let codes = _mm256_min_epu8(codes, _mm256_set1_epi8(top(BITS)));
    let pair = _mm256_maddubs_epi16(codes, _mm256_set1_epi16(1 | 1 << (8 + BITS)));
    if BITS == 4 {
        let packed = _mm256_packus_epi16(pair, pair);
        let ordered = _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 0, 4, 1, 5));
        write::<16, _>(_mm256_castsi256_si128(ordered), out);
        return;
    }
    // Joins four codes into a lane of 32 bits, then eight into a lane of 64 bits.
    let four = _mm256_madd_epi16(pair, _mm256_set1_epi32(1 | 1 << (16 + 2 * BITS)));
    let four = _mm256_permute4x64_epi64::<0b11_01_10_00>(four);
    let low = _mm256_and_si256(four, _mm256_set1_epi64x(0xFFFF_FFFF));
    let high = _mm256_srli_epi64::<32>(four);
    let high = match BITS {
        2 => _mm256_slli_epi64::<8>(high),
        3 => _mm256_slli_epi64::<12>(high),
        5 => _mm256_slli_epi64::<20>(high),
        _ => _mm256_slli_epi64::<24>(high),
    };
    let eight = bytemuck::cast::<__m256i, [[u8; 8]; 4]>(_mm256_or_si256(low, high));
    for (eight, out) in eight.iter().zip(out.as_chunks_mut::<BITS>().0) {
        out.copy_from_slice(&eight[..BITS]);
    }
}

/// Sixteen codes, each in a lane of 32 bits, in the order of [`Sixteen`](super::element::Sixteen).
#[derive(Clone, Copy)]
pub(super) struct Codes {
    pub(super) low: __m256i,
    pub(super) high: __m256i,
}

/// Tables for one of the two vectors: for each lane, the bytes that it takes from a run of sixteen codes, and its
/// shift. The first half of the vector holds the codes from `from` to `from + 3`, the second half the codes eight
/// further on.
const fn lanes(bits: usize, from: usize) -> ([u8; 32], [u32; 8]) {
    let (mut bytes, mut shifts) = ([0x80; 32], [0; 8]);
    let mut lane = 0;
    while lane < 8 {
        let bit = (from + lane + if lane < 4 { 0 } else { 4 }) * bits;
        #[expect(clippy::cast_possible_truncation, reason = "sixteen codes are at most 128 bits")]
        {
            bytes[4 * lane] = (bit / 8) as u8;
            if bit % 8 + bits > 8 {
                bytes[4 * lane + 1] = (bit / 8 + 1) as u8;
            }
            shifts[lane] = (bit % 8) as u32;
        }
        lane += 1;
    }
    (bytes, shifts)
}

/// Unpacks the sixteen codes in the first 2 × `BITS` bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn unpack<const BITS: usize>(packed: &[u8]) -> Codes {
    let stream = _mm256_broadcastsi128_si256(run::<BITS>(packed));
    let mask = _mm256_set1_epi32(i32::from(u8::MAX >> (8 - BITS)));
    let take = |(bytes, shifts): ([u8; 32], [u32; 8])| {
        let lanes = _mm256_shuffle_epi8(stream, bytemuck::cast::<_, __m256i>(bytes));
        if BITS == 8 {
            return lanes;
        }
        _mm256_and_si256(_mm256_srlv_epi32(lanes, bytemuck::cast::<_, __m256i>(shifts)), mask)
    };
    Codes { low: take(const { lanes(BITS, 0) }), high: take(const { lanes(BITS, 4) }) }
}

/// Loads the first 2 × `BITS` bytes, followed by zeros.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn run<const BITS: usize>(packed: &[u8]) -> __m128i {
    let word = |from: usize, len: usize| {
        let mut word = [0; 8];
        word[..len].copy_from_slice(&packed[from..from + len]);
        u64::from_le_bytes(word).cast_signed()
    };
    if BITS > 4 { _mm_set_epi64x(word(8, 2 * BITS - 8), word(0, 8)) } else { _mm_set_epi64x(0, word(0, 2 * BITS)) }
}
