//! NVFP4 of `ModelOpt` and compressed-tensors. Rows B8, B9 and B11 of the acceptance list.

use longshore_manifest::document::Role;
use longshore_st_format::Dtype;

use super::{
    checkpoint::{Checkpoint, same},
    numbers::{bf16_bytes, e2m1, e4m3, e4m3_noise, e4m3_scales, f32_bytes, noise, short_floats},
};

const COMPRESSED: &str = r#""quantization_config": {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}}}"#;

/// Decodes NVFP4: two codes to a byte, the first in the low half, a scale for each group of 16, and one global scale.
fn values(codes: &[u8], scales: &[u8], global: f32) -> Vec<f32> {
    let code = |at: usize| codes[at / 2] >> (at % 2 * 4) & 15;
    (0..codes.len() * 2).map(|at| e2m1(code(at)) * (e4m3(scales[at / 16]) * global)).collect()
}

fn modelopt(to: Checkpoint, module: &str, seed: u64, global: f32) -> (Checkpoint, Vec<f32>) {
    let (codes, scales) = (noise(seed, 32 * 32), e4m3_scales(seed + 1, 32 * 4));
    let expected = values(&codes, &scales, global);
    let to = to
        .add(&format!("{module}.weight"), Dtype::U8, &[32, 32], codes)
        .add(&format!("{module}.weight_scale"), Dtype::F8E4M3, &[32, 4], scales)
        .add(&format!("{module}.weight_scale_2"), Dtype::F32, &[], f32_bytes(&[global]))
        .add(&format!("{module}.input_scale"), Dtype::F32, &[], f32_bytes(&[7.0]));
    (to, expected)
}

fn compressed(to: Checkpoint, module: &str, seed: u64, divisor: f32) -> (Checkpoint, Vec<f32>) {
    let (codes, scales) = (noise(seed, 32 * 32), e4m3_scales(seed + 1, 32 * 4));
    let expected = values(&codes, &scales, 1.0 / divisor);
    let to = to
        .add(&format!("{module}.weight_packed"), Dtype::U8, &[32, 32], codes)
        .add(&format!("{module}.weight_scale"), Dtype::F8E4M3, &[32, 4], scales)
        .add(&format!("{module}.weight_global_scale"), Dtype::F32, &[1], f32_bytes(&[divisor]))
        .add(&format!("{module}.input_global_scale"), Dtype::F32, &[1], f32_bytes(&[7.0]));
    (to, expected)
}

/// B8 and B9: codes and scales are kept byte for byte, the global scale is kept or inverted, and activation scales are
/// dropped.
#[test]
fn both_writers() {
    for is_modelopt in [true, false] {
        let (checkpoint, expected) = if is_modelopt {
            modelopt(Checkpoint::new(), "m", 1, 0.037)
        } else {
            compressed(Checkpoint::with_config(COMPRESSED), "m", 1, 4.0)
        };
        let imported = checkpoint.add("norm.weight", Dtype::BF16, &[16], bf16_bytes(&short_floats(9, 16))).import();
        assert_eq!(imported.names(), ["m.weight", "norm.weight"], "B8: nothing else is left");
        assert_eq!(imported.scheme("m.weight"), "nvfp4");
        let entry = imported.entry("m.weight");
        let part = |role| {
            let part = entry.part(role).expect("it is there");
            (part.dtype, part.shape.dims().to_vec())
        };
        assert_eq!(part(Role::Weight), (Dtype::U32, vec![32, 8]), "B8: U8 [32, 32] is U32 [32, 8]");
        assert_eq!(part(Role::Scale), (Dtype::U8, vec![32, 4]));
        assert_eq!(part(Role::GlobalScale), (Dtype::F32, vec![]));
        assert_eq!(imported.part("m.weight", Role::Weight), noise(1, 32 * 32));
        let global: f32 = if is_modelopt { 0.037 } else { 0.25 };
        assert_eq!(imported.part("m.weight", Role::GlobalScale), global.to_le_bytes(), "B9: 0.25 from 4.0");
        imported.has("m.weight", &[32, 64], &expected);
        imported.has("norm.weight", &[16], &short_floats(9, 16));
    }
}

/// Experts have different global scales, in numeric order.
#[test]
fn experts_have_global_scales_of_their_own() {
    for write in [modelopt, compressed] {
        let (mut checkpoint, mut expected, mut globals) = (Checkpoint::new(), Vec::new(), Vec::new());
        for expert in 0..11_u8 {
            let module = format!("model.layers.1.mlp.experts.{expert}.up_proj");
            let global = 0.5 + f32::from(expert);
            let values;
            (checkpoint, values) = write(checkpoint, &module, 10 + u64::from(expert), global);
            globals.push(global);
            expected.push((format!("{module}.weight"), values));
        }
        let imported = checkpoint.import();
        let stack = "model.layers.1.mlp.experts.up_proj.weight";
        assert_eq!((imported.names(), imported.scheme(stack)), (vec![stack], "nvfp4".into()));
        let entry = imported.entry(stack);
        assert_eq!(entry.part(Role::GlobalScale).expect("it has one").shape.dims(), [11, 1, 1]);
        let exported = imported.exported();
        for (name, values) in &expected {
            same(name, &exported[name], &[32, 64], values);
        }
    }
}

/// FP8 beside NVFP4, as `ModelOpt` mixes both.
#[test]
fn mixed_with_fp8() {
    let (checkpoint, expected) = modelopt(Checkpoint::new(), "a", 1, 0.5);
    let codes = e4m3_noise(3, 32 * 64);
    let values: Vec<f32> = codes.iter().map(|code| e4m3(*code) * 0.25).collect();
    let imported = checkpoint
        .add("b.weight", Dtype::F8E4M3, &[32, 64], codes)
        .add("b.weight_scale", Dtype::F32, &[], f32_bytes(&[0.25]))
        .add("b.input_scale", Dtype::F32, &[], f32_bytes(&[0.25]))
        .import();
    assert_eq!((imported.scheme("a.weight"), imported.scheme("b.weight")), ("nvfp4".into(), "mxfp8".into()));
    assert_eq!(imported.names(), ["a.weight", "b.weight"]);
    imported.has("a.weight", &[32, 64], &expected);
    imported.has("b.weight", &[32, 64], &values);
}

#[test]
fn without_a_global_scale() {
    let (codes, scales) = (noise(1, 4 * 16), e4m3_scales(2, 4 * 2));
    let imported = Checkpoint::new()
        .add("m.weight", Dtype::U8, &[4, 16], codes.clone())
        .add("m.weight_scale", Dtype::F8E4M3, &[4, 2], scales.clone())
        .import();
    assert_eq!(imported.entry("m.weight").part(Role::GlobalScale), None);
    imported.has("m.weight", &[4, 32], &values(&codes, &scales, 1.0));
}

/// B11, and values that cannot be a global scale.
#[test]
fn global_scales_that_are_none() {
    for divisor in [0.0, -0.0, -4.0, f32::NAN, f32::INFINITY, 1e-45] {
        let (checkpoint, _) = compressed(Checkpoint::new(), "m", 1, divisor);
        let refusal = checkpoint.refusal();
        assert!(refusal.contains("\"m.weight\"") && refusal.contains("expected a positive divisor"), "{refusal}");
    }
    for global in [f32::NAN, f32::INFINITY, -1.0] {
        let (checkpoint, _) = modelopt(Checkpoint::new(), "m", 1, global);
        let refusal = checkpoint.refusal();
        assert!(refusal.contains("\"m.weight\"") && refusal.contains("expected a finite global scale"), "{refusal}");
    }
    let packed = || {
        Checkpoint::new().zeros("m.weight_packed", Dtype::U8, &[2, 16]).zeros("m.weight_scale", Dtype::F8E4M3, &[2, 2])
    };
    let plain = || Checkpoint::new().zeros("m.weight", Dtype::U8, &[2, 16]);
    for (checkpoint, words) in [
        (packed().zeros("m.weight_global_scale", Dtype::F32, &[2]), "is F32 [2], expected one F32"),
        (packed().zeros("m.weight_global_scale", Dtype::BF16, &[]), "is BF16 [], expected one F32"),
        (packed(), "has no \"m.weight_global_scale\""),
        (plain().zeros("m.weight_scale", Dtype::F8E4M3, &[2, 1]), "is F8_E4M3 [2, 1], expected F8_E4M3 [2, 2]"),
        (plain().zeros("m.weight_scale", Dtype::F8E4M3, &[4]), "expected F8_E4M3 [2, 2]"),
        (
            Checkpoint::new().zeros("m.weight", Dtype::U8, &[2, 12]).zeros("m.weight_scale", Dtype::F8E4M3, &[2, 2]),
            "24 columns",
        ),
        (
            Checkpoint::new().zeros("m.weight", Dtype::U8, &[32]).zeros("m.weight_scale", Dtype::F8E4M3, &[4]),
            "two or three axes",
        ),
    ] {
        let refusal = checkpoint.refusal();
        assert!(refusal.contains(words) && refusal.contains("\"m.weight"), "{refusal}");
    }
    let nan = plain().add("m.weight_scale", Dtype::F8E4M3, &[2, 2], vec![0x38, 0x7F, 0x38, 0xFF]);
    assert!(nan.refusal().contains("holds infinities or NaNs (32 so far)"), "{}", nan.refusal());
}
