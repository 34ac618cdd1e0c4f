use std::{fs, path::Path};

use longshore_quant::{
    Level,
    ggml::{self, GgmlError, GgmlType},
};
use longshore_st_format::SafeTensors;
use proptest::prelude::*;

use crate::support::floats;

/// Decodes at every level, and checks that the results are equal but for the payload and sign of a NaN.
pub(super) fn decode(ggml_type: GgmlType, blocks: &[u8]) -> Vec<f32> {
    let mut found = vec![1.5; blocks.len() / ggml_type.block_bytes() * ggml_type.block_size()];
    ggml::decode_at(Level::PORTABLE, ggml_type, blocks, &mut found).expect("the lengths fit");
    for level in Level::available() {
        let mut other = vec![1.5; found.len()];
        ggml::decode_at(level, ggml_type, blocks, &mut other).expect("the lengths fit");
        assert_same(&format!("{ggml_type} at {}", level.name()), &other, &found);
    }
    found
}

/// Compares bit for bit; all NaN are equal.
fn assert_same(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let same = a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        assert!(same, "{what}, element {i}: {a:e}, expected {b:e}");
    }
}

/// Decodes the blocks of a set, and returns the number of types that it has.
fn decodes_as_ggml(set: &Path) -> usize {
    let bytes = fs::read(set).unwrap_or_else(|error| panic!("{}: {error}", set.display()));
    let set = SafeTensors::new(bytes).unwrap_or_else(|error| panic!("{}: {error}", set.display()));
    let mut types = 0;
    for view in set.iter() {
        let Some(name) = view.name.strip_suffix(".blocks") else { continue };
        let ggml_type: GgmlType = name.parse().expect("the sets hold types that exist");
        let expected = set.tensor(&format!("{name}.f32")).expect("each type has its values");
        let (mut blocks, mut values) = (view.data.to_vec(), floats(longshore_quant::FloatType::F32, expected.data));
        let count = usize::try_from(view.shape.dims()[0]).expect("it is small");
        if blocks.len() != count * ggml_type.block_bytes() {
            // The whole set has blocks of Q8_1 that are four elements too long.
            assert_eq!(ggml_type, GgmlType::Q8_1);
            blocks = blocks.chunks(40).flat_map(|block| &block[..36]).copied().collect();
            values = values.chunks(36).flat_map(|values| &values[..32]).copied().collect();
        }
        assert_same(name, &decode(ggml_type, &blocks), &values);
        types += 1;
    }
    types
}

#[test]
fn values_are_ggmls() {
    let set = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quant/vectors/ggml_decode.safetensors");
    assert_eq!(decodes_as_ggml(&set), GgmlType::ALL.len());
}

#[test]
fn the_whole_set() {
    let set = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/gguf/vectors.safetensors");
    if set.exists() {
        assert_eq!(decodes_as_ggml(&set), GgmlType::ALL.len());
    }
}

#[test]
fn lengths_that_do_not_fit() {
    for &ggml_type in GgmlType::ALL {
        let (block, size) = (ggml_type.block_bytes(), ggml_type.block_size());
        let (bytes, mut out) = (vec![0; 3 * block], vec![1.5; 3 * size]);
        for found in (0..3 * block).filter(|len| len % block != 0) {
            let error = ggml::decode(ggml_type, &bytes[..found], &mut out);
            assert_eq!(error, Err(GgmlError::PartialBlock { ggml_type, unit: "bytes", block, found }));
        }
        for found in [0, 1, 2 * size, 3 * size - 1].into_iter().filter(|len| *len != size) {
            let error = ggml::decode(ggml_type, &bytes[..block], &mut out[..found]);
            assert_eq!(error, Err(GgmlError::OutputLength { ggml_type, unit: "elements", expected: size, found }));
        }
        assert!(out.iter().all(|value| value.to_bits() == 1.5f32.to_bits()), "nothing has been written");
        assert_eq!(ggml::decode(ggml_type, &[], &mut []), Ok(()));
    }
    let error = ggml::decode(GgmlType::Q4K, &[0; 18], &mut []).expect_err("it is no whole block");
    assert_eq!(error.to_string(), "expected a source of whole blocks of 144 bytes for Q4_K, found 18");
    let error = ggml::decode(GgmlType::Q4K, &[0; 144], &mut [0.0; 32]).expect_err("it is too short");
    assert_eq!(error.to_string(), "expected an output of 256 elements for Q4_K, found 32");
}

proptest! {
    /// Any bytes are blocks. Pieces decode as the whole.
    #[test]
    fn any_bytes(
        ggml_type in proptest::sample::select(GgmlType::ALL.to_vec()),
        random in proptest::collection::vec(any::<u8>(), 5 * 292),
        scales in proptest::collection::vec(proptest::sample::select(SCALES.to_vec()), 5),
    ) {
        let block = ggml_type.block_bytes();
        let mut bytes = random[..5 * block].to_vec();
        for (block, scale) in bytes.chunks_exact_mut(block).zip(scales) {
            place(ggml_type, scale, block);
        }
        let whole = decode(ggml_type, &bytes);
        for (bytes, values) in bytes.chunks(block).zip(whole.chunks(ggml_type.block_size())) {
            assert_same(ggml_type.name(), &decode(ggml_type, bytes), values);
        }
    }
}

/// F16 scales: zeros, subnormal, ordinary, the largest, infinities and NaN. The last stands for a random one.
const SCALES: [Option<u16>; 11] = [
    Some(0),
    Some(0x8000),
    Some(1),
    Some(0x83FF),
    Some(0x2E66),
    Some(0x7BFF),
    Some(0x7C00),
    Some(0xFC00),
    Some(0x7E01),
    Some(0xFD55),
    None,
];

/// Sets both ends of a block, where all types but `IQ1_M` and `MXFP4` keep their scales.
fn place(ggml_type: GgmlType, scale: Option<u16>, block: &mut [u8]) {
    if let Some(scale) = scale
        && ggml_type.block_size() > 1
    {
        block[..2].copy_from_slice(&scale.to_le_bytes());
        if matches!(ggml_type, GgmlType::Q2K | GgmlType::Q3K | GgmlType::Q6K | GgmlType::TQ1_0 | GgmlType::TQ2_0) {
            let end = block.len() - 2;
            block[end..].copy_from_slice(&scale.to_le_bytes());
        }
    }
}
