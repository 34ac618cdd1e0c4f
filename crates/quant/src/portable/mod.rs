//! The portable kernels: safe, branch-light Rust that compilers vectorise, and the oracle for every faster path.
//!
//! A kernel works on whole groups and trusts its caller, [`Encoder`](crate::Encoder) or
//! [`Decoder`](crate::Decoder), to have checked the lengths. Kernels are monomorphic over the element type, the code
//! width and the profile's arithmetic; `encoder` and `decoder` look one up once, so that nothing is chosen per group.

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

use crate::{EncodeBuffers, EncodeStats, FloatType, Format, GlobalScale, Profile, Scheme};

/// The most elements that a group of any scheme has.
pub(crate) const MAX_GROUP: usize = 128;

/// What a kernel must know that is not in its type: elements per group, and the global scale of nvfp4, in the form that
/// the direction needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Params<G> {
    pub(crate) group: usize,
    pub(crate) global: Option<G>,
}

/// Encodes whole groups.
pub(crate) type EncodeKernel = fn(params: &Params<GlobalScale>, src: &[u8], out: EncodeBuffers<'_>) -> EncodeStats;

/// Decodes whole groups: weight, scale, bias, the output.
pub(crate) type DecodeKernel = fn(params: &Params<f32>, weight: &[u8], scale: &[u8], bias: &[u8], out: &mut [u8]);

/// The encode kernel for elements of type `float`, if there is one.
pub(crate) fn encoder(scheme: Scheme, float: FloatType, profile: Profile) -> Option<EncodeKernel> {
    match profile {
        Profile::Mlx => encoder_of::<group::Mlx>(scheme, float),
        Profile::MlxMetal => encoder_of::<group::MlxMetal>(scheme, float),
        Profile::Plus => encoder_of::<group::Plus>(scheme, float),
        // That is a search.
        Profile::Best => None,
    }
}

fn encoder_of<R: affine::Rule + nvfp4::Rule + mx::Rule>(scheme: Scheme, float: FloatType) -> Option<EncodeKernel> {
    match scheme.format() {
        Format::Affine { bits } => affine::encoder::<R>(bits, float),
        Format::Nvfp4 => Some(nvfp4::encoder::<R>(float)),
        Format::Mxfp4 => Some(mx::encoder::<R, mx::E2m1>(float)),
        Format::Mxfp8 => Some(mx::encoder::<R, mx::E4m3>(float)),
    }
}

/// The decode kernel for scales of type `stored` (affine schemes only) and an output of type `output`.
pub(crate) fn decoder(scheme: Scheme, stored: FloatType, output: FloatType) -> DecodeKernel {
    match scheme.format() {
        Format::Affine { bits } => affine::decoder(bits, stored, output),
        format => block_decode::decoder(format, output),
    }
    .expect("every scheme that can be made has a decode kernel")
}

/// Reads `out.len()` elements of type `float`.
pub(crate) fn read(float: FloatType, src: &[u8], out: &mut [f32]) {
    match float {
        FloatType::F32 => element::F32::read(src, out),
        FloatType::F16 => element::F16::read(src, out),
        FloatType::BF16 => element::Bf16::read(src, out),
    }
}
