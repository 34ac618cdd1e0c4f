//! Searches for the scale and the bias of an affine group.
//!
//! ```text
//! for each start (MLX's scale and bias, and some ranges around the middle of the group):
//!     repeat: codes = nearest(w)               under the scale and bias as they are stored
//!             keep the scale and bias if the error is the least so far
//!             scale, bias = least squares for these codes; round the scale, then the bias for that scale
//! from the best, repeat the same some more
//! ```
//!
//! Each repetition is one pass over the elements. It yields the error of its codes and the sums for the next fit.
//! Nearly all time is spent in the passes, some eighteen instructions for eight elements.

use super::{
    exact::{Answer, least, squared_error},
    lanes::{Batch, LANES, Lanes, each},
};
use crate::{
    EncodeBuffers, EncodeStats, GlobalScale, Importance,
    portable::{
        MAX_GROUP, Params,
        affine::{nearest_even, scale_and_bias},
        bits,
        element::Element,
        group::Mlx,
    },
};

/// Adding and then subtracting this number rounds numbers from 0 to 2^22 to integers, ties to even.
const ROUND: f32 = 8_388_608.0;

/// Starting points of the search: the parts of the group's range that the codes span.
const fn ranges(bits: usize) -> &'static [f32] {
    match bits {
        2 => &[0.95, 0.84, 0.74, 0.65, 0.56],
        3 => &[0.97, 0.89, 0.81, 0.73, 0.65],
        4 => &[1.0, 0.94, 0.88, 0.82, 0.75],
        5 => &[1.01, 0.98, 0.95, 0.92, 0.88],
        6 => &[1.005, 0.99, 0.975, 0.96, 0.94],
        _ => &[1.002, 0.997, 0.992, 0.986, 0.979],
    }
}

/// Passes from each starting point, the first one included.
const PASSES: usize = 2;
/// Passes from the best result of all starting points.
const MORE_PASSES: usize = 3;

/// A scale and a bias for each group of a batch.
#[derive(Clone, Copy)]
struct Fit {
    scale: Lanes,
    bias: Lanes,
}

/// The least error so far of each group, with its fit.
struct Best {
    fit: Fit,
    error: Lanes,
}

impl Best {
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
    fn consider(&mut self, fit: &Fit, error: &Lanes) {
        for (lane, error) in error.iter().enumerate() {
            // The comparison is false for NaN. A scale of zero may win: its codes mean the bias, and its error is the
            // true one.
            if *error < self.error[lane] {
                self.error[lane] = *error;
                self.fit.scale[lane] = fit.scale[lane];
                self.fit.bias[lane] = fit.bias[lane];
            }
        }
    }
}

/// Returns the least and the greatest element of each group. NaN is skipped.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
fn extremes(values: &[Lanes]) -> [(f32, f32); LANES] {
    let (mut min, mut max) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    for value in values {
        for lane in 0..LANES {
            min[lane] = if value[lane] < min[lane] { value[lane] } else { min[lane] };
            max[lane] = if value[lane] > max[lane] { value[lane] } else { max[lane] };
        }
    }
    std::array::from_fn(|lane| (min[lane], max[lane]))
}

/// Finds the nearest codes under `fit`. Returns their error, and the fit of least squares for them.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
fn pass<T: Element>(values: &[Lanes], weights: Option<&[Lanes]>, total: &Lanes, fit: &Fit, top: f32) -> (Lanes, Fit) {
    let Fit { scale, bias } = fit;
    let inverse = each(|lane| 1.0 / scale[lane]);
    let mut error = [0.0; LANES];
    // Sums of the codes, of their squares, of their products with the distances from the bias, and of those distances.
    let (mut c, mut cc, mut cr, mut r) = ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for (i, value) in values.iter().enumerate() {
        for lane in 0..LANES {
            let rest = value[lane] - bias[lane];
            let quotient = rest * inverse[lane];
            let quotient = if quotient > 0.0 { quotient } else { 0.0 };
            let quotient = if quotient < top { quotient } else { top };
            let code = (quotient + ROUND) - ROUND;
            let difference = value[lane] - (code * scale[lane] + bias[lane]);
            let (weighted, weighted_rest, weighted_difference) = match weights {
                Some(weights) => (weights[i][lane] * code, weights[i][lane] * rest, weights[i][lane] * difference),
                None => (code, rest, difference),
            };
            error[lane] += weighted_difference * difference;
            c[lane] += weighted;
            cc[lane] += weighted * code;
            cr[lane] += weighted * rest;
            r[lane] += weighted_rest;
        }
    }
    let mut next = Fit { scale: [0.0; LANES], bias: [0.0; LANES] };
    for lane in 0..LANES {
        let determinant = total[lane] * cc[lane] - c[lane] * c[lane];
        next.scale[lane] = T::round((total[lane] * cr[lane] - c[lane] * r[lane]) / determinant);
        let shift = (r[lane] - next.scale[lane] * c[lane]) / total[lane];
        next.bias[lane] = T::round(bias[lane] + shift);
    }
    (error, next)
}

/// Finds the best fits for a batch, and computes the errors of MLX's fits.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
fn search<T: Element, const BITS: usize>(
    values: &[Lanes],
    weights: Option<&[Lanes]>,
    mlx: &Fit,
    extremes: &[(f32, f32); LANES],
) -> (Best, Lanes) {
    let top = f32::from(u8::MAX >> (8 - BITS));
    let mut total = [0.0; LANES];
    for i in 0..values.len() {
        for lane in 0..LANES {
            total[lane] += weights.map_or(1.0, |weights| weights[i][lane]);
        }
    }
    let (baseline, mut fit) = pass::<T>(values, weights, &total, mlx, top);
    let mut best = Best { fit: *mlx, error: baseline };
    for _ in 1..PASSES {
        let (error, next) = pass::<T>(values, weights, &total, &fit, top);
        best.consider(&fit, &error);
        fit = next;
    }
    for range in ranges(BITS) {
        for (lane, (min, max)) in extremes.iter().enumerate() {
            let margin = (max - min) * (1.0 - range) * 0.5;
            fit.scale[lane] = T::round((max - min) * range / top);
            fit.bias[lane] = T::round(min + margin);
        }
        for _ in 0..PASSES {
            let (error, next) = pass::<T>(values, weights, &total, &fit, top);
            best.consider(&fit, &error);
            fit = next;
        }
    }
    fit = best.fit;
    for _ in 0..MORE_PASSES {
        let (error, next) = pass::<T>(values, weights, &total, &fit, top);
        best.consider(&fit, &error);
        fit = next;
    }
    (best, baseline)
}

/// Scale and bias as they are stored.
type Stored = (f32, f32);

/// Finds the codes that are nearest under `divisor`, to be stored with `stored`.
fn answer(row: &[f32], divisor: f32, stored: Stored, top: f32) -> Answer<Stored> {
    let mut codes = [0; MAX_GROUP];
    for (code, value) in codes.iter_mut().zip(row) {
        *code = nearest_even((value - stored.1) / divisor, top);
    }
    Answer { stored, codes }
}

/// Encodes whole groups. Always inlined, so that it is compiled with the instructions of its caller.
#[inline(always)]
#[expect(clippy::inline_always, reason = "each level compiles its own")]
pub(crate) fn encode<T: Element, const BITS: usize>(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let EncodeBuffers { weight, scale, bias } = out;
    let group = params.group;
    let top = f32::from(u8::MAX >> (8 - BITS));
    let mut stats = EncodeStats::default();
    let mut batch = Batch::new(group);
    let parts = scale.chunks_mut(LANES * T::SIZE).zip(bias.chunks_mut(LANES * T::SIZE));
    let parts = parts.zip(weight.chunks_mut(LANES * group * BITS / 8));
    for (i, (src, ((scale, bias), weight))) in src.chunks(LANES * group * T::SIZE).zip(parts).enumerate() {
        batch.read::<T>(src, i * LANES, importance);
        let ends = extremes(&batch.values[..group]);
        let mut unrounded = [0.0; LANES];
        let mut mlx = Fit { scale: [1.0; LANES], bias: [0.0; LANES] };
        for lane in 0..batch.count {
            (unrounded[lane], mlx.bias[lane]) = scale_and_bias::<Mlx>(ends[lane].0, ends[lane].1, top);
            mlx.scale[lane] = T::round(unrounded[lane]);
        }
        let weights = importance.is_some().then_some(&batch.weights[..group]);
        let (best, baseline) = search::<T, BITS>(&batch.values[..group], weights, &mlx, &ends);
        let parts = scale.chunks_exact_mut(T::SIZE).zip(bias.chunks_exact_mut(T::SIZE));
        for (lane, ((scale, bias), packed)) in parts.zip(weight.chunks_exact_mut(group * BITS / 8)).enumerate() {
            let row = batch.row(lane);
            let largest = ends[lane].0.abs().max(ends[lane].1.abs());
            let stored = (mlx.scale[lane], mlx.bias[lane]);
            let found = (best.fit.scale[lane], best.fit.bias[lane]);
            let ordinary = batch.is_ordinary(lane, largest);
            let chosen = if ordinary && best.error[lane] < baseline[lane] * 0.999 {
                answer(row, found.0, found, top)
            } else {
                let mlx = answer(row, unrounded[lane], stored, top);
                let plus = answer(row, stored.0, stored, top);
                let found = ordinary.then(|| answer(row, found.0, found, top));
                least([Some(mlx), Some(plus), found].into_iter().flatten(), |answer| {
                    let (scale, bias) = answer.stored;
                    squared_error(row, batch.row_weights(lane), |i| f32::from(answer.codes[i]) * scale + bias)
                })
            };
            T::write(&[chosen.stored.0], scale);
            T::write(&[chosen.stored.1], bias);
            let codes = &chosen.codes[..group];
            bits::pack::<BITS>(codes, packed);

            stats.non_finite += batch.non_finite[lane];
            if batch.non_finite[lane] == 0 {
                let zeroed = chosen.stored.1 == 0.0 && codes.iter().all(|code| *code == 0);
                stats.zeroed_groups += u64::from(zeroed && largest > 0.0);
                stats.overflowed_groups += u64::from(!chosen.stored.0.is_finite());
            }
        }
    }
    stats
}
