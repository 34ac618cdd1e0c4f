//! Products with AVX-512.
//!
//! Vectors are read and written by value, from arrays, so the only unsafe operations are the calls of the kernels, and
//! prefetches.
#![expect(unsafe_code, reason = "calling functions with target features from functions without")]

mod blocks;
mod decode;
mod direct;
mod exact;
mod exact_one;
mod expand;
mod many;
mod one;

use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};

use super::{
    exact::{Lanes, Tile},
    fast::{Codes, Expanded, Form, LaneBlock, Row, Rows, Scales, Sums, Tile as CodeTile, Totals},
    weights::Encoded,
};
use crate::{FloatType, avx2::Avx2, ggml::GgmlType};

/// Distance in bytes between the codes in work and those that are prefetched.
const AHEAD: usize = 8192;

/// Proof that the machine has AVX-512 with VNNI and VBMI, and what [`Avx2`] proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(Avx2);

impl Avx512 {
    /// Returns the proof where the machine has these instructions.
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx512vbmi");
        if found { Avx2::detect().map(Self) } else { None }
    }

    /// The proof of fewer instructions.
    pub(super) fn avx2(self) -> Avx2 {
        self.0
    }
}

#[expect(clippy::unused_self, reason = "holding it is the proof that the kernels may run")]
impl Avx512 {
    /// Adds the products of a tile to the lanes.
    pub(super) fn add_exact(self, tile: Tile<'_>, lanes: &mut Lanes) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { exact::add(tile, lanes) }
    }

    /// Decodes affine weights with codes of `bits` bits.
    pub(super) fn decode_affine(self, bits: u8, parts: Encoded<'_>, out: &mut [f32]) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { decode::affine(bits, parts, out) }
    }

    /// Reads floats.
    pub(super) fn read_floats(self, float: FloatType, stored: &[u8], out: &mut [f32]) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { decode::floats(float, stored, out) }
    }

    /// Adds the sixteen lanes of each number of `y`.
    pub(super) fn exact_totals(self, lanes: &Lanes, y: &mut [f32]) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { exact::totals(lanes, y) }
    }

    /// Computes `y` exactly: affine weights with codes of 4 or 8 bits, with one row of the input.
    pub(super) fn exact_one(self, bits: u8, parts: Encoded<'_>, x: &[f32], y: &mut [f32]) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { exact_one::multiply(bits, parts, x, y) }
    }

    /// Reads scales and biases.
    pub(super) fn read_scales(self, scales: Scales<'_>, out: &mut [f32], biases: &mut [f32]) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { expand::scales(scales, out, biases) }
    }

    /// Expands codes to a byte each, in their order.
    pub(super) fn expand(self, codes: Codes, stored: &[u8], out: &mut [u8]) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { expand::codes(codes, stored, out) }
    }

    /// Expands blocks of ggml.
    pub(super) fn expand_blocks(self, ggml_type: GgmlType, stored: &[u8], out: &mut Expanded<'_>) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { blocks::expand(ggml_type, stored, out) }
    }

    /// Computes `y`: rows of blocks, each of `stored_len` bytes, with a row of the input.
    pub(super) fn one_of_blocks(
        self,
        ggml_type: GgmlType,
        (stored, stored_len): (&[u8], usize),
        input: Row<'_>,
        y: &mut [f32],
    ) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { direct::one(ggml_type, stored, stored_len, input, y) }
    }

    /// Computes `y`: rows of weights with a row of the input.
    pub(super) fn one(self, form: Form, weights: Rows<'_>, input: Row<'_>, y: &mut [f32]) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { one::one(form, weights, input, y) }
    }

    /// Adds the products of a tile with blocks of input rows to the sums.
    pub(super) fn many(self, tile: CodeTile<'_>, blocks: &[LaneBlock], sums: &mut [Sums]) {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { many::many(tile, blocks, sums) }
    }

    /// Adds up the chains of a block.
    pub(super) fn totals(self, sums: &Sums) -> Totals {
        // SAFETY: `self` exists only where these instructions have been detected.
        unsafe { many::totals(sums) }
    }
}

/// Prefetches what comes `ahead` bytes after the start of `stored`.
#[inline]
fn prefetch(stored: &[u8], ahead: usize) {
    let ahead = stored.as_ptr().wrapping_add(ahead).cast();
    // SAFETY: a prefetch has no effect that the program can observe, and does not fault on any address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) };
}

/// As [`prefetch`], to the second-level cache.
#[inline]
fn prefetch_far(stored: &[u8], ahead: usize) {
    let ahead = stored.as_ptr().wrapping_add(ahead).cast();
    // SAFETY: a prefetch has no effect that the program can observe, and does not fault on any address.
    unsafe { _mm_prefetch::<_MM_HINT_T1>(ahead) };
}
