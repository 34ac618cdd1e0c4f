//! Packings that cannot be imported, and checkpoints that contradict themselves. Each error names the tensor, its
//! packing and a hint.

use longshore_packer::Plan;
use longshore_st_format::Dtype;

use super::checkpoint::Checkpoint;
use crate::support::{Dir, chain, options};

const ORIGINAL: &str = "import the model's original checkpoint";

/// Includes E5M2 of row B4.
#[test]
fn packings_that_are_not_read() {
    let one = |name: &str, dtype, dims: &[u64]| Checkpoint::new().zeros(name, dtype, dims);
    for (checkpoint, name, words) in [
        (one("m.weight", Dtype::F8E5M2, &[4, 32]), "m.weight", "an FP8 E5M2 weight"),
        (one("m.weight", Dtype::F8E5M2Fnuz, &[4, 32]), "m.weight", "an FP8 E5M2 weight"),
        (one("m.weight", Dtype::F8E4M3Fnuz, &[4, 32]), "m.weight", "FNUZ"),
        (one("m.weight", Dtype::F4, &[4, 32]), "m.weight", "a sub-byte float"),
        (
            one("m.weight", Dtype::U8, &[64, 1]).zeros("m.weight.absmax", Dtype::F32, &[2]),
            "m.weight",
            "4-bit bitsandbytes",
        ),
        (one("m.weight", Dtype::I8, &[4, 32]).zeros("m.SCB", Dtype::F32, &[4]), "m.weight", "8-bit bitsandbytes"),
        (
            one("m.weight", Dtype::I8, &[4, 32]).zeros("m.weight_scale", Dtype::F32, &[4, 1]),
            "m.weight",
            "8-bit integer",
        ),
    ] {
        let refusal = checkpoint.refusal();
        let all = [&format!("{name:?}"), words, "cannot be imported", ORIGINAL];
        assert!(all.iter().all(|words| refusal.contains(*words)), "{refusal}");
    }
    let mx = one("m.weight", Dtype::U8, &[4, 16]).zeros("m.weight_scale", Dtype::U8, &[4, 1]).refusal();
    assert!(mx.contains("a packed weight with scales") && mx.contains("one in NVFP4"), "{mx}");
}

#[test]
fn integers_that_do_not_fit() {
    let awq = |more: &str, config: &str| {
        let config = format!(r#""quantization_config": {{"quant_method": "awq", "bits": 4{config}}}"#);
        let checkpoint = Checkpoint::with_config(&config).zeros("m.qweight", Dtype::I32, &[128, 4]);
        match more {
            "" => checkpoint,
            _ => checkpoint.zeros("m.qzeros", Dtype::I32, &[2, 4]).zeros("m.scales", Dtype::F16, &[2, 32]),
        }
    };
    let gptq = |rows: u64, groups: u64, config: &str| {
        let config = format!(r#""quantization_config": {{"quant_method": "gptq"{config}}}"#);
        Checkpoint::with_config(&config)
            .zeros("m.qweight", Dtype::I32, &[rows, 32])
            .zeros("m.qzeros", Dtype::I32, &[groups, 4])
            .zeros("m.scales", Dtype::F16, &[groups, 32])
    };
    let packed = |weights: &str| {
        let config = format!(
            r#""quantization_config": {{"quant_method": "compressed-tensors", "config_groups": {{"a": {{"weights": {{{weights}}}}}}}}}"#
        );
        Checkpoint::with_config(&config).zeros("m.weight_packed", Dtype::I32, &[4, 16]).zeros(
            "m.weight_scale",
            Dtype::BF16,
            &[4, 2],
        )
    };
    for (checkpoint, words) in [
        (awq("", ""), "has no \"m.scales\""),
        (awq("all", r#", "version": "gemv""#), "\"gemv\", only gemm is read"),
        (awq("all", r#", "group_size": 128"#), "in groups of 128, but 128 columns with 2 scales are in groups of 64"),
        (gptq(16, 2, r#", "bits": 4, "checkpoint_format": "marlin""#), "\"marlin\", only gptq or gptq_v2 is read"),
        (gptq(12, 1, r#", "bits": 3, "group_size": 128"#), "its codes have 3 bits"),
        (gptq(256, 1, r#", "bits": 4, "group_size": -1"#), "MLX's formats cannot hold it"),
        (gptq(16, 8, r#", "bits": 4, "group_size": 16"#), "MLX's formats cannot hold it"),
        (gptq(16, 3, r#", "bits": 4"#), "3 scales for rows of 128 columns"),
        (gptq(16, 0, r#", "bits": 4"#), "0 scales for rows of 128 columns"),
        (gptq(16, 2, r#", "bits": 8"#), "expected I32 [2, 8]"),
        (gptq(16, 2, r#", "bits": 4"#).zeros("m.g_idx", Dtype::I32, &[64]), "expected I32 [128]"),
        (
            packed(r#""num_bits": 4, "group_size": 32"#),
            "4 bits in groups of 32, but 128 columns with 2 scales are in groups of 64",
        ),
        (packed(r#""num_bits": 3"#), "says 3 bits, expected 4 or 8"),
        (packed(""), "does not say how many bits"),
        (packed(r#""num_bits": 4"#).zeros("m.weight_zero_point", Dtype::I32, &[1]), "zero points"),
        (packed(r#""num_bits": 4"#).zeros("m.weight_g_idx", Dtype::I32, &[128]), "actorder"),
        (Checkpoint::new().zeros("m.weight_packed", Dtype::I32, &[4, 16]), "has no \"m.weight_scale\""),
        (
            Checkpoint::new()
                .zeros("m.qweight", Dtype::I32, &[2, 64, 4])
                .zeros("m.qzeros", Dtype::I32, &[2, 2, 4])
                .zeros("m.scales", Dtype::F16, &[2, 2, 32]),
            "expected a matrix",
        ),
        (gptq(16, 2, r#", "bits": 4"#).zeros("m.weight", Dtype::BF16, &[32, 128]), "clashing name \"m.weight\""),
    ] {
        let refusal = checkpoint.refusal();
        assert!(refusal.contains(words) && refusal.contains("\"m."), "{words}: {refusal}");
    }
}

#[test]
fn names_that_clash() {
    let packed = Checkpoint::new()
        .zeros("x.weight_packed", Dtype::U8, &[2, 16])
        .zeros("x.weight_scale", Dtype::F8E4M3, &[2, 2])
        .add("x.weight_global_scale", Dtype::F32, &[1], 1f32.to_le_bytes().to_vec())
        .zeros("x.weight", Dtype::BF16, &[2, 32]);
    let refusal = packed.refusal();
    assert!(
        refusal.contains("clashing name \"x.weight\": both \"x.weight") && refusal.contains("x.weight_packed"),
        "{refusal}"
    );
    let reserved = Checkpoint::new()
        .zeros("x.weight", Dtype::F8E4M3, &[2, 32])
        .add("x.weight_scale", Dtype::F32, &[1], 1f32.to_le_bytes().to_vec())
        .zeros("x.weight.scale", Dtype::BF16, &[2]);
    assert!(reserved.refusal().contains("clashing name \"x.weight.scale\""), "{}", reserved.refusal());
}

/// Scales beside plain weights are treated like any other tensor.
#[test]
fn scales_of_floats() {
    let imported = Checkpoint::new()
        .zeros("x.weight", Dtype::BF16, &[2, 32])
        .zeros("x.weight_scale", Dtype::F32, &[2, 1])
        .zeros("x.input_scale", Dtype::F32, &[])
        .import();
    assert_eq!(imported.names(), ["x.input_scale", "x.weight", "x.weight_scale"]);
}

#[test]
fn experts_that_differ() {
    let expert = |to: Checkpoint, at: u64, has_global: bool| {
        let module = format!("model.layers.0.mlp.experts.{at}.up_proj");
        let to = to.zeros(&format!("{module}.weight"), Dtype::U8, &[2, 16]).zeros(
            &format!("{module}.weight_scale"),
            Dtype::F8E4M3,
            &[2, 2],
        );
        if has_global { to.zeros(&format!("{module}.weight_scale_2"), Dtype::F32, &[]) } else { to }
    };
    let refusal = expert(expert(Checkpoint::new(), 0, true), 1, false).refusal();
    assert!(refusal.contains("experts.1.up_proj.weight\" is not quantized in the same way as"), "{refusal}");
    let transposed = Checkpoint::of_architecture("Llama4ForConditionalGeneration")
        .zeros("model.layers.0.mlp.experts.gate_up_proj", Dtype::F8E4M3, &[2, 32, 64])
        .add("model.layers.0.mlp.experts.gate_up_proj_scale", Dtype::F32, &[2, 1, 1], [1f32.to_le_bytes(); 2].concat());
    let refusal = transposed.refusal();
    assert!(refusal.contains("experts.gate_up_proj\" is quantized: expected floats"), "{refusal}");
}

/// The error starts with the name of the member.
#[test]
fn members_are_named() {
    let dir = Dir::new();
    dir.file("model_index.json", r#"{"_class_name": "FluxPipeline", "text_encoder": ["transformers", "CLIPTextModel"], "transformer": ["diffusers", "FluxTransformer2DModel"]}"#);
    dir.file("text_encoder/config.json", r#"{"architectures": ["CLIPTextModel"]}"#);
    dir.typed_weights("text_encoder/model.safetensors", &[("a.weight", Dtype::F8E5M2, &[4, 32])]);
    dir.file("transformer/config.json", r#"{"_class_name": "FluxTransformer2DModel"}"#);
    dir.typed_weights("transformer/diffusion_pytorch_model.safetensors", &[("a.weight", Dtype::BF16, &[4, 32])]);
    let source = dir.open();
    let error = match &source {
        Ok(source) => chain(&Plan::new(source.clone(), &options("none", "default")).expect_err("E5M2 is not read")),
        Err(error) => chain(error),
    };
    assert!(error.contains("text_encoder") && error.contains("\"a.weight\"") && error.contains("E5M2"), "{error}");
}
