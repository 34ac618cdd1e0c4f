//! Searches for scales and biases of least squared error, for [`Profile::Best`](crate::Profile::Best).
//!
//! Eight groups are searched at once, one per lane. Loops run over elements and nothing is summed across lanes, so the
//! result of a group does not depend on its neighbours, and compilers turn the arrays of eight into vectors. The same
//! source is compiled for each level. It uses no fused operations, so every level gives the same bits.
//!
//! Sums are `f32` and good to six digits, which suffices to choose a candidate. Where the choice is close, more exact
//! sums decide between the candidate and the results of `mlx` and `plus`, so that the result is never worse than that
//! of `mlx`.

pub(crate) mod affine;
pub(crate) mod block;
mod exact;
mod lanes;

use crate::{EncodeBuffers, EncodeStats, GlobalScale, Importance, portable::Params};

/// Encodes whole groups by a search, weighted by the importance of each column where it is given.
pub(crate) type SearchKernel = fn(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats;
