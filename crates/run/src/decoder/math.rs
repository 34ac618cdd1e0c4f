//! Arithmetic on slices of F32. The order of every sum is fixed, so that a row has the same bits alone and among others.
#![expect(clippy::inline_always, reason = "what calls it is compiled for each set of instructions")]

use std::f32::consts::LOG2_E;

use longshore_quant::matmul::Threads;

use crate::{
    spec::{Activation, NormSpec},
    wide::{Work, wide},
};

const LANES: usize = 16;
/// Elements from which the rows of an operation are divided among threads.
const PARALLEL: usize = 1 << 15;
/// Elements that a thread takes at a time.
const CHUNK: usize = 1 << 13;

/// Sum of the products of two slices.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += a * b;
    }
    total(lanes)
}

/// Adds `factor` times `x` to `y`.
#[inline(always)]
pub(crate) fn add_scaled(y: &mut [f32], factor: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}

/// Adds rows of `x`, which lie `stride` elements apart, each times its weight. Elements of `y` are kept in registers.
#[inline(always)]
pub(crate) fn add_weighted(y: &mut [f32], weights: &[f32], x: &[f32], stride: usize) {
    let mut at = 0;
    while at + 4 * LANES <= y.len() {
        add_columns(&mut y[at..], weights, &x[at..], stride);
        at += 4 * LANES;
    }
    while at + LANES <= y.len() {
        let y: &mut [f32; LANES] = y[at..].first_chunk_mut().expect("a vector is left");
        let mut sums = *y;
        for (weight, row) in weights.iter().zip(x.chunks(stride)) {
            add_lanes(&mut sums, *weight, &row[at..]);
        }
        *y = sums;
        at += LANES;
    }
    if at < y.len() {
        for (weight, row) in weights.iter().zip(x.chunks(stride)) {
            y[at..].iter_mut().zip(&row[at..]).for_each(|(y, x)| *y += weight * x);
        }
    }
}

/// Adds the first four vectors of rows of `x` to those of `y`. Their sums grow side by side, as one sum has to wait for its last
/// addition. They are variables of their own, since compilers would make vectors across an array of them.
#[inline(always)]
fn add_columns(y: &mut [f32], weights: &[f32], x: &[f32], stride: usize) {
    let y = y.as_chunks_mut::<LANES>().0.first_chunk_mut::<4>().expect("there are as many vectors");
    let [mut first, mut second, mut third, mut fourth] = *y;
    for (weight, row) in weights.iter().zip(x.chunks(stride)) {
        add_lanes(&mut first, *weight, row);
        add_lanes(&mut second, *weight, &row[LANES..]);
        add_lanes(&mut third, *weight, &row[2 * LANES..]);
        add_lanes(&mut fourth, *weight, &row[3 * LANES..]);
    }
    *y = [first, second, third, fourth];
}

#[inline(always)]
fn add_lanes(sums: &mut [f32; LANES], weight: f32, row: &[f32]) {
    let row: &[f32; LANES] = row.first_chunk().expect("a row is as long as the sums");
    for lane in 0..LANES {
        sums[lane] += weight * row[lane];
    }
}

/// Adds `x` to `y`.
pub(crate) fn add(y: &mut [f32], x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
}

/// Multiplies every element.
#[inline(always)]
pub(crate) fn scale(y: &mut [f32], factor: f32) {
    for y in y {
        *y *= factor;
    }
}

/// Whether no element is infinite or NaN.
pub(crate) fn is_finite(x: &[f32]) -> bool {
    x.iter().fold(0u32, |most, x| most.max(x.to_bits() & 0x7FFF_FFFF)) < f32::INFINITY.to_bits()
}

/// Normalises `x` into `out`.
pub(crate) fn norm(spec: NormSpec, x: &[f32], weight: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    let count = x.len() as f32;
    let mean = if spec.centres { sum(x) / count } else { 0.0 };
    let squares = if spec.centres {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = x - mean);
        dot(out, out)
    } else {
        dot(x, x)
    };
    let factor = (squares / count + spec.eps).sqrt().recip();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = (x - mean) * factor * weight;
    }
    if let Some(bias) = bias {
        add(out, bias);
    }
}

/// Normalises `x` in place.
pub(crate) fn norm_in_place(spec: NormSpec, x: &mut [f32], weight: &[f32]) {
    let factor = (dot(x, x) / x.len() as f32 + spec.eps).sqrt().recip();
    x.iter_mut().zip(weight).for_each(|(x, weight)| *x = *x * factor * weight);
}

/// Bounds every element: `cap × tanh(x / cap)`.
pub(crate) fn soft_cap(x: &mut [f32], cap: Option<f32>) {
    if let Some(cap) = cap {
        for x in x {
            *x = cap * (*x / cap).tanh();
        }
    }
}

/// Replaces `gate` by its activation times `up`.
pub(crate) fn gate(activation: Activation, gate: &mut [f32], up: &[f32]) {
    wide(Gate { activation, x: gate, up });
}

struct Gate<'g> {
    activation: Activation,
    x: &'g mut [f32],
    up: &'g [f32],
}

impl Work for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let pairs = self.x.iter_mut().zip(self.up);
        match self.activation {
            Activation::Silu => pairs.for_each(|(gate, up)| *gate = silu(*gate) * up),
            Activation::GeluTanh => pairs.for_each(|(gate, up)| *gate = gelu_tanh(*gate) * up),
            Activation::Gelu => pairs.for_each(|(gate, up)| *gate = gelu(*gate) * up),
            Activation::Relu => pairs.for_each(|(gate, up)| *gate = gate.max(0.0) * up),
            Activation::Clamped { limit } => pairs.for_each(|(gate, up)| *gate = clamped(*gate, *up, limit)),
        }
    }
}

/// Replaces `x` by its activation.
pub(crate) fn activate(activation: Activation, x: &mut [f32]) {
    wide(Activate { activation, x });
}

struct Activate<'x> {
    activation: Activation,
    x: &'x mut [f32],
}

impl Work for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let x = self.x.iter_mut();
        match self.activation {
            Activation::Silu | Activation::Clamped { .. } => x.for_each(|x| *x = silu(*x)),
            Activation::GeluTanh => x.for_each(|x| *x = gelu_tanh(*x)),
            Activation::Gelu => x.for_each(|x| *x = gelu(*x)),
            Activation::Relu => x.for_each(|x| *x = x.max(0.0)),
        }
    }
}

/// gpt-oss's gate: both inputs are clamped, the gate from above only.
#[inline(always)]
fn clamped(gate: f32, up: f32, limit: f32) -> f32 {
    // NaN stays NaN, so that it is reported.
    let gate = if gate > limit { limit } else { gate };
    (up.clamp(-limit, limit) + 1.0) * gate * sigmoid(1.702 * gate)
}

/// One over one plus e to the power of minus `x`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const ROOT: f32 = 0.797_884_6;
    let inner = ROOT * (x + 0.044_715 * x * x * x);
    // x / 2 × (1 + tanh(inner))
    x * sigmoid(2.0 * inner)
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Error function, by the rational approximation 7.1.26 of Abramowitz and Stegun: within 1.5e-7.
#[inline(always)]
fn erf(x: f32) -> f32 {
    let magnitude = f64::from(x.abs());
    let t = 1.0 / (1.0 + 0.327_591_1 * magnitude);
    let sum = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let sum = sum.iter().fold(0.0, |sum, factor| sum * t + factor) * t;
    (1.0 - sum * (-magnitude * magnitude).exp()).copysign(f64::from(x)) as f32
}

/// e to the power of `x`, within 2e-7 of it, in a form that compilers make vectors of. Below -87 it is nearly zero.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding this leaves a whole number in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const FACTORS: [f32; 8] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = x - whole * LN_2_HIGH - whole * LN_2_LOW;
    let power = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    let mut sum = FACTORS[0];
    for factor in &FACTORS[1..] {
        sum = sum * rest + factor;
    }
    sum * power
}

/// Replaces logits by their exponentials less the largest, and returns the sum. `extra` is a logit that takes its share and
/// has no place.
#[inline(always)]
pub(crate) fn exponentials(logits: &mut [f32], extra: Option<f32>) -> f32 {
    let most = extra.unwrap_or(f32::NEG_INFINITY).max(most(logits));
    for logit in logits.iter_mut() {
        *logit = exp(*logit - most);
    }
    sum(logits) + extra.map_or(0.0, |extra| exp(extra - most))
}

/// Runs an operation on each row of `rows`, with its number, on all threads where the rows are worth it.
pub(crate) fn each_row(threads: &Threads, rows: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let width = width.max(1);
    let count = if rows.len() < PARALLEL { rows.len() / width } else { (CHUNK / width).max(1) };
    threads.each_chunk(rows, count.max(1) * width, |chunk, rows| {
        rows.chunks_exact_mut(width).enumerate().for_each(|(at, row)| work(chunk * count + at, row));
    });
}

/// Runs an operation on elements of `y` with those of `x` in the same places, on all threads where they are worth it.
pub(crate) fn each_pair(threads: &Threads, y: &mut [f32], x: &[f32], work: impl Fn(&mut [f32], &[f32]) + Sync) {
    let count = if y.len() < PARALLEL { y.len() } else { CHUNK };
    threads.each_chunk(y, count.max(1), |chunk, y| work(y, &x[chunk * count..][..y.len()]));
}

/// The largest element, NaN apart.
#[inline(always)]
fn most(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = if chunk[lane] > lanes[lane] { chunk[lane] } else { lanes[lane] };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    total(lanes)
}

#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    let mut sums = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_library() {
        for step in -2000..2000 {
            let x = step as f32 * 0.0321;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found - expected).abs() <= 3e-7 * expected + 1e-37, "{x}: {found} {expected}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37 && exp(f32::NAN).is_nan());
        for (x, expected) in [(0.5, 0.520_499_9), (-1.0, -0.842_700_8), (2.5, 0.999_593), (0.0, 0.0)] {
            assert!((erf(x) - expected).abs() < 3e-7, "{x}");
        }
        for x in [-3.0f32, -0.1, 0.0, 0.7, 4.0] {
            let tanh = (0.797_884_6 * (x + 0.044_715 * x.powi(3))).tanh();
            assert!((gelu_tanh(x) - 0.5 * x * (1.0 + tanh)).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn what_is_not_finite_is_found() {
        assert!(is_finite(&[1.0, -f32::MAX, 0.0]));
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!is_finite(&[1.0, bad]));
        }
    }

    #[test]
    fn an_extra_logit_takes_its_share() {
        let mut logits = [1.0, 2.0];
        let sum = exponentials(&mut logits, Some(3.0));
        let expected = 1.0f32.exp() / (1.0f32.exp() + 2.0f32.exp() + 3.0f32.exp());
        assert!((logits[0] / sum - expected).abs() < 1e-6);
    }
}
