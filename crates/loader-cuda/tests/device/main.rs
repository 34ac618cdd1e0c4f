//! Runs the kernels on a device and compares with `longshore-quant`, on the cases that `tests/kernels` runs on the
//! host.
//!
//! Without a driver or a device the tests check nothing and say so. With `LONGSHORE_TEST_DEVICE=1` they fail instead.
#![cfg(any(target_os = "linux", windows))]

#[path = "../kernels/cases/mod.rs"]
mod cases;
mod device;

use longshore_quant::{FloatType, Scheme};

use cases::{Numbers, affine_cases, block_cases, edge_cases, golden_cases, narrowing_cases, random_case, schemes};
use device::Device;

#[test]
fn every_code_under_every_byte_of_scale() {
    let Some(mut device) = Device::open() else { return };
    block_cases(|case| case.check(&mut device));
}

#[test]
fn every_integer_under_scales_of_every_kind() {
    let Some(mut device) = Device::open() else { return };
    for bits in Scheme::AFFINE_BITS {
        for source in FloatType::ALL {
            affine_cases(bits, source, |case| case.check(&mut device));
        }
    }
}

#[test]
fn sums_are_rounded_to_nearest_with_ties_to_even() {
    let Some(mut device) = Device::open() else { return };
    narrowing_cases(|case| case.check(&mut device));
}

#[test]
fn vectors_of_mlx_decode_as_they_say() {
    let Some(mut device) = Device::open() else { return };
    assert_eq!(golden_cases(&mut device), 11);
}

#[test]
fn any_tensor_decodes_as_on_the_host() {
    let Some(mut device) = Device::open() else { return };
    let mut numbers = Numbers::new(1);
    for scheme in schemes() {
        for source in FloatType::ALL {
            for target in FloatType::ALL {
                for _ in 0..8 {
                    random_case(scheme, source, target, &mut numbers).check(&mut device);
                }
            }
        }
    }
}

#[test]
fn the_last_unit_of_a_block_decodes() {
    let Some(mut device) = Device::open() else { return };
    edge_cases(|case| case.check(&mut device));
}

/// A tensor with more elements than 32 bits can count, and non-zero codes only at both ends.
#[test]
fn a_tensor_of_more_than_2_32_elements() {
    let Some(mut device) = Device::open() else { return };
    device.check_ends_of_a_large_tensor();
}
