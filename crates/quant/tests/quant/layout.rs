//! Compares published layouts with their definitions, and with checkpoints on machines that have them.

use std::{fs, path::PathBuf};

use longshore_quant::{
    Decoder, EncodeBuffers, FloatType, Scheme,
    layout::{
        Fp8, Fp8Scales, LayoutError, Packing, ScaledFp8, Transposed, TransposedParts, every_nth_row,
        global_scale_of_divisor, symmetric_biases,
    },
};
use longshore_st_format::SafeTensors;
use proptest::prelude::*;

use crate::support::{bytes, decode_with, floats, gaussian};

type File = SafeTensors<Vec<u8>>;

fn open(path: &str) -> Option<File> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/models")).join(path);
    let bytes = fs::read(path).ok()?;
    Some(SafeTensors::new(bytes).expect("the files are whole"))
}

/// Opens a checkpoint and its expected decoded tensors.
fn checkpoint(name: &str) -> Option<(File, File)> {
    Some((open(&format!("{name}/model.safetensors"))?, open(&format!("expected/{name}.safetensors"))?))
}

fn dims(shape: &[u64]) -> Vec<usize> {
    shape.iter().map(|dim| usize::try_from(*dim).expect("it fits")).collect()
}

#[test]
fn block_fp8_of_a_checkpoint() {
    let Some((source, expected)) = checkpoint("deepseek-v3-fp8") else { return };
    let mut checked = 0;
    for view in expected.iter() {
        let Some(scales) = source.tensor(&format!("{}_scale_inv", view.name)) else { continue };
        let weight = source.tensor(view.name).expect("a scale has its weight");
        let shape = dims(weight.shape.dims());
        let scales = Fp8Scales::Float(FloatType::F32, scales.data);
        let layout = ScaledFp8::new(Fp8::E4m3, [shape[0], shape[1]], [128, 128], scales).expect("the parts fit");
        let mut out = vec![0; view.data.len()];
        layout.decode_rows(0, weight.data, FloatType::F32, &mut out).expect("the buffers fit");
        assert!(out == view.data, "{}", view.name);
        checked += 1;
    }
    assert!(checked > 20);
}

#[test]
fn model_opt_nvfp4_of_a_checkpoint() {
    let Some((source, expected)) = checkpoint("llama-modelopt-nvfp4") else { return };
    let mut checked = 0;
    for view in expected.iter() {
        let Some(global) = source.tensor(&format!("{}_scale_2", view.name)) else { continue };
        let part =
            |suffix: &str| source.tensor(&format!("{}{suffix}", view.name)).expect("the parts lie together").data;
        let global = floats(FloatType::F32, global.data)[0];
        let decoder = Decoder::new(Scheme::NVFP4, FloatType::F32, FloatType::F32).with_global_scale(global);
        let mut out = vec![0; view.data.len()];
        decode_with(&decoder, [part(""), part("_scale"), &[]], &mut out);
        for (i, (found, expected)) in
            floats(FloatType::F32, &out).iter().zip(floats(FloatType::F32, view.data)).enumerate()
        {
            // The order in which the three factors are multiplied is not defined.
            let near = (found - expected).abs() <= expected.abs() * 2f32.powi(-23);
            assert!(near, "{} {i}: {found:e}, expected {expected:e}", view.name);
        }
        checked += 1;
    }
    assert_eq!(checked, 14);
}

#[test]
fn mxfp4_of_a_checkpoint() {
    let Some((source, expected)) = checkpoint("gpt-oss-mxfp4") else { return };
    let mut checked = 0;
    for view in expected.iter() {
        let Some(blocks) = source.tensor(&format!("{}_blocks", view.name)) else { continue };
        let scales = source.tensor(&format!("{}_scales", view.name)).expect("the parts lie together");
        // Blocks are [experts, out, in], and the expected values are [experts, in, out].
        let [experts, inputs, outputs] = dims(view.shape.dims())[..] else { panic!("experts are stacked") };
        let decoder = Decoder::new(Scheme::MXFP4, FloatType::F32, FloatType::F32);
        let mut out = vec![0; view.data.len()];
        decode_with(&decoder, [blocks.data, scales.data, &[]], &mut out);
        let (found, wanted) = (floats(FloatType::F32, &out), floats(FloatType::F32, view.data));
        for e in 0..experts {
            for o in 0..outputs {
                for i in 0..inputs {
                    let (found, wanted) =
                        (found[(e * outputs + o) * inputs + i], wanted[(e * inputs + i) * outputs + o]);
                    assert_eq!(found.to_bits(), wanted.to_bits(), "{} {e} {o} {i}", view.name);
                }
            }
        }
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[test]
fn fp8_in_blocks_of_any_size() {
    let (rows, columns) = (7usize, 96usize);
    let src: Vec<u8> = (0..rows * columns).map(|i| i.to_le_bytes()[0].wrapping_mul(37)).collect();
    for fp8 in [Fp8::E4m3, Fp8::E5m2] {
        for block in [[1, columns], [rows, columns], [3, 40], [2, 32], [100, 1], [1, 1], [usize::MAX, usize::MAX]] {
            let (block_rows, block_columns) = (rows.div_ceil(block[0]), columns.div_ceil(block[1]));
            let scales = gaussian(4, block_rows * block_columns, 1.0);
            for float in FloatType::ALL {
                let stored = bytes(float, &scales);
                let scales = floats(float, &stored);
                let layout = ScaledFp8::new(fp8, [rows, columns], block, Fp8Scales::Float(float, &stored));
                let layout = layout.expect("the parts fit");
                let mut out = vec![0; 2 * columns * 4];
                layout.decode_rows(3, &src[3 * columns..5 * columns], FloatType::F32, &mut out).expect("it fits");
                for (i, found) in floats(FloatType::F32, &out).into_iter().enumerate() {
                    let (row, column) = (3 + i / columns, i % columns);
                    let byte = src[row * columns + column];
                    let value = match fp8 {
                        Fp8::E5m2 => half::f16::from_le_bytes([0, byte]).to_f32(),
                        _ => e4m3(byte),
                    };
                    let expected = value * scales[row / block[0] * block_columns + column / block[1]];
                    let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                    assert!(same, "{fp8:?} {block:?} {float} {row} {column}: {found:e}, expected {expected:e}");
                }
            }
        }
    }
}

/// Decodes E4M3 by its definition.
fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f32::from(byte & 7));
    let magnitude = match (exponent, byte & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

#[test]
fn power_of_two_scales_become_mxfp8() {
    let (rows, columns) = (5usize, 160usize);
    let src: Vec<u8> = (0..rows * columns).map(|i| i.to_le_bytes()[0].wrapping_mul(91)).collect();
    for block in [[128, 128], [32, 32], [1, columns], [1, 32], [rows, columns]] {
        let blocks = rows.div_ceil(block[0]) * columns.div_ceil(block[1]);
        let codes: Vec<u8> = (0..blocks).map(|i| 120 + i.to_le_bytes()[0] % 16).collect();
        let as_floats: Vec<u8> =
            codes.iter().flat_map(|code| 2f32.powi(i32::from(*code) - 127).to_le_bytes()).collect();
        let mut all = Vec::new();
        for scales in [Fp8Scales::PowerOfTwo(&codes), Fp8Scales::Float(FloatType::F32, &as_floats)] {
            let layout = ScaledFp8::new(Fp8::E4m3, [rows, columns], block, scales).expect("the parts fit");
            let mut scales = vec![0; (rows - 1) * columns / 32];
            layout.mxfp8_scales(1, &mut scales).expect("nothing is lost");
            let (mut expected, mut out) = (vec![0; 4 * 4 * columns], vec![0; 4 * 4 * columns]);
            layout.decode_rows(1, &src[columns..], FloatType::F32, &mut expected).expect("it fits");
            let decoder = Decoder::new(Scheme::MXFP8, FloatType::F32, FloatType::F32);
            decode_with(&decoder, [&src[columns..], &scales, &[]], &mut out);
            for (found, expected) in floats(FloatType::F32, &out).iter().zip(floats(FloatType::F32, &expected)) {
                assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(), "{block:?}");
            }
            all.push(scales);
        }
        assert_eq!(all[0], all[1]);
    }
}

#[test]
fn what_mxfp8_cannot_hold_is_refused() {
    let scales = bytes(FloatType::F32, &[1.0, 1.5]);
    let scales = Fp8Scales::Float(FloatType::F32, &scales);
    let of = |fp8, shape, block| ScaledFp8::new(fp8, shape, block, scales).expect("the parts fit");
    let mut out = [0; 4];
    let error = of(Fp8::E4m3, [2, 64], [1, 64]).mxfp8_scales(0, &mut out).expect_err("1.5 is no power of two");
    assert_eq!(error.to_string(), "expected a power of two as the scale of block 1, found 1.5");
    let error = of(Fp8::E5m2, [2, 64], [1, 64]).mxfp8_scales(0, &mut out).expect_err("the codes differ");
    assert_eq!(error.to_string(), "expected E4M3 to repack without loss, found E5m2");
    let error = of(Fp8::E4m3, [1, 64], [1, 40]).mxfp8_scales(0, &mut out).expect_err("40 is no multiple of 32");
    assert!(matches!(error, LayoutError::Lossy { .. }));
    assert!(matches!(
        ScaledFp8::new(Fp8::E4m3, [3, 64], [1, 64], scales),
        Err(LayoutError::Length { part: "scales", expected: 12, found: 8 })
    ));
    let mut out = [7; 256];
    let layout = of(Fp8::E4m3, [2, 64], [1, 64]);
    let error = layout.decode_rows(1, &[0; 128], FloatType::F16, &mut out).expect_err("there are two rows");
    assert_eq!(error.to_string(), "expected rows below 2, found rows 1 to 3");
    assert!(layout.decode_rows(0, &[0; 100], FloatType::F16, &mut out).is_err());
    assert!(layout.decode_rows(0, &[0; 64], FloatType::F16, &mut out).is_err());
    assert!(layout.decode_rows(0, &[], FloatType::F16, &mut []).is_ok());
    assert_eq!(out, [7; 256]);
}

/// Codes, zero points and scales, and the tensors that hold them, one nibble or byte at a time.
struct Made {
    codes: Vec<Vec<u8>>,
    zeros: Vec<Vec<u8>>,
    scales: Vec<f32>,
    weight: Vec<u8>,
    packed_zeros: Vec<u8>,
    stored_scales: Vec<u8>,
}

const OUTPUTS: usize = 16;
const INPUTS: usize = 64;
const GROUP: usize = 32;

fn made(packing: Packing, bits: usize, float: FloatType) -> Made {
    let mask = u8::MAX >> (8 - bits);
    let number = |a: usize, b: usize| (a * 31 + b * 17 + a * b).to_le_bytes()[0];
    let codes: Vec<Vec<u8>> = (0..INPUTS).map(|i| (0..OUTPUTS).map(|o| number(i, o) & mask).collect()).collect();
    let zeros: Vec<Vec<u8>> =
        (0..INPUTS / GROUP).map(|g| (0..OUTPUTS).map(|o| (number(o, g) & mask).max(1)).collect()).collect();
    let stored_scales = bytes(float, &gaussian(8, INPUTS / GROUP * OUTPUTS, 0.02));
    let scales = floats(float, &stored_scales);
    let per_word = 32 / bits;
    // Output index that lies in each of the eight places of a word.
    let order = [0, 2, 4, 6, 1, 3, 5, 7];
    let along_outputs = |rows: &[Vec<u8>], less: u8| -> Vec<u8> {
        let mut out = Vec::new();
        for row in rows {
            for word in row.chunks(per_word) {
                let at = |place: usize| if packing == Packing::Awq { order[place] } else { place };
                let word: u32 = (0..per_word).map(|p| u32::from(word[at(p)] - less) << (p * bits)).sum();
                out.extend(word.to_le_bytes());
            }
        }
        out
    };
    let weight = if packing == Packing::Awq {
        along_outputs(&codes, 0)
    } else {
        let mut out = Vec::new();
        for rows in codes.chunks(per_word) {
            for o in 0..OUTPUTS {
                let word: u32 = rows.iter().enumerate().map(|(p, row)| u32::from(row[o]) << (p * bits)).sum();
                out.extend(word.to_le_bytes());
            }
        }
        out
    };
    let packed_zeros = along_outputs(&zeros, u8::from(packing == Packing::Gptq));
    Made { codes, zeros, scales, weight, packed_zeros, stored_scales }
}

#[test]
fn awq_and_gptq_are_read_as_defined() {
    for (packing, bits) in
        [(Packing::Awq, 4), (Packing::Gptq, 4), (Packing::GptqV2, 4), (Packing::Gptq, 2), (Packing::Gptq, 8)]
    {
        for float in FloatType::ALL {
            let made = made(packing, usize::from(bits), float);
            // With act-order, every other input belongs to the second group.
            let reordered: Vec<u8> = (0..INPUTS).flat_map(|i| u32::from(i % 2 == 1).to_le_bytes()).collect();
            for group_index in [None, Some(&reordered[..])] {
                let parts = TransposedParts {
                    weight: &made.weight,
                    zeros: &made.packed_zeros,
                    scales: &made.stored_scales,
                    float,
                    group_index,
                };
                let layout = Transposed::new(packing, bits, [OUTPUTS, INPUTS], GROUP, parts).expect("the parts fit");
                assert_eq!(layout.is_reordered(), group_index.is_some());
                let mut out = vec![0; 8 * INPUTS * 4];
                layout.decode_rows(5, FloatType::F32, &mut out).expect("the buffer fits");
                for (i, found) in floats(FloatType::F32, &out).into_iter().enumerate() {
                    let (output, input) = (5 + i / INPUTS, i % INPUTS);
                    let group = if group_index.is_some() { input % 2 } else { input / GROUP };
                    let steps = f32::from(made.codes[input][output]) - f32::from(made.zeros[group][output]);
                    let expected = steps * made.scales[group * OUTPUTS + output];
                    assert_eq!(found.to_bits(), expected.to_bits(), "{packing:?} {bits} {float} {output} {input}");
                }
            }
        }
    }
}

#[test]
fn awq_and_gptq_become_affine() {
    for (packing, bits) in
        [(Packing::Awq, 4), (Packing::Gptq, 4), (Packing::GptqV2, 4), (Packing::Gptq, 2), (Packing::Gptq, 8)]
    {
        let made = made(packing, usize::from(bits), FloatType::F16);
        let parts = TransposedParts {
            weight: &made.weight,
            zeros: &made.packed_zeros,
            scales: &made.stored_scales,
            float: FloatType::F16,
            group_index: None,
        };
        let layout = Transposed::new(packing, bits, [OUTPUTS, INPUTS], GROUP, parts).expect("the parts fit");
        let scheme = layout.scheme().expect("MLX has groups of 32");
        let rows = OUTPUTS - 3;
        let len = scheme.encoded_len(rows * INPUTS / GROUP, FloatType::F32).expect("it fits");
        let (mut weight, mut scale, mut bias) = (vec![0; len.weight], vec![0; len.scale], vec![0; len.bias]);
        let out = EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias };
        layout.to_affine(3, FloatType::F32, out).expect("the buffers fit");
        let (mut found, mut expected) = (vec![0; rows * INPUTS * 4], vec![0; rows * INPUTS * 4]);
        decode_with(&Decoder::new(scheme, FloatType::F32, FloatType::F32), [&weight, &scale, &bias], &mut found);
        layout.decode_rows(3, FloatType::F32, &mut expected).expect("the buffer fits");
        // With scales of 11 bits, the products code × scale and zero × scale and their difference are exact.
        assert_eq!(floats(FloatType::F32, &found), floats(FloatType::F32, &expected), "{packing:?} {bits}");
    }
}

#[test]
fn parts_of_awq_and_gptq_that_do_not_fit_are_refused() {
    let made = made(Packing::Gptq, 4, FloatType::F16);
    let parts = TransposedParts {
        weight: &made.weight,
        zeros: &made.packed_zeros,
        scales: &made.stored_scales,
        float: FloatType::F16,
        group_index: None,
    };
    let of = |packing, bits, shape, group, parts| Transposed::new(packing, bits, shape, group, parts).map(|_| ());
    let shape = [OUTPUTS, INPUTS];
    assert_eq!(of(Packing::Gptq, 4, shape, GROUP, parts), Ok(()));
    assert_eq!(of(Packing::Gptq, 3, shape, GROUP, parts), Err(LayoutError::Bits { found: 3 }));
    assert_eq!(of(Packing::Awq, 8, shape, GROUP, parts), Err(LayoutError::Bits { found: 8 }));
    assert!(matches!(of(Packing::Gptq, 4, shape, 0, parts), Err(LayoutError::Dimension { what: "group", .. })));
    assert!(matches!(of(Packing::Gptq, 4, shape, 48, parts), Err(LayoutError::Dimension { what: "inputs", .. })));
    assert!(matches!(of(Packing::Gptq, 4, [12, 64], 32, parts), Err(LayoutError::Dimension { what: "outputs", .. })));
    let huge = of(Packing::Gptq, 4, [usize::MAX - 7, usize::MAX - 31], 32, parts).expect_err("no memory holds it");
    assert!(matches!(huge, LayoutError::TooLarge { what: "the shape", .. }));
    assert_eq!(
        huge.to_string(),
        format!("expected the shape to fit in memory, found {} × {}", usize::MAX - 7, usize::MAX - 31)
    );
    let short = TransposedParts { weight: &made.weight[4..], ..parts };
    assert_eq!(
        of(Packing::Gptq, 4, shape, GROUP, short),
        Err(LayoutError::Length { part: "weight", expected: 512, found: 508 })
    );
    let mut index = vec![0; 4 * INPUTS];
    index[8] = 2;
    let indexed = TransposedParts { group_index: Some(&index), ..parts };
    let error = of(Packing::Gptq, 4, shape, GROUP, indexed).expect_err("there are two groups");
    assert_eq!(error.to_string(), "expected a group below 2 for input 2, found 2");
    index[8] = 1;
    let indexed = TransposedParts { group_index: Some(&index), ..parts };
    let layout = Transposed::new(Packing::Gptq, 4, shape, GROUP, indexed).expect("the parts fit");
    let out = EncodeBuffers { weight: &mut [], scale: &mut [], bias: &mut [] };
    assert!(matches!(layout.to_affine(0, FloatType::F16, out), Err(LayoutError::Lossy { .. })));
}

#[test]
fn small_conversions() {
    let src: Vec<u8> = (0..24).collect();
    let mut out = [0; 12];
    every_nth_row(&src, 3, 2, 1, &mut out).expect("it fits");
    assert_eq!(out, [3, 4, 5, 9, 10, 11, 15, 16, 17, 21, 22, 23]);
    assert!(every_nth_row(&src, 3, 2, 2, &mut out).is_err());
    assert!(every_nth_row(&src, 0, 2, 1, &mut out).is_err());
    assert!(every_nth_row(&src, 5, 2, 1, &mut out).is_err());
    assert!(every_nth_row(&src, 3, 2, 1, &mut out[1..]).is_err());

    assert_eq!(global_scale_of_divisor(4.0), Ok(0.25));
    for divisor in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
        assert!(global_scale_of_divisor(divisor).is_err(), "{divisor:e}");
    }

    for float in FloatType::ALL {
        let scales = bytes(float, &[0.5, -0.125]);
        let mut biases = vec![0; scales.len()];
        symmetric_biases(&scales, float, 4, &mut biases).expect("it fits");
        assert_eq!(floats(float, &biases), [-4.0, 1.0]);
        symmetric_biases(&scales, float, 8, &mut biases).expect("it fits");
        assert_eq!(floats(float, &biases), [-64.0, 16.0]);
        assert!(symmetric_biases(&scales, float, 3, &mut biases).is_err());
        assert!(symmetric_biases(&scales[1..], float, 4, &mut biases).is_err());
    }
}

proptest! {
    /// Arbitrary shapes, as a file might declare them, cause neither a panic nor an overflow.
    #[test]
    fn any_dimensions_are_checked(
        shape in prop::array::uniform2(prop_oneof![0usize..200, Just(usize::MAX), any::<usize>()]),
        block in prop::array::uniform2(prop_oneof![0usize..200, Just(usize::MAX), any::<usize>()]),
        first in prop_oneof![0usize..9, any::<usize>()],
        bits in any::<u8>(),
        len in 0usize..64,
    ) {
        let data = vec![0; len];
        if let Ok(layout) = ScaledFp8::new(Fp8::E4m3, shape, block, Fp8Scales::PowerOfTwo(&data)) {
            let _ = layout.decode_rows(first, &data, FloatType::F16, &mut vec![0; 2 * len]);
            let _ = layout.mxfp8_scales(first, &mut vec![0; len]);
        }
        for packing in [Packing::Awq, Packing::Gptq, Packing::GptqV2] {
            let parts =
                TransposedParts { weight: &data, zeros: &data, scales: &data, float: FloatType::F16, group_index: Some(&data) };
            if let Ok(layout) = Transposed::new(packing, bits % 9, shape, block[0], parts) {
                let _ = layout.decode_rows(first, FloatType::F16, &mut vec![0; len]);
            }
        }
    }
}

/// A shape too large for any memory does not cause a panic where nothing is decoded.
#[test]
fn no_rows_of_an_endless_matrix() {
    let scale = 1f32.to_le_bytes();
    let scales = Fp8Scales::Float(FloatType::F32, &scale);
    let matrix = ScaledFp8::new(Fp8::E4m3, [1, 1 << 62], [1, 1 << 62], scales).expect("one block");
    matrix.decode_rows(0, &[], FloatType::F32, &mut []).expect("no rows are whole rows");
}
