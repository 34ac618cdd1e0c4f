//! Scales and biases of least squared error, for [`Profile::Best`](crate::Profile::Best).
//!
//! Eight groups are searched at once, a lane each, so that the loops are over elements and nothing is ever summed
//! across lanes: the answer for a group does not depend on its neighbours, and compilers turn the arrays of eight into
//! vectors. The same source is compiled for each level. It uses no fused operations, so that the bits are the same.
//!
//! Sums are `f32` and good to six digits, which suffices to choose; where the choice is close, exact sums decide
//! between it and the answers of `mlx` and `plus`, so that it is never worse than `mlx`.

pub(crate) mod affine;
pub(crate) mod block;
mod exact;
mod lanes;

use crate::{
    EncodeBuffers, EncodeStats, FloatType, Format, GlobalScale, Importance, Scheme,
    portable::{
        Params,
        element::{Bf16, Element, F16, F32},
        mx::{E2m1, E4m3},
    },
};

/// Encodes whole groups, with the importance of each column if that is known.
pub(crate) type SearchKernel = fn(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats;

/// The portable search for elements of type `float`, if there is one.
pub(crate) fn searcher(scheme: Scheme, float: FloatType) -> Option<SearchKernel> {
    match float {
        FloatType::F32 => searcher_from::<F32>(scheme),
        FloatType::F16 => searcher_from::<F16>(scheme),
        FloatType::BF16 => searcher_from::<Bf16>(scheme),
    }
}

fn searcher_from<T: Element>(scheme: Scheme) -> Option<SearchKernel> {
    Some(match scheme.format() {
        Format::Affine { bits: 2 } => affine::encode::<T, 2>,
        Format::Affine { bits: 3 } => affine::encode::<T, 3>,
        Format::Affine { bits: 4 } => affine::encode::<T, 4>,
        Format::Affine { bits: 5 } => affine::encode::<T, 5>,
        Format::Affine { bits: 6 } => affine::encode::<T, 6>,
        Format::Affine { bits: 8 } => affine::encode::<T, 8>,
        Format::Affine { .. } => return None,
        Format::Nvfp4 => block::encode::<block::Nvfp4, T>,
        Format::Mxfp4 => block::encode::<E2m1, T>,
        Format::Mxfp8 => block::encode::<E4m3, T>,
    })
}
