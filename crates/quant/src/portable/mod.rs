//! The portable kernels: safe Rust with few branches that compilers vectorise. They are the reference for every faster
//! kernel.
//!
//! A kernel works on whole groups. Its caller, [`Encoder`](crate::Encoder) or [`Decoder`](crate::Decoder), has checked
//! the lengths. Kernels are monomorphic over the element type, the code width and the profile's arithmetic.

pub(crate) mod affine;
pub(crate) mod bits;
pub(crate) mod block_decode;
pub(crate) mod e2m1;
pub(crate) mod e4m3;
pub(crate) mod e8m0;
pub(crate) mod element;
pub(crate) mod group;
pub(crate) mod mx;
pub(crate) mod nvfp4;

use element::Element;

use crate::{EncodeBuffers, EncodeStats, FloatType, GlobalScale, kernels::Kernels};

/// Largest number of elements in a group of any scheme.
pub(crate) const MAX_GROUP: usize = 128;

/// Parameters of a kernel that are not in its type: elements per group, the global scale of nvfp4 in the form that
/// encoding or decoding needs, and whether the whole output is so large that a decoder may write it past the caches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params<G> {
    pub(crate) group: usize,
    pub(crate) global: Option<G>,
    #[allow(dead_code, reason = "only the kernels with intrinsics ask")]
    pub(crate) streams: bool,
}

/// Encodes whole groups.
pub(crate) type EncodeKernel = fn(params: &Params<GlobalScale>, src: &[u8], out: EncodeBuffers<'_>) -> EncodeStats;

/// Decodes whole groups from weight, scale and bias to `out`.
pub(crate) type DecodeKernel = fn(params: &Params<f32>, weight: &[u8], scale: &[u8], bias: &[u8], out: &mut [u8]);

/// The kernels of this module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

impl Kernels for Portable {
    fn affine<R: affine::Rule, T: Element, const BITS: usize>(self) -> EncodeKernel {
        affine::encode::<R, T, BITS>
    }

    fn nvfp4<R: nvfp4::Rule, T: Element>(self) -> EncodeKernel {
        nvfp4::encode::<R, T>
    }

    fn mx<R: mx::Rule, C: mx::Code, T: Element>(self) -> EncodeKernel {
        mx::encode::<R, C, T>
    }

    fn affine_decode<S: Element, A: Element, O: Element, const BITS: usize>(self) -> DecodeKernel {
        affine::decode::<S, A, O, BITS>
    }

    fn block_decode<C: block_decode::Codec, O: Element, const BITS: usize>(self) -> DecodeKernel {
        block_decode::decode::<C, O, BITS>
    }
}

/// Reads `out.len()` elements of type `float`.
#[inline]
pub(crate) fn read(float: FloatType, src: &[u8], out: &mut [f32]) {
    match float {
        FloatType::F32 => element::F32::read(src, out),
        FloatType::F16 => element::F16::read(src, out),
        FloatType::BF16 => element::Bf16::read(src, out),
    }
}

/// Rounds values to elements of type `float` and writes them.
pub(crate) fn write(float: FloatType, values: &[f32], out: &mut [u8]) {
    match float {
        FloatType::F32 => element::F32::write(values, out),
        FloatType::F16 => element::F16::write(values, out),
        FloatType::BF16 => element::Bf16::write(values, out),
    }
}
