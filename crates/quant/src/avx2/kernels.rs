//! Implements [`Kernels`] with the kernels of this module.
//!
//! The functions here call code that is compiled with more instructions than the target guarantees. They are private
//! and leave this module only through methods of [`Avx2`], which exists only where the instructions have been detected.
#![expect(unsafe_code, reason = "calling functions with target features from functions without")]

use super::{Avx2, affine, affine_decode, block_decode, measure, mx, nvfp4, search};
use crate::{
    EncodeBuffers, EncodeStats, ErrorMeasure, GlobalScale, Importance,
    kernels::Kernels,
    portable::{self, DecodeKernel, EncodeKernel, Params, block_decode::Codec, element::Element},
    search::{SearchKernel, block::Block},
};

fn encode_affine<R: portable::affine::Rule, T: Element, const BITS: usize>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: this is reached only through an `Avx2`, which exists only where avx2, fma and f16c have been detected.
    unsafe { affine::encode::<R, T, BITS>(params, src, out) }
}

fn encode_nvfp4<R: portable::nvfp4::Rule, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: this is reached only through an `Avx2`, which exists only where avx2, fma and f16c have been detected.
    unsafe { nvfp4::encode::<R, T>(params, src, out) }
}

fn encode_mx<R: portable::mx::Rule, C: portable::mx::Code, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: this is reached only through an `Avx2`, which exists only where avx2, fma and f16c have been detected.
    unsafe { mx::encode::<R, C, T>(params, src, out) }
}

fn search_affine<T: Element, const BITS: usize>(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: this is reached only through an `Avx2`, which exists only where avx2, fma and f16c have been detected.
    unsafe { search::encode_affine::<T, BITS>(params, importance, src, out) }
}

fn search_block<B: Block, T: Element>(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: this is reached only through an `Avx2`, which exists only where avx2, fma and f16c have been detected.
    unsafe { search::encode_block::<B, T>(params, importance, src, out) }
}

fn decode_affine<S: Element, A: Element, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    // SAFETY: this is reached only through an `Avx2`, which exists only where avx2, fma and f16c have been detected.
    unsafe { affine_decode::decode::<S, A, O, BITS>(params, weight, scale, bias, out) }
}

fn decode_block<C: Codec, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    // SAFETY: this is reached only through an `Avx2`, which exists only where avx2, fma and f16c have been detected.
    unsafe { block_decode::decode::<C, O, BITS>(params, weight, scale, bias, out) }
}

#[expect(clippy::unused_self, reason = "holding it is the proof that the kernels may run")]
impl Avx2 {
    /// Adds whole groups to a measure.
    pub(crate) fn measure(self, of: &mut ErrorMeasure, numbers: [&[f32]; 2], group: usize) {
        // SAFETY: `self` exists only where avx2 has been detected.
        unsafe { measure::add(of, numbers, group) }
    }
}

impl Kernels for Avx2 {
    fn affine<R: portable::affine::Rule, T: Element, const BITS: usize>(self) -> EncodeKernel {
        encode_affine::<R, T, BITS>
    }

    fn nvfp4<R: portable::nvfp4::Rule, T: Element>(self) -> EncodeKernel {
        encode_nvfp4::<R, T>
    }

    fn mx<R: portable::mx::Rule, C: portable::mx::Code, T: Element>(self) -> EncodeKernel {
        encode_mx::<R, C, T>
    }

    fn affine_decode<S: Element, A: Element, O: Element, const BITS: usize>(self) -> DecodeKernel {
        decode_affine::<S, A, O, BITS>
    }

    fn block_decode<C: Codec, O: Element, const BITS: usize>(self) -> DecodeKernel {
        decode_block::<C, O, BITS>
    }

    fn affine_search<T: Element, const BITS: usize>(self) -> SearchKernel {
        search_affine::<T, BITS>
    }

    fn block_search<B: Block, T: Element>(self) -> SearchKernel {
        search_block::<B, T>
    }
}
