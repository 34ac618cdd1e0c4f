//! Decodes the block types of ggml.
//!
//! The types that models are published in have kernels of their own. The others use the portable ones, compiled for
//! more instructions. All compute the portable operations in the same order, so their bits are the same, and no number
//! needs a rule of its own.
#![expect(unsafe_code, reason = "calling functions with target features from functions without")]

mod kquant;
mod lanes;
mod legacy;

use std::arch::x86_64::_mm256_cvtph_ps;

use super::Avx2;
use crate::layout::ggml::{DecodeBlocks, GgmlType, block, of_type, plain};

impl Avx2 {
    /// Returns the function that decodes whole blocks of a type.
    #[expect(clippy::unused_self, reason = "holding it is the proof that the kernels may run")]
    pub(crate) fn ggml_decoder(self, ggml_type: GgmlType) -> DecodeBlocks {
        macro_rules! each {
            ($one:path) => {{
                #[target_feature(enable = "avx2,fma,f16c")]
                fn blocks(bytes: &[u8], out: &mut [f32]) {
                    block::each(bytes, out, |block, out| $one(block, out));
                }
                fn enter(bytes: &[u8], out: &mut [f32]) {
                    // SAFETY: this is reached only through an `Avx2`, which exists only where avx2, fma and f16c have
                    // been detected.
                    unsafe { blocks(bytes, out) }
                }
                enter
            }};
        }
        match ggml_type {
            GgmlType::F16 => f16,
            GgmlType::Q4_0 => each!(legacy::q4_0),
            GgmlType::Q4_1 => each!(legacy::q4_1),
            GgmlType::Q5_0 => each!(legacy::q5_0),
            GgmlType::Q5_1 => each!(legacy::q5_1),
            GgmlType::Q8_0 => each!(legacy::q8_0),
            GgmlType::IQ4NL => each!(legacy::iq4_nl),
            GgmlType::MXFP4 => each!(legacy::mxfp4),
            GgmlType::NVFP4 => each!(legacy::nvfp4),
            GgmlType::Q2K => each!(kquant::q2_k),
            GgmlType::Q4K => each!(kquant::q4_k),
            GgmlType::Q5K => each!(kquant::q5_k),
            GgmlType::Q6K => each!(kquant::q6_k),
            _ => of_type!(ggml_type, each),
        }
    }
}

/// Widens whole vectors, and leaves the rest to the portable kernel.
#[target_feature(enable = "avx2,fma,f16c")]
fn widen(bytes: &[u8], out: &mut [f32]) {
    let (vectors, rest) = bytes.as_chunks::<16>();
    let (wide, last) = out.split_at_mut(8 * vectors.len());
    for (vector, out) in vectors.iter().zip(wide.as_chunks_mut::<8>().0) {
        *out = bytemuck::cast(_mm256_cvtph_ps(lanes::load(*vector)));
    }
    block::each(rest, last, plain::f16);
}

fn f16(bytes: &[u8], out: &mut [f32]) {
    // SAFETY: this is reached only through an `Avx2`, which exists only where avx2, fma and f16c have been detected.
    unsafe { widen(bytes, out) }
}
