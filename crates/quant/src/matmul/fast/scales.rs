//! Reads scales and biases as `f32`.

use crate::{
    FloatType, Format,
    matmul::weights::Encoded,
    portable::{e4m3, e8m0, element},
};

/// The scales and biases of rows.
#[derive(Clone, Copy, Debug)]
pub(in crate::matmul) struct Scales<'a> {
    pub(in crate::matmul) parts: Encoded<'a>,
    /// Groups of a row.
    pub(in crate::matmul) groups: usize,
    /// Numbers of a row in the output. Those above `groups` become zero.
    pub(in crate::matmul) padded_groups: usize,
}

impl Scales<'_> {
    /// Reads all scales and biases. Schemes without biases leave `biases` as they are.
    ///
    /// Always inlined, so that it is compiled with the instructions of its caller.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the loops are compiled for several sets of instructions")]
    pub(in crate::matmul) fn read(self, scales: &mut [f32], biases: &mut [f32]) {
        let Encoded { scheme, float, scale, bias, global, .. } = self.parts;
        match scheme.format() {
            Format::Affine { .. } => {
                let row = self.groups * float.size();
                for (part, out) in [(scale, scales), (bias, biases)] {
                    for (part, out) in part.chunks_exact(row).zip(out.chunks_exact_mut(self.padded_groups)) {
                        let (out, padding) = out.split_at_mut(self.groups);
                        read(float, part, out);
                        padding.fill(0.0);
                    }
                }
            }
            // Half of each scale, because the integers are twice the values.
            Format::Nvfp4 => self.bytes(scale, scales, |code| {
                let scale = e4m3::decode(code);
                global.map_or(scale, |global| scale * global) * 0.5
            }),
            Format::Mxfp4 => self.bytes(scale, scales, |code| e8m0::decode(code) * 0.5),
            Format::Mxfp8 => self.bytes(scale, scales, e8m0::decode),
        }
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the loops are compiled for several sets of instructions")]
    fn bytes(self, part: &[u8], out: &mut [f32], decode: impl Fn(u8) -> f32) {
        for (part, out) in part.chunks_exact(self.groups).zip(out.chunks_exact_mut(self.padded_groups)) {
            let (out, padding) = out.split_at_mut(self.groups);
            for (code, out) in part.iter().zip(out) {
                *out = decode(*code);
            }
            padding.fill(0.0);
        }
    }
}

#[inline]
fn read(float: FloatType, src: &[u8], out: &mut [f32]) {
    use element::Element;
    match float {
        FloatType::F32 => element::F32::read(src, out),
        FloatType::F16 => element::F16::read(src, out),
        FloatType::BF16 => element::Bf16::read(src, out),
    }
}
