//! Which kernel encodes or decodes what.
//!
//! The functions here cross into code compiled with more instructions than the target guarantees. They are private and
//! leave this module only through methods of [`Avx2`], which nobody can call who has not detected those instructions.
#![expect(unsafe_code, reason = "calling functions with target features from functions without")]

use super::{Avx2, affine, affine_decode, block_decode, measure, mx, nvfp4};
use crate::{
    EncodeBuffers, EncodeStats, ErrorMeasure, FloatType, Format, GlobalScale, Profile, Scheme,
    portable::{
        self, DecodeKernel, EncodeKernel, Params,
        block_decode::{Codec, Mxfp4, Mxfp8, Nvfp4},
        element::{Bf16, Element, F16, F32},
        group::{Mlx, MlxMetal, Plus},
    },
};

fn encode_affine<R: portable::affine::Rule, T: Element, const BITS: usize>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: avx2, fma and f16c have been detected, or nobody would hold the `Avx2` through which this is reached.
    unsafe { affine::encode::<R, T, BITS>(params, src, out) }
}

fn encode_nvfp4<R: portable::nvfp4::Rule, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: avx2, fma and f16c have been detected, or nobody would hold the `Avx2` through which this is reached.
    unsafe { nvfp4::encode::<R, T>(params, src, out) }
}

fn encode_mx<R: portable::mx::Rule, C: portable::mx::Code, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: avx2, fma and f16c have been detected, or nobody would hold the `Avx2` through which this is reached.
    unsafe { mx::encode::<R, C, T>(params, src, out) }
}

fn decode_affine<S: Element, A: Element, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    // SAFETY: avx2, fma and f16c have been detected, or nobody would hold the `Avx2` through which this is reached.
    unsafe { affine_decode::decode::<S, A, O, BITS>(params, weight, scale, bias, out) }
}

fn decode_block<C: Codec, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    bias: &[u8],
    out: &mut [u8],
) {
    // SAFETY: avx2, fma and f16c have been detected, or nobody would hold the `Avx2` through which this is reached.
    unsafe { block_decode::decode::<C, O, BITS>(params, weight, scale, bias, out) }
}

#[expect(clippy::unused_self, reason = "holding it is the proof that the kernels may run")]
impl Avx2 {
    /// Adds whole groups to a measure.
    pub(crate) fn measure(self, of: &mut ErrorMeasure, numbers: [&[f32]; 2], group: usize) {
        // SAFETY: avx2 has been detected, or nobody would hold the `Avx2`.
        unsafe { measure::add(of, numbers, group) }
    }

    /// The encode kernel for elements of type `float`, if there is one.
    pub(crate) fn encoder(self, scheme: Scheme, float: FloatType, profile: Profile) -> Option<EncodeKernel> {
        match float {
            FloatType::F32 => encoder_from::<F32>(scheme, profile),
            FloatType::F16 => encoder_from::<F16>(scheme, profile),
            FloatType::BF16 => encoder_from::<Bf16>(scheme, profile),
        }
    }

    /// The decode kernel for scales of type `stored` (affine schemes only) and an output of type `output`.
    pub(crate) fn decoder(self, scheme: Scheme, stored: FloatType, output: FloatType) -> DecodeKernel {
        let kernel = match scheme.format() {
            Format::Affine { bits } => affine_decoder(bits, stored, output),
            format => match output {
                FloatType::F32 => block_decoder::<F32>(format),
                FloatType::F16 => block_decoder::<F16>(format),
                FloatType::BF16 => block_decoder::<Bf16>(format),
            },
        };
        kernel.unwrap_or_else(|| portable::decoder(scheme, stored, output))
    }
}

fn encoder_from<T: Element>(scheme: Scheme, profile: Profile) -> Option<EncodeKernel> {
    match profile {
        Profile::Mlx => encoder_of::<Mlx, T>(scheme),
        Profile::MlxMetal => encoder_of::<MlxMetal, T>(scheme),
        Profile::Plus => encoder_of::<Plus, T>(scheme),
        Profile::Best => None,
    }
}

fn encoder_of<R, T: Element>(scheme: Scheme) -> Option<EncodeKernel>
where
    R: portable::affine::Rule + portable::nvfp4::Rule + portable::mx::Rule,
{
    Some(match scheme.format() {
        Format::Affine { bits: 2 } => encode_affine::<R, T, 2>,
        Format::Affine { bits: 3 } => encode_affine::<R, T, 3>,
        Format::Affine { bits: 4 } => encode_affine::<R, T, 4>,
        Format::Affine { bits: 5 } => encode_affine::<R, T, 5>,
        Format::Affine { bits: 6 } => encode_affine::<R, T, 6>,
        Format::Affine { bits: 8 } => encode_affine::<R, T, 8>,
        Format::Affine { .. } => return None,
        Format::Nvfp4 => encode_nvfp4::<R, T>,
        Format::Mxfp4 => encode_mx::<R, portable::mx::E2m1, T>,
        Format::Mxfp8 => encode_mx::<R, portable::mx::E4m3, T>,
    })
}

fn block_decoder<O: Element>(format: Format) -> Option<DecodeKernel> {
    match format {
        Format::Affine { .. } => None,
        Format::Nvfp4 => Some(decode_block::<Nvfp4, O, 4>),
        Format::Mxfp4 => Some(decode_block::<Mxfp4, O, 4>),
        Format::Mxfp8 => Some(decode_block::<Mxfp8, O, 8>),
    }
}

/// An F32 output is computed in `f32`, the others step by step in the type of the scales.
fn affine_decoder(bits: u8, stored: FloatType, output: FloatType) -> Option<DecodeKernel> {
    match (stored, output) {
        (FloatType::F32, FloatType::F32) => affine_decoder_of::<F32, F32, F32>(bits),
        (FloatType::F32, FloatType::F16) => affine_decoder_of::<F32, F32, F16>(bits),
        (FloatType::F32, FloatType::BF16) => affine_decoder_of::<F32, F32, Bf16>(bits),
        (FloatType::F16, FloatType::F32) => affine_decoder_of::<F16, F32, F32>(bits),
        (FloatType::F16, FloatType::F16) => affine_decoder_of::<F16, F16, F16>(bits),
        (FloatType::F16, FloatType::BF16) => affine_decoder_of::<F16, F16, Bf16>(bits),
        (FloatType::BF16, FloatType::F32) => affine_decoder_of::<Bf16, F32, F32>(bits),
        (FloatType::BF16, FloatType::F16) => affine_decoder_of::<Bf16, Bf16, F16>(bits),
        (FloatType::BF16, FloatType::BF16) => affine_decoder_of::<Bf16, Bf16, Bf16>(bits),
    }
}

fn affine_decoder_of<S: Element, A: Element, O: Element>(bits: u8) -> Option<DecodeKernel> {
    Some(match bits {
        2 => decode_affine::<S, A, O, 2>,
        3 => decode_affine::<S, A, O, 3>,
        4 => decode_affine::<S, A, O, 4>,
        5 => decode_affine::<S, A, O, 5>,
        6 => decode_affine::<S, A, O, 6>,
        8 => decode_affine::<S, A, O, 8>,
        _ => return None,
    })
}
