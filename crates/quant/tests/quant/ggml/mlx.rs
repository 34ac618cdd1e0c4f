use std::{fs, path::Path};

use longshore_quant::{
    Decoder, EncodeBuffers, FloatType, Scheme,
    ggml::{self, GgmlType, Mapping},
    layout::LayoutError,
};
use longshore_st_format::SafeTensors;
use proptest::prelude::*;

use super::decode::decode;
use crate::support;

/// The types whose blocks come back byte for byte.
const BOTH_WAYS: [GgmlType; 8] = [
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::Q2_0,
    GgmlType::MXFP4,
    GgmlType::NVFP4,
];

fn mapped() -> Vec<GgmlType> {
    GgmlType::ALL.iter().copied().filter(|known| Mapping::of(*known).is_some()).collect()
}

/// The codes, scales and biases of blocks.
fn map(mapping: Mapping, blocks: &[u8]) -> Result<[Vec<u8>; 3], LayoutError> {
    let ggml_type = mapping.ggml_type();
    let elements = blocks.len() / ggml_type.block_bytes() * ggml_type.block_size();
    let group = usize::try_from(mapping.scheme().group_size()).expect("it is small");
    let len = mapping.scheme().encoded_len(elements / group, mapping.float()).expect("it is small");
    let mut parts = [vec![0xA5; len.weight], vec![0xA5; len.scale], vec![0xA5; len.bias]];
    let [weight, scale, bias] = &mut parts;
    mapping.to_mlx(blocks, EncodeBuffers { weight, scale, bias })?;
    Ok(parts)
}

fn values(scheme: Scheme, float: FloatType, [weight, scale, bias]: &[Vec<u8>; 3]) -> Vec<f32> {
    let elements = weight.len() * 8 / usize::from(scheme.bits());
    let mut out = vec![0xA5; elements * 4];
    let decoder = Decoder::new(scheme, float, FloatType::F32);
    support::decode_with(&decoder, [weight, scale, bias], &mut out);
    support::floats(FloatType::F32, &out)
}

/// Compares bit for bit, but for the sign of zeros.
fn assert_equal(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let same = a.to_bits() == b.to_bits() || *a == 0.0 && *b == 0.0;
        assert!(same, "{what}, element {i}: {a:e}, expected {b:e}");
    }
}

/// Whether a block has scales that the scheme of its type holds, by the table.
fn is_held(ggml_type: GgmlType, block: &[u8]) -> bool {
    let half = |at: usize| half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32();
    let within = |at: usize, limit: f32| half(at).abs() <= limit;
    match ggml_type {
        GgmlType::Q4_0 => within(0, 8188.0),
        GgmlType::Q5_0 => within(0, 4094.0),
        GgmlType::Q8_0 => within(0, 511.75),
        GgmlType::Q1_0 => within(0, 32752.0),
        GgmlType::Q2_0 => within(0, f32::MAX),
        GgmlType::TQ1_0 => within(52, f32::MAX),
        GgmlType::TQ2_0 => within(64, f32::MAX),
        GgmlType::MXFP4 => block[0] != 255,
        GgmlType::NVFP4 => block[..4].iter().all(|scale| *scale < 0x7F),
        _ => within(0, f32::MAX) && within(2, f32::MAX),
    }
}

/// Maps a block and back, and compares the values.
fn check(ggml_type: GgmlType, block: &[u8]) {
    let mapping = Mapping::of(ggml_type).expect("it is mapped");
    let parts = match map(mapping, block) {
        Ok(parts) => parts,
        Err(LayoutError::Lossy { .. }) => return assert!(!is_held(ggml_type, block), "{ggml_type}: {block:?}"),
        Err(other) => panic!("{ggml_type}: {other}"),
    };
    assert!(is_held(ggml_type, block), "{ggml_type}: {block:?}");
    assert_equal(ggml_type.name(), &values(mapping.scheme(), mapping.float(), &parts), &decode(ggml_type, block));
    if BOTH_WAYS.contains(&ggml_type) {
        let mut found = vec![0xA5; block.len()];
        let [weight, scale, bias] = &parts;
        ggml::from_mlx(ggml_type, mapping.scheme(), mapping.float(), [weight, scale, bias], &mut found)
            .expect("it was such a block");
        assert_eq!(found, block, "{ggml_type}");
    }
}

/// Checks every block of a set.
fn checks(set: &Path) {
    let bytes = fs::read(set).unwrap_or_else(|error| panic!("{}: {error}", set.display()));
    let set = SafeTensors::new(bytes).unwrap_or_else(|error| panic!("{}: {error}", set.display()));
    for ggml_type in mapped() {
        let blocks = set.tensor(&format!("{ggml_type}.blocks")).expect("the sets hold every type");
        blocks.data.chunks_exact(ggml_type.block_bytes()).for_each(|block| check(ggml_type, block));
    }
}

#[test]
fn every_mapped_type_has_a_scheme() {
    let names = mapped().into_iter().map(|known| (known.name(), Mapping::of(known).expect("it is mapped")));
    let names: Vec<_> = names.map(|(name, found)| format!("{name} {} {}", found.scheme(), found.float())).collect();
    assert_eq!(
        names,
        [
            "Q4_0 int4-g32 F16",
            "Q4_1 int4-g32 F16",
            "Q5_0 int5-g32 F16",
            "Q5_1 int5-g32 F16",
            "Q8_0 int8-g32 F16",
            "Q4_K int4-g32 F32",
            "Q5_K int5-g32 F32",
            "TQ1_0 int2-g128 F16",
            "TQ2_0 int2-g128 F16",
            "MXFP4 mxfp4 BF16",
            "NVFP4 nvfp4 BF16",
            "Q1_0 int2-g128 F16",
            "Q2_0 int2 F16",
        ]
    );
    for scheme in Scheme::all() {
        for ggml_type in ggml::types_of(scheme) {
            assert!(BOTH_WAYS.contains(ggml_type));
            let format = Mapping::of(*ggml_type).expect("it is mapped").scheme().format();
            assert_eq!(format, scheme.format(), "{scheme} {ggml_type}");
        }
    }
}

#[test]
fn values_are_ggmls() {
    checks(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/quant/vectors/ggml_decode.safetensors"));
}

#[test]
fn values_of_the_whole_set_are_ggmls() {
    let set = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/gguf/vectors.safetensors");
    if set.exists() {
        checks(&set);
    }
}

#[test]
fn parts_that_no_type_holds() {
    let (int4, f32s) = (Scheme::INT4, |values: &[f32]| support::bytes(FloatType::F32, values));
    let fits = |ggml_type, scale: f32, bias: f32| {
        ggml::fits(ggml_type, int4, FloatType::F32, &f32s(&[scale]), &f32s(&[bias])).map_err(|error| error.to_string())
    };
    assert_eq!(fits(GgmlType::Q4_0, 0.5, -4.0), Ok(()));
    assert_eq!(fits(GgmlType::Q4_0, 60000.0, -480_000.0), Ok(()), "the bias is not stored");
    assert_eq!(fits(GgmlType::Q4_1, 0.5, -4.0), Ok(()));
    let error = fits(GgmlType::Q4_0, 0.5, -3.5).expect_err("it is another bias");
    assert_eq!(error, "expected biases of −8 scales to repack without loss, found the bias -3.5e0 with the scale 5e-1");
    let error = fits(GgmlType::Q4_1, 0.1, 0.0).expect_err("it is no F16");
    assert_eq!(error, "expected scales and biases that are finite F16 to repack without loss, found 1e-1");
    for (scale, bias) in [(f32::NAN, 0.0), (1.0, f32::INFINITY), (1.0, 1e-8), (1e5, 0.0)] {
        assert!(fits(GgmlType::Q4_1, scale, bias).is_err(), "{scale} {bias}");
    }
    assert!(fits(GgmlType::Q5_1, 0.5, -4.0).is_err(), "it has other codes");
    assert!(ggml::fits(GgmlType::MXFP4, Scheme::MXFP4, FloatType::BF16, &[0, 254], &[]).is_ok());
    assert!(ggml::fits(GgmlType::MXFP4, Scheme::MXFP4, FloatType::BF16, &[0, 255], &[]).is_err());
    assert!(ggml::fits(GgmlType::NVFP4, Scheme::NVFP4, FloatType::BF16, &[0, 0x7E], &[]).is_ok());
    for scale in [0x7F, 0x80, 0xB0, 0xFF] {
        assert!(ggml::fits(GgmlType::NVFP4, Scheme::NVFP4, FloatType::BF16, &[0, scale], &[]).is_err());
    }
}

#[test]
fn lengths_that_do_not_fit() {
    for ggml_type in mapped() {
        let mapping = Mapping::of(ggml_type).expect("it is mapped");
        let block = vec![0; ggml_type.block_bytes()];
        let parts = map(mapping, &block).expect("zeros are held");
        for at in 0..3 {
            let mut parts = parts.clone();
            parts[at].push(0);
            let [weight, scale, bias] = &mut parts;
            let error = mapping.to_mlx(&block, EncodeBuffers { weight, scale, bias });
            assert!(matches!(error, Err(LayoutError::Length { .. })), "{ggml_type} {at}");
            if BOTH_WAYS.contains(&ggml_type) {
                let parts = [&*parts[0], &*parts[1], &*parts[2]];
                let mut out = block.clone();
                let error = ggml::from_mlx(ggml_type, mapping.scheme(), mapping.float(), parts, &mut out);
                let refused = matches!(error, Err(LayoutError::Length { .. } | LayoutError::PartialRow { .. }));
                assert!(refused, "{ggml_type} {at}: {error:?}");
            }
        }
        assert!(matches!(map(mapping, &block[1..]), Err(LayoutError::PartialRow { .. })), "{ggml_type}");
    }
}

/// F16 numbers: zeros, subnormal, ordinary, the largest that the symmetric types hold, and beyond.
const SCALES: [Option<u16>; 12] = [
    Some(0),
    Some(0x8000),
    Some(1),
    Some(0x83FF),
    Some(0x2E66),
    Some(0xAE66),
    Some(0x5FFF),
    Some(0x6FFF),
    Some(0x7BFF),
    Some(0xFC00),
    Some(0x7E01),
    None,
];

proptest! {
    #[test]
    fn any_block(
        ggml_type in proptest::sample::select(mapped()),
        random in proptest::collection::vec(any::<u8>(), 180),
        scales in proptest::array::uniform2(proptest::sample::select(SCALES.to_vec())),
    ) {
        let mut block = random[..ggml_type.block_bytes()].to_vec();
        let places = match ggml_type {
            GgmlType::MXFP4 => vec![],
            GgmlType::NVFP4 => {
                block[..4].iter_mut().for_each(|scale| *scale &= 0x7F);
                vec![]
            }
            GgmlType::TQ1_0 => vec![52],
            GgmlType::TQ2_0 => vec![64],
            GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 | GgmlType::Q1_0 | GgmlType::Q2_0 => vec![0],
            _ => vec![0, 2],
        };
        for (at, scale) in places.into_iter().zip(scales) {
            let found = u16::from_le_bytes([block[at], block[at + 1]]);
            block[at..at + 2].copy_from_slice(&scale.unwrap_or(found).to_le_bytes());
        }
        check(ggml_type, &block);
    }

    /// A larger group repeats its scale, and the type of the scales does not matter.
    #[test]
    fn any_group(
        scheme in proptest::sample::select(
            Scheme::all().filter(|scheme| !ggml::types_of(*scheme).is_empty()).collect::<Vec<_>>()
        ),
        float in proptest::sample::select(FloatType::ALL.to_vec()),
        seed in any::<u64>(),
        exponents in proptest::collection::vec(-8..8_i8, 16),
    ) {
        let elements = 256;
        let groups = elements / usize::try_from(scheme.group_size()).expect("it is small");
        let random = support::gaussian(seed, elements, 60.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "any bytes are codes")]
        let weight: Vec<u8> =
            random.iter().map(|value| *value as i32 as u8).take(elements * usize::from(scheme.bits()) / 8).collect();
        for &ggml_type in ggml::types_of(scheme) {
            let parts = if scheme.is_affine() {
                let scales: Vec<f32> = exponents[..groups].iter().map(|at| -1.25 * f32::from(*at).exp2()).collect();
                let bias = |scale: &f32| match ggml_type {
                    GgmlType::Q4_0 => -8.0 * scale,
                    GgmlType::Q5_0 => -16.0 * scale,
                    GgmlType::Q8_0 => -128.0 * scale,
                    GgmlType::Q2_0 => -scale,
                    _ => 3.5 * scale,
                };
                let biases: Vec<f32> = scales.iter().map(bias).collect();
                [weight.clone(), support::bytes(float, &scales), support::bytes(float, &biases)]
            } else {
                let scales = exponents.iter().map(|at| 0x38_u8.wrapping_add_signed(*at));
                [weight.clone(), scales.cycle().take(groups).collect(), Vec::new()]
            };
            let mut blocks = vec![0xA5; elements / ggml_type.block_size() * ggml_type.block_bytes()];
            let [weight, scale, bias] = &parts;
            ggml::from_mlx(ggml_type, scheme, float, [weight, scale, bias], &mut blocks).expect("it fits");
            assert_equal(ggml_type.name(), &decode(ggml_type, &blocks), &values(scheme, float, &parts));
        }
    }
}
