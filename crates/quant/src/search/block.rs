//! Searches for the scale of a group of floating-point codes.
//!
//! The scales are few, so the search tries the ones near the scale that makes the largest weight fit: two steps of E4M3
//! down and five up for nvfp4, two powers of two down and one up for mxfp4. A smaller scale clips the largest weights
//! and serves the others better. mxfp8 is not searched: E4M3 is as precise at one power of two as at the next, so a
//! smaller scale only clips, and a larger one only rounds more of the smallest weights to zero.

use std::ops::RangeInclusive;

use super::{
    exact::{Answer, least, squared_error},
    lanes::{Batch, LANES, Lanes},
};
use crate::{
    EncodeBuffers, EncodeStats, GlobalScale, Importance,
    portable::{
        MAX_GROUP, Params, bits, e2m1, e4m3, e8m0,
        element::Element,
        group::{Magnitude, Mlx, Plus},
        mx::{self, Code, E2m1, E4m3},
        nvfp4,
    },
};

/// A floating-point format, as the search sees it.
pub(crate) trait Block: 'static {
    const BITS: usize;
    /// Scale codes to try, as offsets from the one that makes the largest weight fit.
    const OFFSETS: RangeInclusive<i16>;
    /// All scale codes except zero and those that are not finite.
    const SCALES: RangeInclusive<i16>;
    /// Mask of a code's bits without the sign.
    const MAGNITUDE: u8;
    /// Largest value plus half of the last step. Larger quotients are clipped.
    const LIMIT: f32;

    /// Factor that a scale's code stands for.
    fn step(params: &Params<GlobalScale>, code: u8) -> f32;

    /// Value of a code.
    fn value(code: u8) -> f32;

    /// Returns the code nearest to `value`.
    fn nearest(value: f32) -> u8;

    /// Computes the scale of the profile `R`.
    fn scale<R: nvfp4::Rule + mx::Rule, T: Element>(params: &Params<GlobalScale>, largest: f32) -> u8;

    /// Computes scale and codes of the profile `R`.
    fn profile<R: nvfp4::Rule + mx::Rule, T: Element>(
        params: &Params<GlobalScale>,
        row: &[f32],
        largest: f32,
    ) -> Answer<u8>;
}

pub(crate) struct Nvfp4;

impl Block for Nvfp4 {
    const BITS: usize = 4;
    const OFFSETS: RangeInclusive<i16> = -2..=5;
    const SCALES: RangeInclusive<i16> = 1..=0x7E;
    const MAGNITUDE: u8 = e2m1::MAGNITUDE;
    const LIMIT: f32 = 7.0;

    fn step(params: &Params<GlobalScale>, code: u8) -> f32 {
        params.global.map_or(e4m3::decode(code), |global| e4m3::decode(code) * global.multiplier())
    }

    #[inline]
    fn value(code: u8) -> f32 {
        e2m1::decode(code)
    }

    #[inline]
    fn nearest(value: f32) -> u8 {
        e2m1::nearest_even(value)
    }

    fn scale<R: nvfp4::Rule + mx::Rule, T: Element>(params: &Params<GlobalScale>, largest: f32) -> u8 {
        <R as nvfp4::Rule>::scale::<T>(largest, nvfp4::factor(params))
    }

    fn profile<R: nvfp4::Rule + mx::Rule, T: Element>(
        params: &Params<GlobalScale>,
        row: &[f32],
        largest: f32,
    ) -> Answer<u8> {
        let stored = Self::scale::<R, T>(params, largest);
        let mut codes = [0; MAX_GROUP];
        <R as nvfp4::Rule>::codes::<T>(row, &mut codes[..row.len()], e4m3::decode(stored), params);
        Answer { stored, codes }
    }
}

/// A code of the mx formats, with the scales to try for it.
pub(crate) trait MxCode: Code {
    const OFFSETS: RangeInclusive<i16>;

    fn value(code: u8) -> f32;
}

impl MxCode for E2m1 {
    const OFFSETS: RangeInclusive<i16> = -2..=1;

    #[inline]
    fn value(code: u8) -> f32 {
        e2m1::decode(code)
    }
}

impl MxCode for E4m3 {
    const OFFSETS: RangeInclusive<i16> = 0..=0;

    #[inline]
    fn value(code: u8) -> f32 {
        e4m3::decode(code)
    }
}

impl<C: MxCode> Block for C {
    const BITS: usize = <C as Code>::BITS;
    const OFFSETS: RangeInclusive<i16> = <C as MxCode>::OFFSETS;
    const SCALES: RangeInclusive<i16> = 0..=254;
    const MAGNITUDE: u8 = <C as Code>::MAGNITUDE;
    const LIMIT: f32 = <C as Code>::LIMIT;

    fn step(_params: &Params<GlobalScale>, code: u8) -> f32 {
        e8m0::decode(code)
    }

    #[inline]
    fn value(code: u8) -> f32 {
        <C as MxCode>::value(code)
    }

    #[inline]
    fn nearest(value: f32) -> u8 {
        <C as Code>::nearest(value)
    }

    fn scale<R: nvfp4::Rule + mx::Rule, T: Element>(_params: &Params<GlobalScale>, largest: f32) -> u8 {
        <R as mx::Rule>::scale::<T>(largest, C::MAX).code()
    }

    fn profile<R: nvfp4::Rule + mx::Rule, T: Element>(
        _params: &Params<GlobalScale>,
        row: &[f32],
        largest: f32,
    ) -> Answer<u8> {
        let scale = <R as mx::Rule>::scale::<T>(largest, C::MAX);
        let mut codes = [0; MAX_GROUP];
        <R as mx::Rule>::codes::<T, C>(row, &mut codes[..row.len()], &scale);
        Answer { stored: scale.code(), codes }
    }
}

/// Rounds a magnitude to the nearest E2M1 value, as a number. Adding, and then subtracting, the power of two whose last
/// place is the spacing of the values around the magnitude rounds to that spacing.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
fn nearest_value(magnitude: f32) -> f32 {
    let least = if magnitude > 1.0 { magnitude } else { 1.0 };
    let power = f32::from_bits((least.to_bits() & 0x7F80_0000).wrapping_add(22 << 23));
    let rounded = (magnitude + power) - power;
    if rounded < 6.0 { rounded } else { 6.0 }
}

/// Computes the errors of a batch of E2M1 codes under one scale per lane.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
fn errors(values: &[Lanes], weights: Option<&[Lanes]>, steps: &Lanes) -> Lanes {
    let mut sum = [0.0; LANES];
    let mut inverse = [0.0; LANES];
    for lane in 0..LANES {
        inverse[lane] = 1.0 / steps[lane];
    }
    for (i, value) in values.iter().enumerate() {
        for lane in 0..LANES {
            let magnitude = value[lane].abs();
            let difference = magnitude - nearest_value(magnitude * inverse[lane]) * steps[lane];
            let weighted = weights.map_or(difference, |weights| weights[i][lane] * difference);
            sum[lane] += weighted * difference;
        }
    }
    sum
}

/// Finds the best scales for a batch. Returns them with their errors and with the errors of MLX's scales, or zero where
/// MLX's scale was not tried.
#[inline(always)]
#[expect(clippy::inline_always, reason = "compiled with the instructions of its caller")]
fn search<B: Block>(
    params: &Params<GlobalScale>,
    values: &[Lanes],
    weights: Option<&[Lanes]>,
    fitting: &[u8; LANES],
    mlx: &[u8; LANES],
) -> ([u8; LANES], Lanes, Lanes) {
    let (mut best, mut least) = (*fitting, [f32::INFINITY; LANES]);
    let mut baseline = [0.0; LANES];
    for offset in B::OFFSETS {
        let mut codes = [0; LANES];
        let mut steps = [0.0; LANES];
        for lane in 0..LANES {
            let code = (i16::from(fitting[lane]) + offset).clamp(*B::SCALES.start(), *B::SCALES.end());
            codes[lane] = code.to_le_bytes()[0];
            steps[lane] = B::step(params, codes[lane]);
        }
        let error = errors(values, weights, &steps);
        for lane in 0..LANES {
            // The comparison is false for NaN. A step of zero may win: its codes mean zero, and its error is the true
            // one.
            if error[lane] < least[lane] {
                (best[lane], least[lane]) = (codes[lane], error[lane]);
            }
            if codes[lane] == mlx[lane] {
                baseline[lane] = error[lane];
            }
        }
    }
    (best, least, baseline)
}

/// Finds the nearest codes under a scale.
fn answer<B: Block>(params: &Params<GlobalScale>, row: &[f32], stored: u8) -> Answer<u8> {
    let step = B::step(params, stored);
    let mut codes = [0; MAX_GROUP];
    if step > 0.0 {
        for (code, value) in codes.iter_mut().zip(row) {
            *code = B::nearest(value / step);
        }
    }
    Answer { stored, codes }
}

/// Encodes whole groups. Always inlined, so that it is compiled with the instructions of its caller.
#[inline(always)]
#[expect(clippy::inline_always, reason = "each level compiles its own")]
pub(crate) fn encode<B: Block, T: Element>(
    params: &Params<GlobalScale>,
    importance: Option<Importance<'_>>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let EncodeBuffers { weight, scale, bias: _ } = out;
    let group = params.group;
    let searched = B::OFFSETS.end() > B::OFFSETS.start();
    let mut stats = EncodeStats::default();
    let mut batch = Batch::new(group);
    let parts = scale.chunks_mut(LANES).zip(weight.chunks_mut(LANES * group * B::BITS / 8));
    for (i, (src, (scale, weight))) in src.chunks(LANES * group * T::SIZE).zip(parts).enumerate() {
        batch.read::<T>(src, i * LANES, importance);
        let (mut largest, mut fitting, mut mlx) = ([0.0; LANES], [1; LANES], [1; LANES]);
        for lane in 0..batch.count {
            let row = batch.row(lane);
            largest[lane] = Plus::largest(row, batch.non_finite[lane]);
            fitting[lane] = B::scale::<Plus, T>(params, largest[lane]);
            mlx[lane] = B::scale::<Mlx, T>(params, largest[lane]);
        }
        let weights = importance.is_some().then_some(&batch.weights[..group]);
        let (best, error, baseline) = if searched {
            search::<B>(params, &batch.values[..group], weights, &fitting, &mlx)
        } else {
            (fitting, [0.0; LANES], [0.0; LANES])
        };
        for (lane, (stored, packed)) in scale.iter_mut().zip(weight.chunks_exact_mut(group * B::BITS / 8)).enumerate() {
            let row = batch.row(lane);
            let ordinary = searched && batch.is_ordinary(lane, largest[lane]);
            let chosen = if ordinary && error[lane] < baseline[lane] * 0.999 {
                answer::<B>(params, row, best[lane])
            } else {
                let mlx = B::profile::<Mlx, T>(params, row, Mlx::largest(row, batch.non_finite[lane]));
                let plus = B::profile::<Plus, T>(params, row, largest[lane]);
                // Under the scale of `plus`, the nearest codes are those of `plus`, and often those of `mlx` too.
                let found = (ordinary && best[lane] != plus.stored).then(|| answer::<B>(params, row, best[lane]));
                let plus = (plus != mlx).then_some(plus);
                least([Some(mlx), plus, found].into_iter().flatten(), |answer| {
                    let step = B::step(params, answer.stored);
                    squared_error(row, batch.row_weights(lane), |i| B::value(answer.codes[i]) * step)
                })
            };
            *stored = chosen.stored;
            let codes = &chosen.codes[..group];
            if B::BITS == 4 {
                bits::pack::<4>(codes, packed);
            } else {
                bits::pack::<8>(codes, packed);
            }

            stats.non_finite += batch.non_finite[lane];
            if batch.non_finite[lane] == 0 && largest[lane] > 0.0 {
                let step = B::step(params, chosen.stored);
                stats.zeroed_groups += u64::from(codes.iter().all(|code| code & B::MAGNITUDE == 0));
                // The search clips on purpose. Only weights that no scale can reach are counted as clipped.
                let reach = B::step(params, B::SCALES.end().to_le_bytes()[0]) * B::LIMIT;
                stats.clipped_groups += u64::from(largest[lane] > reach);
                stats.overflowed_groups += u64::from(!step.is_finite());
            }
        }
    }
    stats
}
