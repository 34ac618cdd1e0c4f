//! Implements [`Kernels`] with the kernels of this module and those of AVX2.
//!
//! The functions here call code that is compiled with more instructions than the target guarantees. They are private
//! and leave this module only through methods of [`Avx512`], which exists only where the instructions have been detected.
#![expect(unsafe_code, reason = "calling functions with target features from functions without")]

use super::{Avx512, affine_decode};
use crate::{
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
        if BITS == 8 || BITS == 4 && O::SIZE == 2 {
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
