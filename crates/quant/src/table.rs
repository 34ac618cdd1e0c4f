//! Which kernel encodes or decodes what. The question has the same answer at every level.

use crate::{
    FloatType, Format, Profile, Scheme,
    portable::{
        DecodeKernel, EncodeKernel, affine,
        block_decode::{Codec, Mxfp4, Mxfp8, Nvfp4},
        element::{Bf16, Element, F16, F32},
        group::{Mlx, MlxMetal, Plus},
        mx, nvfp4,
    },
};

/// The kernels of one level. They are monomorphic, and looked up once, so that nothing is chosen per group.
///
/// The methods take `self` because to hold it can be the proof that the machine has the kernels' instructions.
pub(crate) trait Kernels: Copy {
    /// Encodes affine groups of codes of `BITS` bits.
    fn affine<R: affine::Rule, T: Element, const BITS: usize>(self) -> EncodeKernel;

    /// Encodes nvfp4.
    fn nvfp4<R: nvfp4::Rule, T: Element>(self) -> EncodeKernel;

    /// Encodes mxfp4 and mxfp8.
    fn mx<R: mx::Rule, C: mx::Code, T: Element>(self) -> EncodeKernel;

    /// Decodes affine groups: scales and biases of type `S`, each step rounded to `A`, an output of type `O`.
    fn affine_decode<S: Element, A: Element, O: Element, const BITS: usize>(self) -> DecodeKernel;

    /// Decodes the floating-point formats.
    fn block_decode<C: Codec, O: Element, const BITS: usize>(self) -> DecodeKernel;

    /// The encode kernel for elements of type `float`, if there is one.
    fn encoder(self, scheme: Scheme, float: FloatType, profile: Profile) -> Option<EncodeKernel> {
        match float {
            FloatType::F32 => encoder_from::<F32>(self, scheme, profile),
            FloatType::F16 => encoder_from::<F16>(self, scheme, profile),
            FloatType::BF16 => encoder_from::<Bf16>(self, scheme, profile),
        }
    }

    /// The decode kernel for scales of type `stored` (affine schemes only) and an output of type `output`.
    fn decoder(self, scheme: Scheme, stored: FloatType, output: FloatType) -> DecodeKernel {
        match scheme.format() {
            Format::Affine { bits } => affine_decoder(self, bits, stored, output),
            format => match output {
                FloatType::F32 => block_decoder::<F32>(self, format),
                FloatType::F16 => block_decoder::<F16>(self, format),
                FloatType::BF16 => block_decoder::<Bf16>(self, format),
            },
        }
        .expect("every scheme that can be made has a decode kernel")
    }
}

fn encoder_from<T: Element>(kernels: impl Kernels, scheme: Scheme, profile: Profile) -> Option<EncodeKernel> {
    match profile {
        Profile::Mlx => encoder_of::<Mlx, T>(kernels, scheme),
        Profile::MlxMetal => encoder_of::<MlxMetal, T>(kernels, scheme),
        Profile::Plus => encoder_of::<Plus, T>(kernels, scheme),
        // That is a search.
        Profile::Best => None,
    }
}

fn encoder_of<R, T: Element>(kernels: impl Kernels, scheme: Scheme) -> Option<EncodeKernel>
where
    R: affine::Rule + nvfp4::Rule + mx::Rule,
{
    Some(match scheme.format() {
        Format::Affine { bits: 2 } => kernels.affine::<R, T, 2>(),
        Format::Affine { bits: 3 } => kernels.affine::<R, T, 3>(),
        Format::Affine { bits: 4 } => kernels.affine::<R, T, 4>(),
        Format::Affine { bits: 5 } => kernels.affine::<R, T, 5>(),
        Format::Affine { bits: 6 } => kernels.affine::<R, T, 6>(),
        Format::Affine { bits: 8 } => kernels.affine::<R, T, 8>(),
        Format::Affine { .. } => return None,
        Format::Nvfp4 => kernels.nvfp4::<R, T>(),
        Format::Mxfp4 => kernels.mx::<R, mx::E2m1, T>(),
        Format::Mxfp8 => kernels.mx::<R, mx::E4m3, T>(),
    })
}

fn block_decoder<O: Element>(kernels: impl Kernels, format: Format) -> Option<DecodeKernel> {
    match format {
        Format::Affine { .. } => None,
        Format::Nvfp4 => Some(kernels.block_decode::<Nvfp4, O, 4>()),
        Format::Mxfp4 => Some(kernels.block_decode::<Mxfp4, O, 4>()),
        Format::Mxfp8 => Some(kernels.block_decode::<Mxfp8, O, 8>()),
    }
}

/// The decode kernel for codes of `bits` bits. An F32 output is computed in `f32`; the others step by step in the
/// type of the scales, as MLX's CPU backend does.
fn affine_decoder(kernels: impl Kernels, bits: u8, stored: FloatType, output: FloatType) -> Option<DecodeKernel> {
    match (stored, output) {
        (FloatType::F32, FloatType::F32) => affine_decoder_of::<F32, F32, F32>(kernels, bits),
        (FloatType::F32, FloatType::F16) => affine_decoder_of::<F32, F32, F16>(kernels, bits),
        (FloatType::F32, FloatType::BF16) => affine_decoder_of::<F32, F32, Bf16>(kernels, bits),
        (FloatType::F16, FloatType::F32) => affine_decoder_of::<F16, F32, F32>(kernels, bits),
        (FloatType::F16, FloatType::F16) => affine_decoder_of::<F16, F16, F16>(kernels, bits),
        (FloatType::F16, FloatType::BF16) => affine_decoder_of::<F16, F16, Bf16>(kernels, bits),
        (FloatType::BF16, FloatType::F32) => affine_decoder_of::<Bf16, F32, F32>(kernels, bits),
        (FloatType::BF16, FloatType::F16) => affine_decoder_of::<Bf16, Bf16, F16>(kernels, bits),
        (FloatType::BF16, FloatType::BF16) => affine_decoder_of::<Bf16, Bf16, Bf16>(kernels, bits),
    }
}

fn affine_decoder_of<S: Element, A: Element, O: Element>(kernels: impl Kernels, bits: u8) -> Option<DecodeKernel> {
    Some(match bits {
        2 => kernels.affine_decode::<S, A, O, 2>(),
        3 => kernels.affine_decode::<S, A, O, 3>(),
        4 => kernels.affine_decode::<S, A, O, 4>(),
        5 => kernels.affine_decode::<S, A, O, 5>(),
        6 => kernels.affine_decode::<S, A, O, 6>(),
        8 => kernels.affine_decode::<S, A, O, 8>(),
        _ => return None,
    })
}
