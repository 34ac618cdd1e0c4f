//! Chooses the kernel for a scheme, a profile and element types. The choice is the same at every level.

use crate::{
    EncodeBuffers, EncodeStats, FloatType, Format, GlobalScale, Importance, Profile, Scheme,
    portable::{
        DecodeKernel, EncodeKernel, Params, affine,
        block_decode::{Codec, Mxfp4, Mxfp8, Nvfp4},
        element::{Bf16, Element, F16, F32},
        group::{Mlx, MlxMetal, Plus},
        mx, nvfp4,
    },
    search::{self, SearchKernel},
};

/// Instantiates `$kernel` with the width of affine codes as the constant `$width`. The result is `None` for a width
/// that MLX does not have. This macro holds the only list of the widths that kernels are compiled for.
macro_rules! of_width {
    ($bits:expr, $width:ident => $kernel:expr) => {
        of_width!($bits, $width => $kernel, 2 3 4 5 6 8)
    };
    ($bits:expr, $width:ident => $kernel:expr, $($known:literal)*) => {
        match $bits {
            $($known => {
                const $width: usize = $known;
                $kernel
            })*
            _ => return None,
        }
    };
}

/// An encode kernel: one that encodes directly, or one that searches.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Encode {
    Direct(EncodeKernel),
    Search(SearchKernel),
}

impl Encode {
    /// Encodes whole groups. Only a search uses the importance.
    pub(crate) fn run(
        self,
        params: &Params<GlobalScale>,
        importance: Option<Importance<'_>>,
        src: &[u8],
        out: EncodeBuffers<'_>,
    ) -> EncodeStats {
        match self {
            Self::Direct(kernel) => kernel(params, src, out),
            Self::Search(kernel) => kernel(params, importance, src, out),
        }
    }
}

/// The kernels of one level. They are monomorphic and looked up once per tensor, so nothing is chosen per group.
///
/// The methods take `self` because holding it can be the proof that the machine has the kernels' instructions.
pub(crate) trait Kernels: Copy {
    /// Returns the kernel that encodes affine groups with codes of `BITS` bits.
    fn affine<R: affine::Rule, T: Element, const BITS: usize>(self) -> EncodeKernel;

    /// Returns the kernel that encodes nvfp4.
    fn nvfp4<R: nvfp4::Rule, T: Element>(self) -> EncodeKernel;

    /// Returns the kernel that encodes mxfp4 and mxfp8.
    fn mx<R: mx::Rule, C: mx::Code, T: Element>(self) -> EncodeKernel;

    /// Returns the kernel that decodes affine groups: scales and biases of type `S`, each step rounded to `A`, an
    /// output of type `O`.
    fn affine_decode<S: Element, A: Element, O: Element, const BITS: usize>(self) -> DecodeKernel;

    /// Returns the kernel that decodes the floating-point formats.
    fn block_decode<C: Codec, O: Element, const BITS: usize>(self) -> DecodeKernel;

    /// Returns the kernel that searches for the scales and biases of affine groups. Every level compiles the same
    /// source, loops over arrays that compilers turn into vectors. A level whose instructions the target guarantees
    /// uses this default.
    fn affine_search<T: Element, const BITS: usize>(self) -> SearchKernel {
        search::affine::encode::<T, BITS>
    }

    /// Returns the kernel that searches for the scales of groups of floating-point codes. The default is that of
    /// [`affine_search`](Self::affine_search).
    fn block_search<B: search::block::Block, T: Element>(self) -> SearchKernel {
        search::block::encode::<B, T>
    }

    /// Returns the kernel that encodes elements of type `float`, or `None` where there is none.
    fn encoder(self, scheme: Scheme, float: FloatType, profile: Profile) -> Option<Encode> {
        match float {
            FloatType::F32 => encoder_from::<F32>(self, scheme, profile),
            FloatType::F16 => encoder_from::<F16>(self, scheme, profile),
            FloatType::BF16 => encoder_from::<Bf16>(self, scheme, profile),
        }
    }

    /// Returns the decode kernel for scales of type `stored` (affine schemes only) and an output of type `output`.
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

fn encoder_from<T: Element>(kernels: impl Kernels, scheme: Scheme, profile: Profile) -> Option<Encode> {
    match profile {
        Profile::Mlx => encoder_of::<Mlx, T>(kernels, scheme).map(Encode::Direct),
        Profile::MlxMetal => encoder_of::<MlxMetal, T>(kernels, scheme).map(Encode::Direct),
        Profile::Plus => encoder_of::<Plus, T>(kernels, scheme).map(Encode::Direct),
        Profile::Best => searcher_of::<T>(kernels, scheme).map(Encode::Search),
    }
}

fn encoder_of<R, T: Element>(kernels: impl Kernels, scheme: Scheme) -> Option<EncodeKernel>
where
    R: affine::Rule + nvfp4::Rule + mx::Rule,
{
    Some(match scheme.format() {
        Format::Affine { bits } => of_width!(bits, BITS => kernels.affine::<R, T, BITS>()),
        Format::Nvfp4 => kernels.nvfp4::<R, T>(),
        Format::Mxfp4 => kernels.mx::<R, mx::E2m1, T>(),
        Format::Mxfp8 => kernels.mx::<R, mx::E4m3, T>(),
    })
}

fn searcher_of<T: Element>(kernels: impl Kernels, scheme: Scheme) -> Option<SearchKernel> {
    Some(match scheme.format() {
        Format::Affine { bits } => of_width!(bits, BITS => kernels.affine_search::<T, BITS>()),
        Format::Nvfp4 => kernels.block_search::<search::block::Nvfp4, T>(),
        Format::Mxfp4 => kernels.block_search::<mx::E2m1, T>(),
        Format::Mxfp8 => kernels.block_search::<mx::E4m3, T>(),
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

/// Returns the decode kernel for codes of `bits` bits. An F32 output is computed in `f32`. Other outputs are computed
/// step by step in the type of the scales, as MLX's CPU backend does.
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
    Some(of_width!(bits, BITS => kernels.affine_decode::<S, A, O, BITS>()))
}
