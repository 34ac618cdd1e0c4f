//! Encodes nvfp4, with the arithmetic of [`portable::nvfp4`](crate::portable).
//!
//! ```text
//! for eight groups: magnitudes, scales and divisors   a lane each
//!     for 16 codes: scale, round, pack
//! ```
//!
//! Bound: the instructions. For the profile `mlx`, for F32 elements and under a global scale, the bound is one division
//! per four weights on processors with a slow divider. Zero scales and numbers far outside of the usual range are left
//! to the portable kernel.

use std::arch::aarch64::{
    float32x4_t, uint32x4_t, vaddvq_u32, vandq_u32, vbicq_u32, vbslq_f32, vceqzq_f32, vcgeq_f32, vcgtq_f32, vcgtzq_f32,
    vcleq_f32, vdivq_f32, vdupq_n_f32, vdupq_n_u32, vmaxq_u32, vminq_f32, vmulq_f32, vmulq_n_f32, vorrq_u32,
    vreinterpretq_f32_u32, vreinterpretq_u32_f32, vshlq_n_u32, vshrq_n_u32,
};

use super::{
    e2m1,
    element::{load, round},
    minifloat::{self, nearest_even},
    pack::pack,
    reduce::{all, magnitudes},
};
use crate::{
    EncodeBuffers, EncodeStats, EncodedLen, FloatType, GlobalScale, Profile,
    batch::{self, GROUPS, Tensor},
    portable::{
        Params,
        element::Element,
        nvfp4::{self, Rule, factor},
    },
};

const GROUP: usize = 16;

/// Returns true where all lanes lie in `[from, to]` or are set in `otherwise`.
#[inline]
#[target_feature(enable = "neon")]
fn within(values: float32x4_t, from: f32, to: f32, otherwise: uint32x4_t) -> bool {
    let (above, below) = (vcgeq_f32(values, vdupq_n_f32(from)), vcleq_f32(values, vdupq_n_f32(to)));
    all(vorrq_u32(otherwise, vandq_u32(above, below)))
}

/// Returns the values of positive E4M3 codes in lanes of 32 bits. The value of NaN is 480.
#[inline]
#[target_feature(enable = "neon")]
fn e4m3_values(codes: uint32x4_t) -> float32x4_t {
    let in_place = vreinterpretq_f32_u32(vshlq_n_u32::<20>(codes));
    vmulq_n_f32(in_place, f32::from_bits((127 + 120) << 23))
}

/// Method by which the codes of a group are computed from its elements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// Elements are divided by the step.
    Division,
    /// Elements are multiplied by the reciprocal of the step.
    Multiplication,
    /// The method of [`e2m1`], which takes the reciprocal of the step.
    Distances,
}

#[inline]
fn by<R: Rule, T: Element>(params: &Params<GlobalScale>) -> By {
    match R::PROFILE {
        Profile::MlxMetal => By::Multiplication,
        Profile::Plus if T::SIZE == 2 && params.global.is_none() => By::Distances,
        _ => By::Division,
    }
}

/// Numbers of four groups that `prepare` computes and `finish` packs with.
#[derive(Clone, Copy)]
struct Prepared {
    codes: uint32x4_t,
    /// Divisors or factors for the elements, one per group.
    steps: float32x4_t,
    clipped: u32,
}

/// Finds the scales of four groups from their largest magnitudes. Returns `None` where the portable kernel must encode
/// them.
#[inline]
#[target_feature(enable = "neon")]
fn prepare<R: Rule, T: Element>(params: &Params<GlobalScale>, largest: float32x4_t) -> Option<Prepared> {
    let factor = vdupq_n_f32(factor(params));
    let zero = vceqzq_f32(largest);
    let sixth = vdivq_f32(largest, vdupq_n_f32(6.0));
    let sixth = if matches!(R::PROFILE, Profile::Mlx) { round::<T>(sixth) } else { sixth };
    let wanted = vminq_f32(vmulq_f32(sixth, factor), vdupq_n_f32(448.0));
    let codes = nearest_even::<3, -6>(wanted);
    let codes = if matches!(R::PROFILE, Profile::Plus) {
        vmaxq_u32(codes, vandq_u32(vcgtzq_f32(largest), vdupq_n_u32(1)))
    } else {
        codes
    };
    let scale = e4m3_values(codes);
    let quotient = vdivq_f32(largest, scale);
    let reached = vmulq_f32(quotient, factor);
    if !within(reached, 1.0, 7.9, zero) {
        return None;
    }
    let steps = steps::<R, T>(params, scale, quotient, zero)?;
    let clipped = vcgtq_f32(reached, vdupq_n_f32(7.0));
    Some(Prepared { codes, steps, clipped: vaddvq_u32(vshrq_n_u32::<31>(clipped)) })
}

/// Computes the steps of four groups, or their reciprocals. Returns `None` where one of them is out of the range in
/// which the shortcuts are exact.
#[inline]
#[target_feature(enable = "neon")]
fn steps<R: Rule, T: Element>(
    params: &Params<GlobalScale>,
    scale: float32x4_t,
    quotient: float32x4_t,
    zero: uint32x4_t,
) -> Option<float32x4_t> {
    const SMALL: f32 = f32::from_bits((127 - 100) << 23);
    let one = vdupq_n_f32(1.0);
    match R::PROFILE {
        // Groups of zeros are divided by one. Quotients of F16 elements must be in its range.
        Profile::Mlx => {
            let most = if matches!(T::FLOAT, FloatType::F16) { 60_000.0 } else { f32::MAX };
            within(quotient, f32::MIN_POSITIVE, most, zero).then(|| vbslq_f32(zero, one, scale))
        }
        // Groups of zeros are multiplied by zero.
        Profile::MlxMetal => {
            let factors = vdivq_f32(vdupq_n_f32(factor(params)), scale);
            // A tiny global scale can make a factor infinite, which the codes below cannot handle.
            within(factors, f32::MIN_POSITIVE, f32::MAX, zero)
                .then(|| vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(factors), zero)))
        }
        // In this profile a group of zeros gets codes without a sign, which the portable kernel writes.
        _ => {
            let step = params.global.map_or(scale, |global| vmulq_n_f32(scale, global.multiplier()));
            within(step, SMALL, 1.0 / SMALL, vdupq_n_u32(0))
                .then(|| if by::<R, T>(params) == By::Distances { vdivq_f32(one, step) } else { step })
        }
    }
}

/// Packs the codes of eight groups.
#[inline]
#[target_feature(enable = "neon")]
fn finish<R: Rule, T: Element>(
    params: &Params<GlobalScale>,
    prepared: &[Prepared; 2],
    src: &[u8],
    out: &mut EncodeBuffers<'_>,
) -> EncodeStats {
    let codes = bytemuck::cast::<[uint32x4_t; 2], [u32; GROUPS]>(prepared.map(|prepared| prepared.codes));
    for (stored, code) in out.scale.iter_mut().zip(codes) {
        *stored = code.to_le_bytes()[0];
    }
    let steps = bytemuck::cast::<[float32x4_t; 2], [f32; GROUPS]>(prepared.map(|prepared| prepared.steps));
    let (by, factor) = (by::<R, T>(params), factor(params));
    let groups = src.chunks_exact(GROUP * T::SIZE).zip(out.weight.chunks_exact_mut(GROUP / 2));
    for ((src, packed), step) in groups.zip(steps) {
        let step = vdupq_n_f32(step);
        let values = load::<T>(src);
        let codes = match (by, R::PROFILE) {
            (By::Distances, _) => e2m1::encode(values, step),
            (By::Multiplication, _) => {
                minifloat::encode::<4, false>(values.map(|value| vmulq_f32(value, step)), values)
            }
            (By::Division, Profile::Mlx) => {
                let scaled = |value| vmulq_n_f32(round::<T>(vdivq_f32(value, step)), factor);
                minifloat::encode::<4, true>(values.map(scaled), values)
            }
            (By::Division, _) => minifloat::encode::<4, false>(values.map(|value| vdivq_f32(value, step)), values),
        };
        pack::<4>(codes, packed);
    }
    EncodeStats { clipped_groups: u64::from(prepared[0].clipped + prepared[1].clipped), ..EncodeStats::default() }
}

#[target_feature(enable = "neon")]
pub(super) fn encode<R: Rule, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let len = EncodedLen { weight: GROUP / 2, scale: 1, bias: 0 };
    let tensor = Tensor { params, src, out, src_len: GROUP * T::SIZE, len };
    batch::encode(
        tensor,
        nvfp4::encode::<R, T>,
        |src| {
            let [low, high] = magnitudes::<T, GROUP>(src)?;
            Some([prepare::<R, T>(params, low)?, prepare::<R, T>(params, high)?])
        },
        |prepared, src, out| finish::<R, T>(params, prepared, src, out),
    )
}
