//! Properties of all decoders.

use longshore_quant::{DecodeError, Decoder, Encoder, FloatType, GlobalScale, InvalidGlobalScale, Profile, Scheme};
use proptest::prelude::*;

use crate::support::{affine_schemes, bytes, decode_with, encode, floats, gaussian};

/// Rounds one step of arithmetic to `float`.
fn round(float: FloatType, value: f32) -> f32 {
    floats(float, &bytes(float, &[value]))[0]
}

fn decode_to(scheme: Scheme, stored: FloatType, output: FloatType, parts: [&[u8]; 3], elements: usize) -> Vec<f32> {
    let mut out = vec![0xA5; elements * output.size()];
    decode_with(&Decoder::new(scheme, stored, output), parts, &mut out);
    floats(output, &out)
}

/// Compares with the definition of affine decoding, in both precisions, with codes read one at a time.
#[test]
fn affine_rounds_each_step() {
    for scheme in affine_schemes() {
        let (bits, group) = (usize::from(scheme.bits()), usize::try_from(scheme.group_size()).expect("it is small"));
        for stored in FloatType::ALL {
            let values = gaussian(3, 4 * group, 0.02);
            let encoder = Encoder::new(scheme, stored, Profile::Mlx);
            let parts = encode(&encoder, &bytes(stored, &values));
            let (scales, biases) = (floats(stored, &parts.scale), floats(stored, &parts.bias));
            for output in FloatType::ALL {
                let step = if output == FloatType::F32 { FloatType::F32 } else { stored };
                let found = decode_to(scheme, stored, output, [&parts.weight, &parts.scale, &parts.bias], values.len());
                for (i, found) in found.into_iter().enumerate() {
                    let code: u8 =
                        (0..bits).map(|b| (parts.weight[(i * bits + b) / 8] >> ((i * bits + b) % 8) & 1) << b).sum();
                    let product = round(step, f32::from(code) * scales[i / group]);
                    let expected = round(output, round(step, product + biases[i / group]));
                    assert_eq!(found.to_bits(), expected.to_bits(), "{scheme} {stored} to {output}, element {i}");
                }
            }
        }
    }
}

#[test]
fn block_formats_multiply() {
    // Codes 1, 2, 7 and 15 of E2M1 under a scale of 1.5 (E4M3) and 8 (a power of two).
    let mut weight = [0; 16];
    (weight[0], weight[1]) = (0x21, 0xF7);
    let found = decode_to(Scheme::NVFP4, FloatType::BF16, FloatType::F32, [&weight[..8], &[0x3C], &[]], 16);
    assert_eq!(found[..5], [0.75, 1.5, 9.0, -9.0, 0.0]);
    let found = decode_to(Scheme::MXFP4, FloatType::BF16, FloatType::F32, [&weight, &[130], &[]], 32);
    assert_eq!(found[..5], [4.0, 8.0, 48.0, -48.0, 0.0]);
    let mut weight = [0; 32];
    (weight[0], weight[1], weight[2]) = (0x38, 0xFE, 0x7F);
    let found = decode_to(Scheme::MXFP8, FloatType::BF16, FloatType::F32, [&weight, &[126], &[]], 32);
    assert_eq!(found[..2], [0.5, -224.0]);
    assert!(found[2].is_nan());
}

#[test]
fn a_global_scale_multiplies_the_scale_first() {
    let mut out = [0; 64];
    let decoder = Decoder::new(Scheme::NVFP4, FloatType::BF16, FloatType::F32).with_global_scale(0.1);
    decoder.decode(&[0x77; 8], &[0x3C], &[], &mut out).expect("the parts fit");
    assert_eq!(floats(FloatType::F32, &out)[0].to_bits(), (6.0 * (1.5 * 0.1f32)).to_bits());
}

#[test]
fn global_scales_are_checked() {
    let global = GlobalScale::from_max_abs(2688.0).expect("it is usable");
    assert_eq!((global.multiplier(), global.max_abs()), (1.0, 2688.0));
    for value in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40, 1e-45] {
        assert!(GlobalScale::from_max_abs(value).is_err(), "{value:e}");
    }
    let error: InvalidGlobalScale = GlobalScale::from_max_abs(-2.0).expect_err("it is negative");
    assert_eq!(
        error.to_string(),
        "expected a global scale that is positive, finite and neither too small nor too large to divide by, found -2"
    );
}

#[test]
fn parts_of_the_wrong_length_are_refused() {
    let decoder = Decoder::new(Scheme::INT4, FloatType::BF16, FloatType::F32);
    let try_lengths = |weight: usize, scale: usize, bias: usize, out: usize| {
        let mut out = vec![7; out];
        let result = decoder.decode(&vec![0; weight], &vec![0; scale], &vec![0; bias], &mut out);
        assert!(result.is_ok() || out.iter().all(|byte| *byte == 7));
        result
    };
    assert_eq!(try_lengths(64, 4, 4, 512), Ok(()));
    assert_eq!(try_lengths(0, 0, 0, 0), Ok(()));
    assert_eq!(try_lengths(64, 4, 4, 500), Err(DecodeError::PartialGroup { group_bytes: 256, found: 500 }));
    assert_eq!(try_lengths(65, 4, 4, 512), Err(DecodeError::PartLength { part: "weight", expected: 64, found: 65 }));
    assert_eq!(try_lengths(64, 2, 4, 512), Err(DecodeError::PartLength { part: "scale", expected: 4, found: 2 }));
    assert_eq!(try_lengths(64, 4, 0, 512), Err(DecodeError::PartLength { part: "bias", expected: 4, found: 0 }));
    let error = try_lengths(64, 4, 0, 512).expect_err("it is missing");
    assert_eq!(error.to_string(), "expected 4 bytes of bias, found 0");
}

proptest! {
    /// Arbitrary bytes decode to numbers, and to the same ones however the tensor is cut.
    #[test]
    fn any_bytes_decode(
        scheme in proptest::sample::select(Scheme::all().collect::<Vec<_>>()),
        stored in proptest::sample::select(FloatType::ALL.to_vec()),
        output in proptest::sample::select(FloatType::ALL.to_vec()),
        weight in prop::collection::vec(any::<u8>(), 2 * 128),
        scale in prop::collection::vec(any::<u8>(), 8),
        bias in prop::collection::vec(any::<u8>(), 8),
    ) {
        let group = usize::try_from(scheme.group_size()).expect("it is small");
        let one = scheme.encoded_len(1, stored).expect("it is small");
        let decoder = Decoder::new(scheme, stored, output);
        let decode = |from: usize, to: usize| {
            let mut out = vec![0; (to - from) * group * output.size()];
            let part = |bytes: &[u8], len: usize| bytes[from * len..to * len].to_vec();
            decoder
                .decode(&part(&weight, one.weight), &part(&scale, one.scale), &part(&bias, one.bias), &mut out)
                .expect("the parts fit");
            out
        };
        prop_assert_eq!([decode(0, 1), decode(1, 2)].concat(), decode(0, 2));
    }
}
