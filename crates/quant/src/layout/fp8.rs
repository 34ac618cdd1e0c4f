//! Decodes 8-bit floats with one scale per block, row or tensor.

use super::error::{LayoutError, expect_len, expect_rows, product};
use crate::{
    FloatType,
    portable::{
        e4m3, e8m0,
        element::{Bf16, Element, F16, F32},
        read,
    },
};

/// Group size of mxfp8, in elements.
const GROUP: usize = 32;

/// An 8-bit float type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fp8 {
    /// 4 exponent bits, 3 mantissa bits, no infinity: `F8_E4M3` in safetensors.
    E4m3,
    /// 5 exponent bits, 2 mantissa bits, the upper half of an F16: `F8_E5M2` in safetensors.
    E5m2,
}

impl Fp8 {
    /// Computes the value of each byte.
    fn values(self) -> [f32; 256] {
        let mut values = [0.0; 256];
        for (byte, value) in (0..=u8::MAX).zip(&mut values) {
            match self {
                Self::E4m3 => *value = e4m3::decode(byte),
                Self::E5m2 => F16::read(&[0, byte], std::slice::from_mut(value)),
            }
        }
        values
    }
}

/// Scales of the blocks, row-major, `[ceil(rows / block rows), ceil(columns / block columns)]`. A decoded value is byte
/// × scale, as for `weight_scale` and `weight_scale_inv` in published checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fp8Scales<'a> {
    /// Little-endian floats.
    Float(FloatType, &'a [u8]),
    /// Exponents biased by 127: a byte e stands for 2^(e − 127). Byte 255, which published E8M0 scales use for NaN,
    /// stands for infinity.
    PowerOfTwo(&'a [u8]),
}

impl Fp8Scales<'_> {
    fn bytes(&self) -> (&[u8], usize) {
        match self {
            Self::Float(float, bytes) => (bytes, float.size()),
            Self::PowerOfTwo(bytes) => (bytes, 1),
        }
    }

    fn get(&self, block: usize) -> f32 {
        match self {
            Self::Float(float, bytes) => {
                let mut value = [0.0];
                read(*float, &bytes[block * float.size()..][..float.size()], &mut value);
                value[0]
            }
            Self::PowerOfTwo(bytes) => e8m0::decode(bytes[block]),
        }
    }
}

/// A matrix of 8-bit floats with one scale per block. A block may have any size: a row (scales per channel) or the
/// whole matrix (a scale per tensor). The last block of a row or a column may be incomplete.
#[derive(Clone, Copy, Debug)]
pub struct ScaledFp8<'a> {
    fp8: Fp8,
    shape: [usize; 2],
    block: [usize; 2],
    scales: Fp8Scales<'a>,
}

impl<'a> ScaledFp8<'a> {
    /// Creates a matrix of `shape` (`[rows, columns]`) with a scale for each `block` (`[rows, columns]`).
    ///
    /// # Errors
    ///
    /// [`LayoutError::Dimension`] where a dimension is zero, [`LayoutError::TooLarge`] where a product of dimensions
    /// does not fit in memory, [`LayoutError::Length`] unless there is one scale per block.
    pub fn new(fp8: Fp8, shape: [usize; 2], block: [usize; 2], scales: Fp8Scales<'a>) -> Result<Self, LayoutError> {
        product("the shape", shape)?;
        for dimension in block {
            product("the block", [1, dimension])?;
        }
        let blocks = product("the grid of blocks", [shape[0].div_ceil(block[0]), shape[1].div_ceil(block[1])])?;
        let (bytes, size) = scales.bytes();
        expect_len("scales", product("the grid of blocks", [blocks, size])?, bytes.len())?;
        Ok(Self { fp8, shape, block, scales })
    }

    /// Index of the block that holds an element.
    fn block_of(&self, row: usize, column: usize) -> usize {
        row / self.block[0] * self.shape[1].div_ceil(self.block[1]) + column / self.block[1]
    }

    /// Decodes rows of `src`, starting with row `first` of the matrix: byte × scale in `f32`, rounded to elements of
    /// type `output`. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`LayoutError::PartialRow`] where `src` is not whole rows, [`LayoutError::Rows`] where the rows go beyond the
    /// last one, [`LayoutError::TooLarge`] and [`LayoutError::Length`] unless `out` has exactly the decoded size.
    /// Nothing has been written then.
    pub fn decode_rows(&self, first: usize, src: &[u8], output: FloatType, out: &mut [u8]) -> Result<(), LayoutError> {
        expect_rows("source", self.shape[1], src.len(), first, self.shape[0])?;
        let too_large = LayoutError::TooLarge { what: "the output", factors: [src.len(), output.size()] };
        expect_len("output", src.len().checked_mul(output.size()).ok_or(too_large)?, out.len())?;
        match output {
            FloatType::F32 => self.decode_to::<F32>(first, src, out),
            FloatType::F16 => self.decode_to::<F16>(first, src, out),
            FloatType::BF16 => self.decode_to::<Bf16>(first, src, out),
        }
        Ok(())
    }

    fn decode_to<O: Element>(&self, first: usize, src: &[u8], out: &mut [u8]) {
        const CHUNK: usize = 64;
        let table = self.fp8.values();
        let mut values = [0.0; CHUNK];
        if src.is_empty() {
            // Without a row, the length of a row need not fit in memory, so the slices below could not be cut.
            return;
        }
        let rows = src.chunks_exact(self.shape[1]).zip(out.chunks_exact_mut(self.shape[1] * O::SIZE));
        for (row, (src, out)) in (first..).zip(rows) {
            let blocks = src.chunks(self.block[1]).zip(out.chunks_mut(self.block[1].saturating_mul(O::SIZE)));
            for (block, (src, out)) in (self.block_of(row, 0)..).zip(blocks) {
                let scale = self.scales.get(block);
                for (src, out) in src.chunks(CHUNK).zip(out.chunks_mut(CHUNK * O::SIZE)) {
                    for (value, byte) in values.iter_mut().zip(src) {
                        *value = table[usize::from(*byte)] * scale;
                    }
                    O::write(&values[..src.len()], out);
                }
            }
        }
    }

    /// Writes mxfp8's scales, `[rows, columns / 32]`, for as many rows as `out` holds, starting with row `first`.
    /// Together with the unchanged bytes of the matrix, these scales are the same matrix in mxfp8: nothing is rounded.
    ///
    /// # Errors
    ///
    /// [`LayoutError::Lossy`] for E5M2, and where a group of 32 columns would cross a block;
    /// [`LayoutError::ScaleNotPowerOfTwo`] at the first scale that mxfp8 cannot represent; [`LayoutError::PartialRow`]
    /// and [`LayoutError::Rows`] where `out` does not fit. The scales before the failing one may have been written.
    pub fn mxfp8_scales(&self, first: usize, out: &mut [u8]) -> Result<(), LayoutError> {
        let lossy = |expected, found| Err(LayoutError::Lossy { expected, found });
        if self.fp8 != Fp8::E4m3 {
            return lossy("E4M3", format!("{:?}", self.fp8));
        }
        let [_, columns] = self.shape;
        if !columns.is_multiple_of(GROUP) {
            return lossy("rows of whole groups of 32", format!("{columns} columns"));
        }
        if self.block[1] < columns && !self.block[1].is_multiple_of(GROUP) {
            return lossy("blocks of whole groups of 32", format!("blocks of {} columns", self.block[1]));
        }
        expect_rows("scales", columns / GROUP, out.len(), first, self.shape[0])?;
        for (row, out) in (first..).zip(out.chunks_exact_mut(columns / GROUP)) {
            for (group, out) in out.iter_mut().enumerate() {
                let block = self.block_of(row, group * GROUP);
                let scale = self.scales.get(block);
                *out = exponent(scale).ok_or(LayoutError::ScaleNotPowerOfTwo { block, found: scale })?;
            }
        }
        Ok(())
    }
}

/// Returns the E8M0 code of a power of two, or `None` for any other number.
fn exponent(scale: f32) -> Option<u8> {
    let code = (scale.to_bits() >> 23).to_le_bytes()[0];
    (code < 255 && e8m0::decode(code).to_bits() == scale.to_bits()).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_have_codes() {
        for code in 0..255u8 {
            assert_eq!(exponent(e8m0::decode(code)), Some(code));
            assert_eq!(exponent(e8m0::decode(code) * 1.5), None);
            assert_eq!(exponent(-e8m0::decode(code)), None);
        }
        for value in [0.0, f32::INFINITY, f32::NAN, f32::from_bits(1 << 21)] {
            assert_eq!(exponent(value), None);
        }
    }
}
