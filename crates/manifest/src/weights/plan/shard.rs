//! Computation of the bytes that a selection takes from an array.

use super::{Extent, Shard, ShardAxis};

/// An array of shape `[experts, rows, …, columns]`, or without `experts`, from which a share is taken.
pub(super) struct Body<'s> {
    /// Extents of the array, outermost first.
    pub(super) dims: &'s [u64],
    /// Whether the first extent counts experts.
    pub(super) is_stack: bool,
    /// Bits of one element.
    pub(super) bits: u64,
    /// Start of the array, in bytes from the start of the blob.
    pub(super) offset: u64,
}

/// Reason why a share cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ShareProblem {
    /// The array lacks the axis.
    NoAxis,
    /// The shares are not equal, or are not whole bytes.
    Uneven,
    /// A number does not fit in 64 bits.
    TooLarge,
}

impl Body<'_> {
    /// Returns the extents of the share, and its shape. `experts` are below the first extent.
    pub(super) fn take(
        &self,
        experts: Option<&[u64]>,
        shard: Option<Shard>,
    ) -> Result<(Vec<Extent>, Vec<u64>), ShareProblem> {
        let (outer, body) = if self.is_stack { self.dims.split_at(1) } else { (&[][..], self.dims) };
        let product = |dims: &[u64]| dims.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim));
        let bytes = |elements: u64| {
            let bits = elements.checked_mul(self.bits).ok_or(ShareProblem::TooLarge)?;
            if bits % 8 == 0 { Ok(bits / 8) } else { Err(ShareProblem::Uneven) }
        };
        let stack = outer.first().copied().unwrap_or(1);
        let elements = product(body).ok_or(ShareProblem::TooLarge)?;

        // Computes the runs within one expert: `count` runs of `run` bytes, `stride` apart, the first `skip` bytes
        // after the start.
        let mut shape = self.dims.to_vec();
        let (skip, run, stride, count) = match shard {
            None if experts.is_none() => {
                let whole = bytes(elements.checked_mul(stack).ok_or(ShareProblem::TooLarge)?)?;
                return Ok((extent(self.offset, whole, whole, 1)?.into_iter().collect(), shape));
            }
            None => {
                let whole = bytes(elements)?;
                (0, whole, whole, 1)
            }
            Some(Shard { axis, rank, of }) => {
                let (at, count) = match (axis, body) {
                    (ShardAxis::Rows, [_, ..]) => (0, 1),
                    (ShardAxis::Columns, [rows @ .., _]) if !rows.is_empty() => {
                        (body.len() - 1, product(rows).ok_or(ShareProblem::TooLarge)?)
                    }
                    _ => return Err(ShareProblem::NoAxis),
                };
                if !body[at].is_multiple_of(of) {
                    return Err(ShareProblem::Uneven);
                }
                shape[outer.len() + at] = body[at] / of;
                let stride = bytes(product(&body[at..]).ok_or(ShareProblem::TooLarge)?)?;
                let run = bytes(product(&body[at..]).ok_or(ShareProblem::TooLarge)? / of)?;
                (run.checked_mul(rank).ok_or(ShareProblem::TooLarge)?, run, stride, count)
            }
        };
        let first = self.offset.checked_add(skip).ok_or(ShareProblem::TooLarge)?;
        if !self.is_stack {
            return Ok((extent(first, run, stride, count)?.into_iter().collect(), shape));
        }
        let expert = bytes(elements)?;
        let Some(experts) = experts else {
            // Joins the runs of all experts into one extent. The distance between runs is `stride` if an expert has
            // several runs, and otherwise the size of an expert.
            let (stride, count) = if count == 1 { (expert, stack) } else { (stride, checked_mul(count, stack)?) };
            return Ok((extent(first, run, stride, count)?.into_iter().collect(), shape));
        };
        shape[0] = experts.len() as u64;
        let mut extents: Vec<Extent> = Vec::new();
        for id in experts {
            let start = checked_mul(*id, expert)?.checked_add(first).ok_or(ShareProblem::TooLarge)?;
            match (extents.last_mut(), extent(start, run, stride, count)?) {
                (_, None) => {}
                (Some(last), Some(next)) if last.is_range() && next.is_range() && last.end() == next.offset => {
                    *last = Extent::range(last.offset, last.run + next.run);
                }
                (_, Some(next)) => extents.push(next),
            }
        }
        Ok((extents, shape))
    }
}

/// Makes an extent of the runs, or `None` if they have no bytes.
fn extent(offset: u64, run: u64, stride: u64, count: u64) -> Result<Option<Extent>, ShareProblem> {
    if run == 0 || count == 0 {
        return Ok(None);
    }
    Extent::runs(offset, run, stride, count).map(Some).ok_or(ShareProblem::TooLarge)
}

fn checked_mul(a: u64, b: u64) -> Result<u64, ShareProblem> {
    a.checked_mul(b).ok_or(ShareProblem::TooLarge)
}
