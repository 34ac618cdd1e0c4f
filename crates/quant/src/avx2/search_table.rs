//! Which search encodes what. As in [`table`](super::table), the functions here are reached only by who has detected the
//! instructions.
#![expect(unsafe_code, reason = "calling functions with target features from functions without")]

use super::{Avx2, search};
use crate::{
    EncodeBuffers, EncodeStats, FloatType, Format, GlobalScale, Importance, Scheme,
    portable::{
        Params,
        element::{Bf16, Element, F16, F32},
        mx::{E2m1, E4m3},
    },
    search::{SearchKernel, block},
};

fn encode_affine<T: Element, const BITS: usize>(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: avx2, fma and f16c have been detected, or nobody would hold the `Avx2` through which this is reached.
    unsafe { search::encode_affine::<T, BITS>(params, importance, src, out) }
}

fn encode_block<B: block::Block, T: Element>(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // SAFETY: avx2, fma and f16c have been detected, or nobody would hold the `Avx2` through which this is reached.
    unsafe { search::encode_block::<B, T>(params, importance, src, out) }
}

#[expect(clippy::unused_self, reason = "holding it is the proof that the kernels may run")]
impl Avx2 {
    /// The search for elements of type `float`, if there is one.
    pub(crate) fn searcher(self, scheme: Scheme, float: FloatType) -> Option<SearchKernel> {
        match float {
            FloatType::F32 => searcher_from::<F32>(scheme),
            FloatType::F16 => searcher_from::<F16>(scheme),
            FloatType::BF16 => searcher_from::<Bf16>(scheme),
        }
    }
}

fn searcher_from<T: Element>(scheme: Scheme) -> Option<SearchKernel> {
    Some(match scheme.format() {
        Format::Affine { bits: 2 } => encode_affine::<T, 2>,
        Format::Affine { bits: 3 } => encode_affine::<T, 3>,
        Format::Affine { bits: 4 } => encode_affine::<T, 4>,
        Format::Affine { bits: 5 } => encode_affine::<T, 5>,
        Format::Affine { bits: 6 } => encode_affine::<T, 6>,
        Format::Affine { bits: 8 } => encode_affine::<T, 8>,
        Format::Affine { .. } => return None,
        Format::Nvfp4 => encode_block::<block::Nvfp4, T>,
        Format::Mxfp4 => encode_block::<E2m1, T>,
        Format::Mxfp8 => encode_block::<E4m3, T>,
    })
}
