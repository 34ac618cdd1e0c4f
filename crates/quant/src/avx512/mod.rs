//! Kernels for x86-64 with AVX-512.
//!
//! Wider registers pay where decoding is bound by instructions: affine codes of 8 bits, and of 4 bits to 16-bit numbers.
//! All other kernels are those of [`avx2`](crate::avx2).

mod affine_decode;
mod bf16_decode;
mod kernels;

use crate::avx2::Avx2;

/// Proof that the machine has AVX-512 with words and bytes, and what [`Avx2`] proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512 {
    avx2: Avx2,
    /// Whether there are conversions to BF16, too.
    has_bf16: bool,
}

impl Avx512 {
    /// Returns the proof where the machine has these instructions.
    pub(crate) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl");
        let has_bf16 = is_x86_feature_detected!("avx512bf16");
        if found { Avx2::detect().map(|avx2| Self { avx2, has_bf16 }) } else { None }
    }

    /// The proof of fewer instructions.
    pub(crate) fn avx2(self) -> Avx2 {
        self.avx2
    }
}
