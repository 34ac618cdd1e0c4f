//! Decodes the floating-point formats: value = code × scale, times nvfp4's optional global scale.
//!
//! The scale and the product are rounded to the output's type, as MLX's CPU backend does. Under a global scale MLX
//! computes in `f32` and returns `f32`; this kernel does too, and converts the result to the output's type at the end.

use super::{MAX_GROUP, Params, bits, e2m1, e4m3, e8m0, element::Element};

/// Values of the scales and codes of one format.
pub(crate) trait Codec: 'static {
    fn scale(code: u8) -> f32;
    fn value(code: u8) -> f32;
}

pub(crate) struct Nvfp4;
pub(crate) struct Mxfp4;
pub(crate) struct Mxfp8;

impl Codec for Nvfp4 {
    fn scale(code: u8) -> f32 {
        e4m3::decode(code)
    }

    #[inline]
    fn value(code: u8) -> f32 {
        e2m1::decode(code)
    }
}

impl Codec for Mxfp4 {
    fn scale(code: u8) -> f32 {
        e8m0::decode(code)
    }

    #[inline]
    fn value(code: u8) -> f32 {
        e2m1::decode(code)
    }
}

impl Codec for Mxfp8 {
    fn scale(code: u8) -> f32 {
        e8m0::decode(code)
    }

    #[inline]
    fn value(code: u8) -> f32 {
        e4m3::decode(code)
    }
}

pub(crate) fn decode<C: Codec, O: Element, const BITS: usize>(
    params: &Params<f32>,
    weight: &[u8],
    scale: &[u8],
    _bias: &[u8],
    out: &mut [u8],
) {
    let group = params.group;
    let (mut values, mut codes) = ([0.0; MAX_GROUP], [0; MAX_GROUP]);
    let (values, codes) = (&mut values[..group], &mut codes[..group]);
    let parts = scale.iter().zip(weight.chunks_exact(group * BITS / 8));
    for (out, (scale, packed)) in out.chunks_exact_mut(group * O::SIZE).zip(parts) {
        let scale = match params.global {
            Some(global) => C::scale(*scale) * global,
            None => O::round(C::scale(*scale)),
        };
        bits::unpack::<BITS>(packed, codes);
        for (value, code) in values.iter_mut().zip(codes.iter()) {
            *value = C::value(*code) * scale;
        }
        O::write(values, out);
    }
}
