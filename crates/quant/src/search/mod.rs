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

use crate::{EncodeBuffers, EncodeStats, GlobalScale, Importance, portable::Params};

/// Encodes whole groups, with the importance of each column if that is known.
pub(crate) type SearchKernel = fn(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats;
