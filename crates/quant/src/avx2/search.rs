//! Compiles the searches of [`Profile::Best`](crate::Profile::Best) with AVX2.
//!
//! The source is that of the portable search: loops over arrays of eight lanes, which become vectors of eight here and
//! of four in the portable build. FMA is not enabled, though the bits would be the same, because the compiler fuses
//! nothing that is not written as fused.
//!
//! Bound: the passes over the elements, one for each scale that is tried.

use crate::{
    EncodeBuffers, EncodeStats, GlobalScale, Importance,
    portable::{Params, element::Element},
    search::{affine, block, block::Block},
};

#[target_feature(enable = "avx2")]
pub(super) fn encode_affine<T: Element, const BITS: usize>(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    affine::encode::<T, BITS>(params, importance, src, out)
}

#[target_feature(enable = "avx2")]
pub(super) fn encode_block<B: Block, T: Element>(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    block::encode::<B, T>(params, importance, src, out)
}
