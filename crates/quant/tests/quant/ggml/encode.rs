use std::{fs, path::Path};

use longshore_quant::{
    FloatType,
    ggml::{self, GgmlError, GgmlType},
};
use longshore_st_format::SafeTensors;
use proptest::prelude::*;

use crate::support::{floats, gaussian, squared_error};

const ENCODED: [GgmlType; 10] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::BF16,
    GgmlType::Q8_0,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q4K,
    GgmlType::Q6K,
];

fn encode(ggml_type: GgmlType, values: &[f32]) -> Vec<u8> {
    let mut out = vec![0xA5; values.len() / ggml_type.block_size() * ggml_type.block_bytes()];
    ggml::encode(ggml_type, values, &mut out).expect("the lengths fit");
    out
}

fn decode(ggml_type: GgmlType, bytes: &[u8]) -> Vec<f32> {
    let mut out = vec![1.5; bytes.len() / ggml_type.block_bytes() * ggml_type.block_size()];
    ggml::decode(ggml_type, bytes, &mut out).expect("the lengths fit");
    out
}

#[test]
fn bytes_are_ggmls() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quant/vectors/ggml_encode.safetensors");
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let set = SafeTensors::new(bytes).expect("the set is one of ours");
    let input = floats(FloatType::F32, set.tensor("input").expect("there is one").data);
    let names: Vec<&str> = set.header().metadata()["rows"].split(',').collect();
    let mut types = 0;
    for view in set.iter().filter(|view| view.name != "input") {
        let ggml_type: GgmlType = view.name.parse().expect("the set holds types that exist");
        let row = view.data.len() / names.len();
        for (name, (values, expected)) in names.iter().zip(input.chunks(256).zip(view.data.chunks(row))) {
            let found = encode(ggml_type, values);
            let at = found.iter().zip(expected).position(|(a, b)| a != b);
            assert_eq!(at, None, "{ggml_type}, row {name}: the first byte that differs");
            assert_eq!(found.len(), expected.len());
        }
        types += 1;
    }
    assert_eq!(types, 9);
}

#[test]
fn errors_are_what_the_bits_allow() {
    let values = gaussian(11, 4096, 1.0);
    // Bounds of the relative error.
    for (ggml_type, bound) in [
        (GgmlType::F32, 0.0),
        (GgmlType::F16, 2.5e-4),
        (GgmlType::BF16, 2e-3),
        (GgmlType::Q8_0, 7e-3),
        (GgmlType::Q6K, 2e-2),
        (GgmlType::Q5_1, 4e-2),
        (GgmlType::Q5_0, 5e-2),
        (GgmlType::Q4K, 8e-2),
        (GgmlType::Q4_1, 8.5e-2),
        (GgmlType::Q4_0, 0.1),
    ] {
        let restored = decode(ggml_type, &encode(ggml_type, &values));
        let relative = (squared_error(&restored, &values) / squared_error(&values, &vec![0.0; 4096])).sqrt();
        assert!(relative <= bound, "{ggml_type}: {relative}, expected at most {bound}");
    }
}

#[test]
fn what_does_not_fit() {
    for ggml_type in GgmlType::ALL.iter().copied().filter(|known| !ENCODED.contains(known)) {
        assert_eq!(ggml::encode(ggml_type, &[], &mut []), Err(GgmlError::NotEncoded { ggml_type }));
    }
    let error = ggml::encode(GgmlType::IQ1S, &[], &mut []).expect_err("there is no encoder").to_string();
    let listed = error.split_once("one of ").expect("the types are listed").1;
    let listed = listed.strip_suffix(", found IQ1_S").expect("the type is named");
    assert_eq!(listed, ENCODED.map(|known| known.name()).join(", "));

    for ggml_type in ENCODED {
        let (block, size) = (ggml_type.block_bytes(), ggml_type.block_size());
        let (values, mut out) = (vec![1.0; 2 * size], vec![0xA5; 2 * block]);
        if size > 1 {
            let error = ggml::encode(ggml_type, &values[1..], &mut out);
            let found = 2 * size - 1;
            assert_eq!(error, Err(GgmlError::PartialBlock { ggml_type, unit: "elements", block: size, found }));
        }
        for found in [0, block, 2 * block - 1] {
            let error = ggml::encode(ggml_type, &values, &mut out[..found]);
            let expected = 2 * block;
            assert_eq!(error, Err(GgmlError::OutputLength { ggml_type, unit: "bytes", expected, found }));
        }
        assert!(out.iter().all(|byte| *byte == 0xA5), "nothing has been written");
    }
}

#[test]
fn values_that_no_block_holds_are_counted() {
    for ggml_type in ENCODED {
        let size = ggml_type.block_size();
        let mut out = vec![0; 2 * ggml_type.block_bytes()];
        let mut stats = |values: &[f32]| ggml::encode(ggml_type, values, &mut out).expect("the lengths fit");
        let mut values = vec![1.0; 2 * size];
        assert_eq!(stats(&values), longshore_quant::EncodeStats::default(), "{ggml_type}");
        values[0] = f32::NAN;
        values[2 * size - 1] = f32::NEG_INFINITY;
        assert_eq!(stats(&values).non_finite, 2, "{ggml_type}");
        let wide = matches!(ggml_type, GgmlType::F32 | GgmlType::BF16);
        let large: Vec<f32> = (0..2 * size).map(|i| if i % 2 == 0 { -3e37 } else { 1e37 }).collect();
        assert_eq!(stats(&large).overflowed_groups, if wide { 0 } else { 2 }, "{ggml_type}");
        let small: Vec<f32> = (0..2 * size).map(|i| if i % 2 == 0 { -3e-30 } else { 1e-30 }).collect();
        assert_eq!(stats(&small).zeroed_groups, if wide { 0 } else { 2 }, "{ggml_type}");
    }
}

proptest! {
    /// Any floats can be encoded, NaN and infinities too. Pieces give the bytes of the whole.
    #[test]
    fn any_floats(
        ggml_type in proptest::sample::select(ENCODED.to_vec()),
        random in proptest::collection::vec(any::<u32>(), 512),
        masks in proptest::collection::vec(proptest::sample::select(vec![!0, 0x9FFF_FFFF, 0xBF8F_FFFF, 0x80FF_FFFF]), 2),
    ) {
        let values: Vec<f32> = random.iter().enumerate().map(|(i, bits)| f32::from_bits(bits & masks[i / 256])).collect();
        let whole = encode(ggml_type, &values);
        let pieces = values.chunks(ggml_type.block_size()).flat_map(|piece| encode(ggml_type, piece));
        prop_assert!(pieces.eq(whole));
    }

    /// What a decoder gives keeps its scales and codes where the type is symmetric: encoding it again changes nothing.
    #[test]
    fn encoding_again_changes_nothing(seed in any::<u64>(), exponent in -10i32..10) {
        let values = gaussian(seed, 256, 2f64.powi(exponent));
        for ggml_type in [GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0] {
            let restored = decode(ggml_type, &encode(ggml_type, &values));
            prop_assert_eq!(decode(ggml_type, &encode(ggml_type, &restored)), restored);
        }
    }
}
