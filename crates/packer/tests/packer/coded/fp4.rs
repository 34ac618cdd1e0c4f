//! FP4 codes in bytes of I8 with E8M0 scales, beside 8-bit floats with E8M0 scales, as `DeepSeek` publishes them.

use longshore_manifest::document::Role;
use longshore_st_format::Dtype;

use super::{
    checkpoint::{Checkpoint, same},
    numbers::{e2m1, e4m3, e4m3_noise, e8m0, noise},
};

const CONFIG: &str = r#""expert_dtype": "fp4", "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "scale_fmt": "ue8m0", "weight_block_size": [128, 128]}"#;

fn powers(seed: u64, count: usize) -> Vec<u8> {
    noise(seed, count).into_iter().map(|byte| 110 + byte % 30).collect()
}

/// Decodes `[rows, columns / 2]` bytes with a scale for each 32 codes of a row.
fn values(bytes: &[u8], scales: &[u8]) -> Vec<f32> {
    let codes = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
    codes.enumerate().map(|(at, code)| e2m1(code) * e8m0(scales[at / 32])).collect()
}

#[test]
fn two_codes_to_a_byte() {
    let (bytes, scales) = (noise(1, 128 * 64), powers(2, 128 * 4));
    let (codes, of_blocks) = (e4m3_noise(3, 256 * 128), powers(4, 2));
    let attention: Vec<f32> =
        codes.iter().enumerate().map(|(at, code)| e4m3(*code) * e8m0(of_blocks[at / (128 * 128)])).collect();
    let mut checkpoint = Checkpoint::with_config(CONFIG)
        .add("layers.0.w1.weight", Dtype::I8, &[128, 64], bytes.clone())
        .add("layers.0.w1.scale", Dtype::F8E8M0, &[128, 4], scales.clone())
        .add("layers.0.attn.wq_a.weight", Dtype::F8E4M3, &[256, 128], codes)
        .add("layers.0.attn.wq_a.scale", Dtype::F8E8M0, &[2, 1], of_blocks);
    for expert in 0..3 {
        let name = format!("layers.0.ffn.experts.{expert}.w1");
        checkpoint = checkpoint.add(&format!("{name}.weight"), Dtype::I8, &[8, 32], noise(10 + expert, 8 * 32)).add(
            &format!("{name}.scale"),
            Dtype::F8E8M0,
            &[8, 2],
            powers(20 + expert, 16),
        );
    }
    let imported = checkpoint.import();
    let (one, stack) = ("layers.0.w1.weight", "layers.0.ffn.experts.w1.weight");
    assert_eq!(imported.names(), ["layers.0.attn.wq_a.weight", one, stack]);
    for (name, scheme) in [(one, "mxfp4"), (stack, "mxfp4"), ("layers.0.attn.wq_a.weight", "mxfp8")] {
        assert_eq!(imported.scheme(name), scheme, "{name}");
    }
    assert_eq!((imported.part(one, Role::Weight), imported.part(one, Role::Scale)), (bytes.clone(), scales.clone()));
    imported.has(one, &[128, 128], &values(&bytes, &scales));
    imported.has("layers.0.attn.wq_a.weight", &[256, 128], &attention);
    let exported = imported.exported();
    for expert in 0..3 {
        let name = format!("layers.0.ffn.experts.{expert}.w1.weight");
        same(&name, &exported[&name], &[8, 64], &values(&noise(10 + expert, 8 * 32), &powers(20 + expert, 16)));
    }
}

#[test]
fn what_does_not_fit() {
    let with = |dims: &[u64], name: &str, dtype: Dtype, of_scales: &[u64]| {
        Checkpoint::with_config(CONFIG).zeros("m.weight", Dtype::I8, dims).zeros(name, dtype, of_scales).refusal()
    };
    for (refusal, words) in [
        (with(&[4, 64], "m.scale", Dtype::F8E8M0, &[4, 2]), "expected F8_E8M0 [4, 4]"),
        (with(&[4, 64], "m.scale", Dtype::F8E8M0, &[1, 1]), "expected F8_E8M0 [4, 4]"),
        (with(&[4, 8], "m.scale", Dtype::F8E8M0, &[4, 1]), "16 columns are no whole groups of 32"),
        (with(&[4, 64], "m.scale", Dtype::F32, &[4, 4]), "a packing that is not known"),
        (with(&[4, 64], "m.weight_scale", Dtype::F32, &[4, 1]), "8-bit integer"),
    ] {
        assert!(refusal.contains(words) && refusal.contains("\"m."), "{words}: {refusal}");
    }
    let nan = Checkpoint::with_config(CONFIG).zeros("m.weight", Dtype::I8, &[1, 16]).add(
        "m.scale",
        Dtype::F8E8M0,
        &[1, 1],
        vec![255],
    );
    assert!(nan.refusal().contains("holds infinities or NaNs (32 so far)"), "{}", nan.refusal());
}
