//! Decodes codes of up to four bits to 16-bit values by look-up, in a table of the values' low bytes and one of their
//! high bytes.

use std::arch::aarch64::{
    uint8x16_t, uint16x8_t, vqtbl1q_u8, vreinterpretq_u8_u16, vuzp1q_u8, vuzp2q_u8, vzip1q_u8, vzip2q_u8,
};

use super::element::write;

/// Values of the codes 0 to 15, split into low and high bytes.
#[derive(Clone, Copy)]
pub(super) struct Table {
    low: uint8x16_t,
    high: uint8x16_t,
}

impl Table {
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn new(values: [uint16x8_t; 2]) -> Self {
        let [first, second] = values.map(|values| vreinterpretq_u8_u16(values));
        Self { low: vuzp1q_u8(first, second), high: vuzp2q_u8(first, second) }
    }

    /// Looks up the values of sixteen codes.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn look_up(self, codes: uint8x16_t) -> [uint8x16_t; 2] {
        let (low, high) = (vqtbl1q_u8(self.low, codes), vqtbl1q_u8(self.high, codes));
        [vzip1q_u8(low, high), vzip2q_u8(low, high)]
    }

    /// Writes the values of sixteen codes.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(super) fn write(self, codes: uint8x16_t, out: &mut [u8]) {
        write::<32, _>(self.look_up(codes), out);
    }
}
