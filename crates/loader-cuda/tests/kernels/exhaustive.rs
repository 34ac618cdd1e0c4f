//! Exhaustive tests: every code under every scale, as far as they can be enumerated.

use longshore_quant::{FloatType, Scheme};

use crate::{
    cases::{affine_cases, block_cases, narrowing_cases},
    harness::Harness,
};

#[test]
fn every_code_under_every_byte_of_scale() {
    let Some(mut harness) = Harness::start_fast() else { return };
    block_cases(|case| case.check(&mut harness));
}

fn every_code_under_scales_of(source: FloatType) {
    let Some(mut harness) = Harness::start_fast() else { return };
    for bits in Scheme::AFFINE_BITS {
        affine_cases(bits, source, |case| case.check(&mut harness));
    }
}

#[test]
fn every_integer_under_every_bf16() {
    every_code_under_scales_of(FloatType::BF16);
}

#[test]
fn every_integer_under_every_f16() {
    every_code_under_scales_of(FloatType::F16);
}

#[test]
fn every_integer_under_f32_of_every_kind() {
    every_code_under_scales_of(FloatType::F32);
}

#[test]
fn sums_are_rounded_to_nearest_with_ties_to_even() {
    let Some(mut harness) = Harness::start_fast() else { return };
    narrowing_cases(|case| case.check(&mut harness));
}
