//! Computes the sums of [`ErrorMeasure`](crate::ErrorMeasure) with four lanes of doubles, in the order of the portable
//! kernel.
//!
//! Bound: the integer sums to which sixteen elements at a time are added, and the search for numbers that are not
//! finite. Compilers do not find these vectors by themselves: the portable source, compiled with AVX2, takes half as
//! many instructions again.

use std::arch::x86_64::{
    __m128, __m256d, _mm_add_pd, _mm256_add_pd, _mm256_andnot_pd, _mm256_castpd256_pd128, _mm256_cvtps_pd,
    _mm256_extractf128_pd, _mm256_max_pd, _mm256_mul_pd, _mm256_set1_pd, _mm256_setzero_pd, _mm256_sub_pd,
};

use crate::{
    ErrorMeasure,
    measure::{UNIT, Unit},
};

/// Adds lanes 0 and 2, adds lanes 1 and 3, and adds the two sums.
#[inline]
#[target_feature(enable = "avx2")]
fn total(lanes: __m256d) -> f64 {
    let pairs = _mm_add_pd(_mm256_castpd256_pd128(lanes), _mm256_extractf128_pd::<1>(lanes));
    let [first, second] = bytemuck::cast::<_, [f64; 2]>(pairs);
    first + second
}

#[inline]
#[target_feature(enable = "avx2")]
fn unit(original: &[f32; UNIT], restored: &[f32; UNIT]) -> Unit {
    let (mut error, mut signal, mut largest) = (_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd());
    for (original, restored) in original.as_chunks::<4>().0.iter().zip(restored.as_chunks::<4>().0) {
        let original = _mm256_cvtps_pd(bytemuck::cast::<[f32; 4], __m128>(*original));
        let restored = _mm256_cvtps_pd(bytemuck::cast::<[f32; 4], __m128>(*restored));
        let difference = _mm256_andnot_pd(_mm256_set1_pd(-0.0), _mm256_sub_pd(original, restored));
        largest = _mm256_max_pd(difference, largest);
        error = _mm256_add_pd(error, _mm256_mul_pd(difference, difference));
        signal = _mm256_add_pd(signal, _mm256_mul_pd(original, original));
    }
    let largest = bytemuck::cast::<_, [f64; 4]>(largest);
    Unit {
        max_abs: largest[0].max(largest[2]).max(largest[1].max(largest[3])),
        squared_error: total(error),
        squared_original: total(signal),
    }
}

/// Adds whole groups to `measure`.
#[target_feature(enable = "avx2")]
pub(super) fn add(measure: &mut ErrorMeasure, numbers: [&[f32]; 2], group: usize) {
    measure.add(numbers, group, |original, restored| unit(original, restored));
}
