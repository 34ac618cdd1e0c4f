//! Tests of launches, and of the errors about unsuitable tensors.

use longshore_loader_cuda::dequantize::{
    Addresses, Dequantize, DequantizeError, GlobalScaleAddress, Launch, PartBytes,
};
use longshore_quant::{FloatType, Scheme};
use proptest::prelude::*;

use crate::cases::schemes;

const BF16: FloatType = FloatType::BF16;

/// Addresses of parts that are far from each other.
fn addresses(scheme: Scheme) -> Addresses {
    Addresses {
        weight: 1 << 44,
        scale: 2 << 44,
        bias: scheme.has_bias().then_some(3 << 44),
        global_scale: None,
        output: 5 << 44,
    }
}

fn launch(tensor: Dequantize, at: &Addresses) -> Launch {
    tensor.launch(at).expect("it is sound").expect("there is something to decode")
}

fn refused(tensor: Dequantize, at: &Addresses) -> String {
    tensor.launch(at).expect_err("something is wrong").to_string()
}

#[test]
fn grids_cover_every_unit_once() {
    // A unit has 8 elements of 16 bits or 4 of 32, and a block has 512 units.
    for (target, columns, blocks) in
        [(BF16, 64, 1), (BF16, 4096, 1), (BF16, 4096 + 64, 2), (FloatType::F32, 2048, 1), (FloatType::F32, 4096, 2)]
    {
        let found = launch(Dequantize::new(Scheme::INT4, BF16, target, 1, columns), &addresses(Scheme::INT4));
        assert_eq!((found.grid, found.block), ([blocks, 1], 256), "{target}, {columns} columns");
        assert_eq!(found.arguments.units, columns * if target == BF16 { 2 } else { 4 } / 16);
    }
}

#[test]
fn groups_are_powers_of_two_of_units() {
    for scheme in schemes() {
        for target in FloatType::ALL {
            let tensor = Dequantize::new(scheme, BF16, target, 3, 256);
            let shift = launch(tensor, &addresses(scheme)).arguments.group_shift;
            let elements = 16 / if target == FloatType::F32 { 4 } else { 2 };
            assert_eq!(elements << shift, scheme.group_size(), "{scheme} to {target}");
        }
    }
}

#[test]
fn sizes_are_64_bits_wide() {
    // A tensor of 2^36 elements.
    let tensor = Dequantize::new(Scheme::INT8, BF16, BF16, 1 << 20, 1 << 14).with_matrices(4);
    let found = launch(tensor, &addresses(Scheme::INT8));
    assert_eq!((found.grid, found.arguments.units), ([1 << 24, 1], 1 << 33));
    let bytes = tensor.part_bytes().expect("it fits");
    let PartBytes { weight, scale, bias, output, .. } = bytes;
    assert_eq!((weight, scale, bias, output), (1 << 36, 1 << 31, 1 << 31, 1 << 37));
    // A grid has at most 2^31 - 1 blocks of 4,096 elements of 16 bits.
    let at = Addresses { weight: 8, scale: 2, bias: Some(2), global_scale: None, output: 1 << 60 };
    let most = (1 << 43) - 4096;
    assert_eq!(launch(Dequantize::new(Scheme::INT4, BF16, BF16, 1, most), &at).grid, [i32::MAX.unsigned_abs(), 1]);
    assert_eq!(
        refused(Dequantize::new(Scheme::INT4, BF16, BF16, 1, most + 64), &at),
        "expected a tensor that a grid of 2^31 - 1 blocks covers and 64 bits address, found 1 x 1 x 8796093018176 elements"
    );
    for tensor in [
        Dequantize::new(Scheme::INT4, BF16, BF16, u64::MAX, 64),
        Dequantize::new(Scheme::INT4, BF16, BF16, 1 << 57, 64),
        Dequantize::new(Scheme::INT4, BF16, BF16, 1 << 32, 64).with_matrices(1 << 32),
    ] {
        assert!(matches!(tensor.launch(&at), Err(DequantizeError::TooLarge { .. })), "{tensor:?}");
    }
}

#[test]
fn nothing_is_launched_for_nothing() {
    let empty = Dequantize::new(Scheme::INT4, BF16, BF16, 0, 64);
    assert_eq!(empty.launch(&Addresses { weight: 0, scale: 0, bias: None, global_scale: None, output: 0 }), Ok(None));
    assert_eq!(Dequantize::new(Scheme::INT4, BF16, BF16, u64::MAX, 0).launch(&addresses(Scheme::INT4)), Ok(None));
}

#[test]
fn each_matrix_may_have_a_global_scale() {
    let stack = Dequantize::new(Scheme::NVFP4, BF16, BF16, 2, 16 * 1024).with_matrices(3);
    let mut at = addresses(Scheme::NVFP4);
    assert_eq!(launch(stack, &at).grid, [24, 1]);
    assert_eq!(launch(stack, &at).arguments.extra, 0);
    at.global_scale = Some(GlobalScaleAddress::One(4 << 44));
    assert_eq!((launch(stack, &at).grid, launch(stack, &at).arguments.extra), ([24, 1], 4 << 44));
    at.global_scale = Some(GlobalScaleAddress::PerMatrix(4 << 44));
    assert_eq!((launch(stack, &at).grid, launch(stack, &at).arguments.units), ([8, 3], 4096));
    assert_eq!(launch(stack.with_matrices(65_535), &at).grid, [8, 65_535]);
    assert_eq!(
        refused(stack.with_matrices(65_536), &at),
        "expected at most 65535 matrices with a global scale each, found 65536"
    );
}

#[test]
fn what_is_wrong_is_said() {
    let tensor = Dequantize::new(Scheme::INT4, BF16, BF16, 2, 64);
    let good = addresses(Scheme::INT4);
    assert!(tensor.launch(&good).is_ok());
    assert_eq!(
        refused(Dequantize::new(Scheme::INT4, BF16, BF16, 2, 96), &good),
        "expected columns that are a multiple of the group of 64 of int4, found 96"
    );
    for (at, message) in [
        (Addresses { weight: 0, ..good }, "expected an address for the weight of int4, found none"),
        (Addresses { bias: None, ..good }, "expected an address for the bias of int4, found none"),
        (Addresses { bias: Some(0), ..good }, "expected an address for the bias of int4, found none"),
        (
            Addresses { global_scale: Some(GlobalScaleAddress::One(4)), ..good },
            "expected no global scale for int4, found one",
        ),
        (Addresses { weight: 66, ..good }, "expected the weight at a multiple of 4 bytes, found 0x42"),
        (Addresses { scale: 65, ..good }, "expected the scale at a multiple of 2 bytes, found 0x41"),
        (Addresses { bias: Some(67), ..good }, "expected the bias at a multiple of 2 bytes, found 0x43"),
        (Addresses { output: 72, ..good }, "expected the output at a multiple of 16 bytes, found 0x48"),
        (
            Addresses { output: good.weight + 48, ..good },
            "expected the output, 256 bytes at 0x100000000030, apart from the weight at 0x100000000000",
        ),
        (
            Addresses { output: good.scale - 240, ..good },
            "expected the output, 256 bytes at 0x1fffffffff10, apart from the scale at 0x200000000000",
        ),
    ] {
        assert_eq!(refused(tensor, &at), message);
    }
    let beside = Addresses { output: good.weight + 64, ..good };
    assert!(tensor.launch(&beside).is_ok());
    let block = Dequantize::new(Scheme::MXFP8, BF16, BF16, 2, 64);
    assert_eq!(refused(block, &good), "expected no bias for mxfp8, found one");
    let at = Addresses { weight: 68, ..addresses(Scheme::MXFP8) };
    assert_eq!(refused(block, &at), "expected the weight at a multiple of 8 bytes, found 0x44");
    assert!(Dequantize::new(Scheme::MXFP8, BF16, FloatType::F32, 2, 64).launch(&at).is_ok());
    let at = Addresses { global_scale: Some(GlobalScaleAddress::One(0)), ..addresses(Scheme::NVFP4) };
    let tensor = Dequantize::new(Scheme::NVFP4, BF16, BF16, 2, 64);
    assert_eq!(refused(tensor, &at), "expected an address for the global scale of nvfp4, found none");
    let at = Addresses { output: u64::MAX - 15, ..addresses(Scheme::NVFP4) };
    assert!(matches!(tensor.launch(&at), Err(DequantizeError::TooLarge { .. })));
}

proptest! {
    /// The lengths of parts are those that the encoder writes.
    #[test]
    fn lengths_are_those_of_the_scheme(
        scheme in prop::sample::select(schemes().collect::<Vec<_>>()),
        source in prop::sample::select(FloatType::ALL.to_vec()),
        target in prop::sample::select(FloatType::ALL.to_vec()),
        [matrices, rows, groups] in prop::array::uniform3(1u64..9),
    ) {
        let columns = groups * u64::from(scheme.group_size());
        let found = Dequantize::new(scheme, source, target, rows, columns).with_matrices(matrices).part_bytes();
        let found = found.expect("it is small");
        let parts = scheme.parts(source, &[matrices, rows, columns]).expect("rows are whole groups");
        prop_assert_eq!(Some(found.weight), parts.weight.byte_len());
        prop_assert_eq!(Some(found.scale), parts.scale.byte_len());
        prop_assert_eq!(found.bias, parts.bias.map_or(0, |bias| bias.byte_len().expect("it is small")));
        prop_assert_eq!(found.output, matrices * rows * columns * u64::try_from(target.size()).expect("it is small"));
    }

    /// Every request gives a launch or an error, and a launch covers its units with less than a block to spare.
    #[test]
    fn any_request_has_an_answer(
        scheme in prop::sample::select(schemes().collect::<Vec<_>>()),
        target in prop::sample::select(FloatType::ALL.to_vec()),
        extents in prop::array::uniform3(prop_oneof![0u64..300, any::<u64>(), Just(65_536), Just(128)]),
        [weight, scale, bias, global, output] in prop::array::uniform5(prop_oneof![any::<u64>(), (0..u64::MAX / 16).prop_map(|x| x * 16)]),
        which in 0..4,
    ) {
        let [matrices, rows, columns] = extents;
        let tensor = Dequantize::new(scheme, BF16, target, rows, columns).with_matrices(matrices);
        let at = Addresses {
            weight,
            scale,
            bias: (which & 1 != 0).then_some(bias),
            global_scale: match which {
                0 => None,
                1 => Some(GlobalScaleAddress::One(global)),
                _ => Some(GlobalScaleAddress::PerMatrix(global)),
            },
            output,
        };
        if let Ok(Some(launch)) = tensor.launch(&at) {
            let [x, y] = launch.grid.map(u64::from);
            let covered = x * u64::from(launch.block) * 2;
            prop_assert!(covered >= launch.arguments.units && covered - launch.arguments.units < 512);
            prop_assert_eq!(launch.arguments.units * y * 16, tensor.part_bytes().expect("it was launched").output);
        }
    }
}
