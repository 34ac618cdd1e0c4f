//! Products with AVX2, and with AVX-VNNI where there is no AVX-512.
//!
//! Vectors are read and written by value, from arrays, so the only unsafe operations are the calls of the kernels, and
//! prefetches.
#![expect(unsafe_code, reason = "calling functions with target features from functions without")]

pub(super) mod blocks;
mod exact;
mod expand;
mod fast;

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use super::{
    exact::{Lanes, Tile},
    fast::{
        Codes, Expanded, Form, LaneBlock, Rounded, Row, Rows, Scales, Sums, Tile as CodeTile, Totals, portable,
        round_group,
    },
};
use crate::{FloatType, avx2::Avx2, ggml::GgmlType};

/// Distance in bytes between the codes in work and those that are prefetched.
const AHEAD: usize = 8192;

/// Proof that the machine has AVX-VNNI, and what [`Avx2`] proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AvxVnni(Avx2);

impl AvxVnni {
    /// Returns the proof where the machine has these instructions.
    pub(super) fn detect() -> Option<Self> {
        if is_x86_feature_detected!("avxvnni") { Avx2::detect().map(Self) } else { None }
    }

    /// The proof of fewer instructions.
    pub(super) fn avx2(self) -> Avx2 {
        self.0
    }
}

#[expect(clippy::unused_self, reason = "holding it is the proof that the kernels may run")]
impl AvxVnni {
    /// Computes `y`: rows of weights with a row of the input.
    pub(super) fn one(self, form: Form, weights: Rows<'_>, input: Row<'_>, y: &mut [f32]) {
        // SAFETY: `self` exists only where avxvnni, avx2, fma and f16c have been detected.
        unsafe { fast::vnni::one(form, weights, input, y) }
    }

    /// Adds the products of a tile with blocks of input rows to the sums.
    pub(super) fn many(self, tile: CodeTile<'_>, blocks: &[LaneBlock], sums: &mut [Sums]) {
        // SAFETY: `self` exists only where avxvnni, avx2, fma and f16c have been detected.
        unsafe { fast::vnni::many(tile, blocks, sums) }
    }
}

#[expect(clippy::unused_self, reason = "holding it is the proof that the kernels may run")]
impl Avx2 {
    /// Adds the products of a tile to the lanes.
    pub(super) fn add_exact(self, tile: Tile<'_>, lanes: &mut Lanes) {
        // SAFETY: `self` exists only where avx2, fma and f16c have been detected.
        unsafe { exact::add(tile, lanes) }
    }

    /// Reads floats.
    pub(super) fn read_floats(self, float: FloatType, stored: &[u8], out: &mut [f32]) {
        // SAFETY: `self` exists only where avx2, fma and f16c have been detected.
        unsafe { expand::floats(float, stored, out) }
    }

    /// Rounds a group of an input to integers.
    pub(super) fn round(self, wide: bool, x: &[f32], integers: &mut [i32]) -> Rounded {
        // SAFETY: `self` exists only where avx2, fma and f16c have been detected.
        unsafe { round(wide, x, integers) }
    }

    /// Reads scales and biases.
    pub(super) fn read_scales(self, scales: Scales<'_>, out: &mut [f32], biases: &mut [f32]) {
        // SAFETY: `self` exists only where avx2, fma and f16c have been detected.
        unsafe { expand::scales(scales, out, biases) }
    }

    /// Expands codes to a byte each, in their order.
    pub(super) fn expand(self, codes: Codes, stored: &[u8], out: &mut [u8]) {
        // SAFETY: `self` exists only where avx2, fma and f16c have been detected.
        unsafe { expand::codes(codes, stored, out) }
    }

    /// Computes `y`: rows of weights with a row of the input.
    pub(super) fn one(self, form: Form, weights: Rows<'_>, input: Row<'_>, y: &mut [f32]) {
        // SAFETY: `self` exists only where avx2, fma and f16c have been detected.
        unsafe { fast::plain::one(form, weights, input, y) }
    }

    /// Adds the products of a tile with blocks of input rows to the sums.
    pub(super) fn many(self, tile: CodeTile<'_>, blocks: &[LaneBlock], sums: &mut [Sums]) {
        // SAFETY: `self` exists only where avx2, fma and f16c have been detected.
        unsafe { fast::plain::many(tile, blocks, sums) }
    }

    /// Adds up the chains of a block.
    pub(super) fn totals(self, sums: &Sums) -> Totals {
        // SAFETY: `self` exists only where avx2, fma and f16c have been detected.
        unsafe { totals(sums) }
    }

    /// Expands blocks of ggml.
    pub(super) fn expand_blocks(self, ggml_type: GgmlType, stored: &[u8], out: &mut Expanded<'_>) {
        // SAFETY: `self` exists only where avx2, fma and f16c have been detected.
        unsafe { blocks::expand(ggml_type, stored, out) }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn totals(sums: &Sums) -> Totals {
    portable::totals(sums)
}

#[target_feature(enable = "avx2,fma,f16c")]
fn round(wide: bool, x: &[f32], integers: &mut [i32]) -> Rounded {
    round_group(wide, x, integers)
}

/// Prefetches what comes `ahead` bytes after the start of `stored`.
#[inline]
fn prefetch(stored: &[u8], ahead: usize) {
    let ahead = stored.as_ptr().wrapping_add(ahead).cast();
    // SAFETY: a prefetch has no effect that the program can observe, and does not fault on any address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
}
