//! Kernels for x86-64 with AVX2, FMA and F16C.
//!
//! The results have the bits of the portable kernels. Each kernel takes shortcuts for ordinary numbers and leaves all
//! other groups or batches to the portable kernel, so no rule about NaN, infinities or overflow exists twice. Vectors
//! are read and written by value, from arrays, so the only unsafe operation is the call of each kernel.

mod affine;
pub(crate) mod affine_decode;
mod block_decode;
mod divide;
mod e2m1;
mod e2m1_keys;
pub(crate) mod element;
mod ggml;
mod kernels;
mod measure;
mod minifloat;
mod mx;
mod nvfp4;
mod nvfp4_short;
mod pack;
mod reduce;
mod search;
mod signed;
pub(crate) mod stream;

use crate::batch;

/// Proof that the machine has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Returns the proof where the machine has these instructions.
    pub(crate) fn detect() -> Option<Self> {
        let found =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }
}
