//! Encodes mxfp4 and mxfp8, with the arithmetic of [`portable::mx`](crate::portable).
//!
//! ```text
//! for eight groups: magnitudes, exponents, reciprocals   a lane each
//!     for 16 codes: multiply, round, pack
//! ```
//!
//! Bound: the instructions. Dividing by a power of two is multiplying by another one. Rounding the quotient to the type
//! of the elements changes no code. MLX's CPU backend differs only in how it breaks ties, and below the range of normal
//! numbers, which is left to the portable kernel.

use std::arch::aarch64::{
    float32x4_t, uint32x4_t, vaddq_u32, vbicq_u32, vbslq_u32, vceqzq_f32, vcgtq_u32, vdivq_f32, vdupq_n_f32,
    vdupq_n_u32, vmulq_f32, vorrq_u32, vreinterpretq_f32_u32, vreinterpretq_u32_f32, vshlq_n_u32, vshrq_n_u32,
    vsubq_u32,
};

use super::{
    element::{load, round},
    minifloat,
    pack::pack,
    reduce::{all, magnitudes},
};
use crate::{
    EncodeBuffers, EncodeStats, EncodedLen, FloatType, GlobalScale, Profile,
    batch::{self, GROUPS, Tensor},
    portable::{
        Params,
        element::Element,
        mx::{self, Code, Rule},
    },
};

const GROUP: usize = 32;

/// Codes of the scales of four groups, and reciprocals of the scales.
#[derive(Clone, Copy)]
struct Scales {
    codes: uint32x4_t,
    inverse: uint32x4_t,
}

/// Computes the scales of four groups. Returns `None` where a scale is out of range.
#[inline]
#[target_feature(enable = "neon")]
fn scales<R: Rule, T: Element>(largest: float32x4_t, max: f32) -> Option<Scales> {
    let step = vdivq_f32(largest, vdupq_n_f32(max));
    let step = if matches!(R::PROFILE, Profile::Mlx) { round::<T>(step) } else { step };
    let bits = vreinterpretq_u32_f32(step);
    let zero = vceqzq_f32(largest);
    // Bits of the least normal number of F16 where the step was rounded to F16, else of F32.
    let halves = matches!((R::PROFILE, T::FLOAT), (Profile::Mlx, FloatType::F16));
    let normal = if halves { (127 - 14) << 23 } else { 1 << 23 };
    if !all(vorrq_u32(zero, vcgtq_u32(bits, vdupq_n_u32(normal - 1)))) {
        return None;
    }
    // Adding just under a unit of the exponent carries unless the step is a power of two. The step is below 2^100.
    let codes = vshrq_n_u32::<23>(vaddq_u32(bits, vdupq_n_u32(0x7F_FFFF)));
    let codes_or_one = vbslq_u32(zero, vdupq_n_u32(127), codes);
    let inverse = vshlq_n_u32::<23>(vsubq_u32(vdupq_n_u32(254), codes_or_one));
    let codes = if matches!(R::PROFILE, Profile::Mlx) { codes_or_one } else { vbicq_u32(codes, zero) };
    Some(Scales { codes, inverse })
}

/// Finds the scales of eight groups. Returns `None` where the portable kernel must encode them.
#[inline]
#[target_feature(enable = "neon")]
fn prepare<R: Rule, C: Code, T: Element>(src: &[u8]) -> Option<[Scales; 2]> {
    let [low, high] = magnitudes::<T, GROUP>(src)?;
    Some([scales::<R, T>(low, C::MAX)?, scales::<R, T>(high, C::MAX)?])
}

/// Packs the codes of eight groups.
#[inline]
#[target_feature(enable = "neon")]
fn finish<R: Rule, C: Code, T: Element>(scales: &[Scales; 2], src: &[u8], out: &mut EncodeBuffers<'_>) -> EncodeStats {
    let codes = bytemuck::cast::<[uint32x4_t; 2], [u32; GROUPS]>(scales.map(|scales| scales.codes));
    for (stored, code) in out.scale.iter_mut().zip(codes) {
        *stored = code.to_le_bytes()[0];
    }
    let inverses = scales.map(|scales| vreinterpretq_f32_u32(scales.inverse));
    let inverses = bytemuck::cast::<[float32x4_t; 2], [f32; GROUPS]>(inverses);
    let groups = src.chunks_exact(GROUP * T::SIZE).zip(out.weight.chunks_exact_mut(GROUP * C::BITS / 8));
    for ((src, packed), inverse) in groups.zip(inverses) {
        let inverse = vdupq_n_f32(inverse);
        for (src, packed) in src.chunks_exact(16 * T::SIZE).zip(packed.chunks_exact_mut(2 * C::BITS)) {
            let values = load::<T>(src);
            let products = values.map(|value| vmulq_f32(value, inverse));
            match (C::BITS, R::PROFILE) {
                (4, Profile::Mlx) => pack::<4>(minifloat::encode::<4, true>(products, values), packed),
                (4, _) => pack::<4>(minifloat::encode::<4, false>(products, values), packed),
                _ => pack::<8>(minifloat::encode::<8, false>(products, values), packed),
            }
        }
    }
    EncodeStats::default()
}

#[target_feature(enable = "neon")]
pub(super) fn encode<R: Rule, C: Code, T: Element>(
    params: &Params<GlobalScale>,
    src: &[u8],
    out: EncodeBuffers<'_>,
) -> EncodeStats {
    let len = EncodedLen { weight: GROUP * C::BITS / 8, scale: 1, bias: 0 };
    let tensor = Tensor { params, src, out, src_len: GROUP * T::SIZE, len };
    batch::encode(
        tensor,
        mx::encode::<R, C, T>,
        |src| prepare::<R, C, T>(src),
        |prepared, src, out| finish::<R, C, T>(prepared, src, out),
    )
}
