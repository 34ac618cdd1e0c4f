//! Implements [`Kernels`] with the kernels of this module.
//!
//! The functions here call code that is compiled with named target features.
#![expect(unsafe_code, reason = "calling functions with target features from functions without")]

use super::{affine, affine_decode, block_decode, mx, nvfp4};
use crate::{
    EncodeBuffers, EncodeStats, GlobalScale,
    kernels::Kernels,
    portable::{self, DecodeKernel, EncodeKernel, Params, block_decode::Codec, element::Element},
};

const _: () = assert!(cfg!(target_feature = "neon"), "the target guarantees the instructions of these kernels");

fn encode_affine<R: portable::affine::Rule, T: Element, const BITS: usize>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: the function needs NEON. The assertion above proves that the target has it.
    unsafe { affine::encode::<R, T, BITS>(params, src, out) }
}

fn encode_nvfp4<R: portable::nvfp4::Rule, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: the function needs NEON. The assertion above proves that the target has it.
    unsafe { nvfp4::encode::<R, T>(params, src, out) }
}

fn encode_mx<R: portable::mx::Rule, C: portable::mx::Code, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: the function needs NEON. The assertion above proves that the target has it.
    unsafe { mx::encode::<R, C, T>(params, src, out) }
}

fn decode_affine<S: Element, A: Element, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    // SAFETY: the function needs NEON. The assertion above proves that the target has it.
    unsafe { affine_decode::decode::<S, A, O, BITS>(params, weight, scale, bias, out) }
}

fn decode_block<C: Codec, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    // SAFETY: the function needs NEON. The assertion above proves that the target has it.
    unsafe { block_decode::decode::<C, O, BITS>(params, weight, scale, bias, out) }
}

/// The kernels of this module. Unlike `Avx2`, it proves nothing: every machine of the target has NEON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon;

impl Kernels for Neon {
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
}
