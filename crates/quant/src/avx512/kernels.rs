//! Implements [`Kernels`] with the kernels of this module and those of AVX2.
//!
//! The functions here call code that is compiled with more instructions than the target guarantees. They are private
//! and leave this module only through methods of [`Avx512`], which exists only where the instructions have been detected.
#![expect(unsafe_code, reason = "calling functions with target features from functions without")]

use super::{Avx512, affine_decode, bf16_decode};
use crate::{
    FloatType,
    kernels::Kernels,
    portable::{self, DecodeKernel, EncodeKernel, Params, block_decode::Codec, element::Element},
    search::{SearchKernel, block::Block},
};

fn decode_affine<S: Element, A: Element, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    // SAFETY: this is reached only through an `Avx512`, which exists only where these instructions have been detected.
    unsafe { affine_decode::decode::<S, A, O, BITS>(params, weight, scale, bias, out) }
}

fn decode_bf16(params: &Params<f32>, weight: &[u8], scale: &[u8], bias: &[u8], out: &mut [u8]) {
    // SAFETY: this is reached only through an `Avx512` that has found the conversions to BF16, too.
    unsafe { bf16_decode::decode(params, weight, scale, bias, out) }
}

impl Kernels for Avx512 {
    fn affine<R: portable::affine::Rule, T: Element, const BITS: usize>(self) -> EncodeKernel {
        self.avx2().affine::<R, T, BITS>()
    }

    fn nvfp4<R: portable::nvfp4::Rule, T: Element>(self) -> EncodeKernel {
        self.avx2().nvfp4::<R, T>()
    }

    fn mx<R: portable::mx::Rule, C: portable::mx::Code, T: Element>(self) -> EncodeKernel {
        self.avx2().mx::<R, C, T>()
    }

    fn affine_decode<S: Element, A: Element, O: Element, const BITS: usize>(self) -> DecodeKernel {
        let is_bf16 = [S::FLOAT, A::FLOAT, O::FLOAT] == [FloatType::BF16; 3];
        if BITS == 8 && is_bf16 && self.has_bf16 {
            decode_bf16
        } else if BITS == 8 || BITS == 4 && O::SIZE == 2 {
            decode_affine::<S, A, O, BITS>
        } else {
            self.avx2().affine_decode::<S, A, O, BITS>()
        }
    }

    fn block_decode<C: Codec, O: Element, const BITS: usize>(self) -> DecodeKernel {
        self.avx2().block_decode::<C, O, BITS>()
    }

    fn affine_search<T: Element, const BITS: usize>(self) -> SearchKernel {
        self.avx2().affine_search::<T, BITS>()
    }

    fn block_search<B: Block, T: Element>(self) -> SearchKernel {
        self.avx2().block_search::<B, T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::portable::{affine, element::Bf16};

    /// Scales and biases of all exponents, subnormal and not finite ones among them, and the values around the least.
    fn parts(count: usize, seed: u64) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u16::try_from(state >> 48).expect("sixteen bits")
        };
        let mut halves = |_| match next() % 8 {
            0 => [0x0000, 0x8000, 0x7F80, 0xFF80, 0x7FC0, 0x7F7F, 0x0001, 0x8001][usize::from(next() % 8)],
            // From 2^-101 to 2^-99.
            1 => 0x0D00 + next() % 0x100,
            2 => next() % 0x80,
            _ => next(),
        };
        let [scale, bias] = [0, 1].map(|_| (0..count).flat_map(|at| halves(at).to_le_bytes()).collect());
        let weight = (0..count * 64).map(|_| next().to_le_bytes()[0]).collect();
        (weight, scale, bias)
    }

    #[test]
    fn conversions_of_the_processor_round_as_integers_do() {
        let Some(avx512) = Avx512::detect() else { return };
        for (seed, streams) in [(1, false), (2, true), (3, false)] {
            let count = 4096;
            let (weight, scale, bias) = parts(count, seed);
            let params = Params { group: 64, global: None, streams };
            let mut expected = vec![0; count * 128];
            affine::decode::<Bf16, Bf16, Bf16, 8>(&params, &weight, &scale, &bias, &mut expected);
            let check = |decode: DecodeKernel, what: &str| {
                let mut found = vec![0_u8; count * 128 + 64];
                // An output that no vector is aligned to, and one that all are.
                for shift in [1, found.as_ptr().align_offset(64)] {
                    let found = &mut found[shift..][..count * 128];
                    decode(&params, &weight, &scale, &bias, found);
                    let wrong = found.iter().zip(&expected).position(|(a, b)| a != b);
                    assert_eq!(wrong.map(|at| at / 128), None, "{what}, group");
                }
            };
            check(decode_affine::<Bf16, Bf16, Bf16, 8>, "integers");
            if avx512.has_bf16 {
                check(decode_bf16, "conversions");
            }
        }
    }
}
