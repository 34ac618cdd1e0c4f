//! Requests for a scheme for weights that are already quantized.

use longshore_packer::PlanOptions;
use longshore_st_format::Dtype;

use super::{
    checkpoint::Checkpoint,
    numbers::{bf16_bytes, e2m1, e4m3, e4m3_scales, f32_bytes, noise, short_floats},
};
use crate::support::options;

const NAME: &str = "model.layers.0.mlp.up_proj.weight";

fn nvfp4() -> (Checkpoint, Vec<f32>) {
    let (codes, scales) = (noise(1, 64 * 64), e4m3_scales(2, 64 * 8));
    let code = |at: usize| codes[at / 2] >> (at % 2 * 4) & 15;
    let values = (0..64 * 128).map(|at| e2m1(code(at)) * e4m3(scales[at / 16]) * 0.5).collect();
    let checkpoint = Checkpoint::new()
        .add(NAME, Dtype::U8, &[64, 64], codes.clone())
        .add(&NAME.replace("weight", "weight_scale"), Dtype::F8E4M3, &[64, 8], scales.clone())
        .add(&NAME.replace("weight", "weight_scale_2"), Dtype::F32, &[], f32_bytes(&[0.5]))
        // The policies do not quantize embeddings.
        .add("model.embed_tokens.weight", Dtype::U8, &[64, 64], codes.clone())
        .add("model.embed_tokens.weight_scale", Dtype::F8E4M3, &[64, 8], scales)
        .add("model.embed_tokens.weight_scale_2", Dtype::F32, &[], f32_bytes(&[0.5]))
        .add("model.layers.0.self_attn.q_proj.weight", Dtype::BF16, &[64, 64], bf16_bytes(&short_floats(4, 64 * 64)));
    (checkpoint, values)
}

fn asked(scheme: &str, policy: &str) -> PlanOptions {
    PlanOptions { requantize: true, ..options(scheme, policy) }
}

#[test]
fn only_with_the_flag() {
    let (checkpoint, values) = nvfp4();
    for scheme in ["int4", "int8", "nvfp4"] {
        let refusal = checkpoint.refusal_of(&options(scheme, "default"));
        assert!(refusal.contains("is quantized already (nvfp4)") && refusal.contains("--requantize"), "{refusal}");
    }
    let again = checkpoint.import_with(&asked("int8", "v0.16"));
    assert_eq!(again.scheme(NAME), "int8");
    assert_eq!(again.scheme("model.embed_tokens.weight"), "nvfp4", "what the policy keeps stays as it is");
    again.has("model.embed_tokens.weight", &[64, 128], &values);
    // The result is the same as if the decoded values had been the source.
    let plain = Checkpoint::new().add(NAME, Dtype::BF16, &[64, 128], bf16_bytes(&values)).import_as("int8", "v0.16");
    let (again, plain) = (again.exported(), plain.exported());
    assert_eq!(again[NAME].elements, plain[NAME].elements);
    // Requesting the same scheme again keeps the codes, so nothing more is lost.
    let same = checkpoint.import_with(&asked("nvfp4", "uniform"));
    same.has(NAME, &[64, 128], &values);
}

#[test]
fn to_floats() {
    let (checkpoint, values) = nvfp4();
    assert_eq!(checkpoint.import_floats().scheme(NAME), "nvfp4");
    let floats = checkpoint.import_with(&PlanOptions { floats: true, ..asked("none", "default") });
    assert_eq!(floats.scheme(NAME), "none");
    let rounded: Vec<f32> = values.iter().map(|value| super::numbers::round_bf16(*value)).collect();
    floats.has(NAME, &[64, 128], &rounded);
}

/// AWQ and GPTQ weights are repacked and never decoded, whatever the options.
#[test]
fn transposed_codes() {
    let awq = Checkpoint::new().zeros("m.qweight", Dtype::I32, &[128, 8]).zeros("m.qzeros", Dtype::I32, &[2, 8]).zeros(
        "m.scales",
        Dtype::F16,
        &[2, 64],
    );
    for asked in [asked("int8", "uniform"), PlanOptions { floats: true, ..asked("none", "default") }] {
        let refusal = awq.refusal_of(&asked);
        assert!(
            refusal.contains("\"m.weight\" is stored as AWQ or GPTQ do (int4)") && refusal.contains("--dequantize"),
            "{refusal}"
        );
    }
    assert_eq!(awq.import_with(&asked("int4", "uniform")).scheme("m.weight"), "int4");
}
