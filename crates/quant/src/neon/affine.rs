//! Encodes affine groups, with the arithmetic of [`portable::affine`](crate::portable).
//!
//! ```text
//! for eight groups: extremes of each         one vector of minima, one of maxima, in two halves
//!                   scales, biases           four divisions for four groups
//!     for 16 codes: subtract, divide, round  four at a time; conversion rounds, and saturates at zero
//!                   pack
//! ```
//!
//! Bound: one division per four weights on processors with a slow divider, the instructions on others. The alternative
//! is to divide by three fused operations as the AVX2 kernels do. Which of the two is faster has not been measured.

use std::arch::aarch64::{
    float32x4_t, uint32x4_t, vabsq_f32, vaddvq_u32, vandq_u32, vbicq_u32, vbslq_f32, vceqzq_f32, vcgtq_f32, vcgtzq_f32,
    vcvtaq_u32_f32, vcvtnq_u32_f32, vdivq_f32, vdupq_n_f32, vdupq_n_u8, vmaxq_f32, vminq_u8, vnegq_f32,
    vreinterpretq_f32_u32, vreinterpretq_u32_f32, vrndaq_f32, vrndnq_f32, vshrq_n_u32, vsubq_f32,
};

use super::{
    element::{Eight, load, round, store},
    pack::{pack, saturated_bytes},
    reduce::extremes,
};
use crate::{
    EncodeBuffers, EncodeStats, EncodedLen, GlobalScale,
    batch::{self, GROUPS, Tensor},
    portable::{
        Params,
        affine::{self, EPSILON, Rule},
        element::Element,
    },
};

/// Scales and biases of four groups, one per lane.
#[derive(Clone, Copy)]
struct Fit {
    scale: float32x4_t,
    bias: float32x4_t,
    /// Number of groups whose weights are not all zero, but whose edge has no code.
    zeroed: u32,
}

#[inline]
#[target_feature(enable = "neon")]
fn fit<R: Rule>(min: float32x4_t, max: float32x4_t, top: f32) -> Fit {
    let max = if R::FLOOR == 0.0 { vmaxq_f32(max, vdupq_n_f32(0.0)) } else { max };
    let step = vdivq_f32(vsubq_f32(max, min), vdupq_n_f32(top));
    let step = vmaxq_f32(step, vdupq_n_f32(EPSILON));
    let (low, high) = (vabsq_f32(min), vabsq_f32(max));
    let from_min = vcgtq_f32(low, high);
    let edge = vbslq_f32(from_min, min, max);
    let scale = vbslq_f32(from_min, step, vnegq_f32(step));
    let steps = vdivq_f32(edge, scale);
    let codes = if R::TIES_AWAY { vrndaq_f32(steps) } else { vrndnq_f32(steps) };
    let none = vceqzq_f32(codes);
    let zeroed = vandq_u32(none, vcgtzq_f32(vmaxq_f32(low, high)));
    Fit {
        scale: vbslq_f32(none, scale, vdivq_f32(edge, codes)),
        bias: vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(edge), none)),
        zeroed: vaddvq_u32(vshrq_n_u32::<31>(zeroed)),
    }
}

/// Rounds quotients below 2^16 to codes, not yet clamped to the largest code. Negative quotients become zero.
#[inline]
#[target_feature(enable = "neon")]
fn codes<R: Rule>(quotients: float32x4_t) -> uint32x4_t {
    if R::TIES_AWAY { vcvtaq_u32_f32(quotients) } else { vcvtnq_u32_f32(quotients) }
}

/// Fits eight groups. Returns `None` where the portable kernel must encode them.
#[inline]
#[target_feature(enable = "neon")]
fn prepare<R: Rule, T: Element, const BITS: usize, const GROUP: usize>(src: &[u8]) -> Option<[Fit; 2]> {
    let (min, max) = extremes::<T, GROUP>(src)?;
    let top = f32::from(u8::MAX >> (8 - BITS));
    Some([fit::<R>(min[0], max[0], top), fit::<R>(min[1], max[1], top)])
}

/// Packs the codes of eight groups.
#[inline]
#[target_feature(enable = "neon")]
fn finish<R: Rule, T: Element, const BITS: usize, const GROUP: usize>(
    fits: &[Fit; 2],
    src: &[u8],
    out: &mut EncodeBuffers<'_>,
) -> EncodeStats {
    let (scales, biases) = (fits.map(|fit| fit.scale), fits.map(|fit| fit.bias));
    store::<T>(scales, out.scale);
    store::<T>(biases, out.bias);
    let divisors = if R::STORED_SCALE { scales.map(|scale| round::<T>(scale)) } else { scales };
    let divisors = bytemuck::cast::<Eight, [f32; GROUPS]>(divisors);
    let biases = bytemuck::cast::<Eight, [f32; GROUPS]>(biases);
    let groups = src.chunks_exact(GROUP * T::SIZE).zip(out.weight.chunks_exact_mut(GROUP * BITS / 8));
    for ((src, packed), (divisor, bias)) in groups.zip(divisors.into_iter().zip(biases)) {
        let (divisor, bias) = (vdupq_n_f32(divisor), vdupq_n_f32(bias));
        for (src, packed) in src.chunks_exact(16 * T::SIZE).zip(packed.chunks_exact_mut(2 * BITS)) {
            // A scale is at least half a step, so no quotient is much above twice the largest code.
            let words = load::<T>(src).map(|values| codes::<R>(vdivq_f32(vsubq_f32(values, bias), divisor)));
            pack::<BITS>(vminq_u8(saturated_bytes(words), vdupq_n_u8(u8::MAX >> (8 - BITS))), packed);
        }
    }
    EncodeStats { zeroed_groups: u64::from(fits[0].zeroed + fits[1].zeroed), ..EncodeStats::default() }
}

#[target_feature(enable = "neon")]
pub(super) fn encode<R: Rule, T: Element, const BITS: usize>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    // A constant group size lets the compiler unroll.
    match params.group {
        32 => encode_groups::<R, T, BITS, 32>(params, src, out),
        64 => encode_groups::<R, T, BITS, 64>(params, src, out),
        _ => encode_groups::<R, T, BITS, 128>(params, src, out),
    }
}

#[target_feature(enable = "neon")]
fn encode_groups<R: Rule, T: Element, const BITS: usize, const GROUP: usize>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let len = EncodedLen { weight: GROUP * BITS / 8, scale: T::SIZE, bias: T::SIZE };
    let tensor = Tensor { params, src, out, src_len: GROUP * T::SIZE, len };
    batch::encode(
        tensor,
        affine::encode::<R, T, BITS>,
        |src| prepare::<R, T, BITS, GROUP>(src),
        |prepared, src, out| finish::<R, T, BITS, GROUP>(prepared, src, out),
    )
}
