//! Interprets the PTX that the crate contains, instruction by instruction, and compares with `longshore-quant`.
//!
//! The interpreter is slow, and knows only the instructions of the kernels. It panics at any other instruction, at an
//! access beyond a buffer, at a misaligned access, and at a second store to the same place.

mod execute;
mod memory;
mod parse;

use longshore_loader_cuda::dequantize::{Addresses, GlobalScaleAddress};
use longshore_quant::{FloatType, Scheme};

use crate::cases::{
    Case, Global, Numbers, Run, affine_cases, block_cases, edge_cases, golden_cases, random_case, schemes,
};
use memory::Memory;

/// Runs the threads of launches one after another.
struct Emulator;

impl Run for Emulator {
    fn run(&mut self, case: &Case) -> Vec<u8> {
        let mut memory = Memory::default();
        let mut place = |bytes: &[u8]| memory.place(bytes.to_vec());
        let (weight, scale) = (place(&case.weight), place(&case.scale));
        let bias = case.scheme.has_bias().then(|| place(&case.bias));
        let global = case.global_bytes().map(|bytes| place(&bytes));
        let output = place(&vec![0xA5; case.output_bytes()]);
        let at = Addresses {
            weight,
            scale,
            bias,
            global_scale: global.map(|address| match case.global {
                Global::PerMatrix(_) => GlobalScaleAddress::PerMatrix(address),
                Global::None | Global::One(_) => GlobalScaleAddress::One(address),
            }),
            output,
        };
        let launch = case.tensor().launch(&at).expect("the case is sound").expect("it has elements");
        let program = parse::entry(launch.kernel.ptx().to_str().expect("PTX is ASCII"), launch.kernel.name());
        execute::launch(&program, &launch, &mut memory);
        memory.take(output)
    }
}

#[test]
fn any_tensor_decodes_as_on_the_host() {
    let mut numbers = Numbers::new(2);
    for scheme in schemes() {
        for source in FloatType::ALL {
            for target in FloatType::ALL {
                random_case(scheme, source, target, &mut numbers).check(&mut Emulator);
            }
        }
    }
}

#[test]
fn every_unit_is_stored_once_at_the_ends_of_blocks() {
    edge_cases(|case| case.check(&mut Emulator));
}

#[test]
fn vectors_of_mlx_decode_as_they_say() {
    assert_eq!(golden_cases(&mut Emulator), 11);
}

#[test]
fn every_code_under_every_byte_of_scale() {
    block_cases(|case| case.check(&mut Emulator));
}

/// Every 61st scale: they have every sign and exponent.
#[test]
fn every_integer_under_some_scales() {
    for bits in Scheme::AFFINE_BITS {
        for source in FloatType::ALL {
            affine_cases(bits, source, |case| every(61, case).check(&mut Emulator));
        }
    }
}

/// Keeps every `step`-th group of a row.
fn every(step: usize, case: &Case) -> Case {
    let groups = case.columns / usize::try_from(case.scheme.group_size()).expect("it is small");
    let some = |bytes: &[u8]| match bytes.len() / groups {
        0 => vec![],
        len => bytes.chunks_exact(len).step_by(step).flatten().copied().collect(),
    };
    Case {
        weight: some(&case.weight),
        scale: some(&case.scale),
        bias: some(&case.bias),
        columns: case.columns / groups * groups.div_ceil(step),
        ..case.clone()
    }
}
