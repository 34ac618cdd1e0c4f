//! MXFP4 blocks of gpt-oss.

use longshore_manifest::document::Role;
use longshore_packer::PlanOptions;
use longshore_st_format::Dtype;

use super::{
    checkpoint::Checkpoint,
    numbers::{bf16_bytes, e2m1, e8m0, noise, short_floats},
};

const DOWN: &str = "model.layers.0.mlp.experts.down_proj";
const UP: &str = "model.layers.0.mlp.experts.gate_up_proj";

fn scales(seed: u64, count: usize) -> Vec<u8> {
    noise(seed, count).into_iter().map(|byte| 100 + byte % 40).collect()
}

/// Decodes blocks `[experts, out, in / 32, 16]` to values `[experts, in, out]`.
fn values(blocks: &[u8], scales: &[u8], [experts, outputs, inputs]: [usize; 3]) -> Vec<f32> {
    let mut values = Vec::new();
    for expert in 0..experts {
        for input in 0..inputs {
            for output in 0..outputs {
                let at = (expert * outputs + output) * inputs + input;
                let code = blocks[at / 2] >> (at % 2 * 4) & 15;
                values.push(e2m1(code) * e8m0(scales[at / 32]));
            }
        }
    }
    values
}

#[test]
fn blocks_become_stacked_experts() {
    let (up, up_scales) = (noise(1, 3 * 64 * 96 / 2), scales(2, 3 * 64 * 3));
    let (down, down_scales) = (noise(3, 3 * 48 * 32 / 2), scales(4, 3 * 48));
    let checkpoint = Checkpoint::of_architecture("GptOssForCausalLM")
        .add(&format!("{UP}_blocks"), Dtype::U8, &[3, 64, 3, 16], up.clone())
        .add(&format!("{UP}_scales"), Dtype::U8, &[3, 64, 3], up_scales.clone())
        .add(&format!("{UP}_bias"), Dtype::BF16, &[3, 64], bf16_bytes(&short_floats(5, 192)))
        .add(&format!("{DOWN}_blocks"), Dtype::U8, &[3, 48, 1, 16], down.clone())
        .add(&format!("{DOWN}_scales"), Dtype::U8, &[3, 48, 1], down_scales.clone());
    let imported = checkpoint.import();
    assert_eq!(imported.names(), [DOWN, UP, &format!("{UP}_bias")]);
    assert_eq!((imported.scheme(UP), imported.scheme(DOWN)), ("mxfp4".into(), "mxfp4".into()));
    let entry = imported.entry(UP);
    assert_eq!((entry.dtype, entry.shape.dims()), (Dtype::BF16, &[3, 64, 96][..]));
    assert_eq!(imported.part(UP, Role::Weight), up, "the bytes are the same");
    assert_eq!(imported.part(UP, Role::Scale), up_scales);
    // The export has the names and the orientation of the BF16 checkpoint.
    imported.has(UP, &[3, 96, 64], &values(&up, &up_scales, [3, 64, 96]));
    imported.has(DOWN, &[3, 32, 48], &values(&down, &down_scales, [3, 48, 32]));
    imported.has(&format!("{UP}_bias"), &[3, 64], &short_floats(5, 192));
    let asked = PlanOptions { floats: true, requantize: true, ..crate::support::options("none", "default") };
    let floats = checkpoint.import_with(&asked);
    assert_eq!(floats.scheme(UP), "none");
    floats.has(UP, &[3, 96, 64], &values(&up, &up_scales, [3, 64, 96]));
}

#[test]
fn blocks_that_do_not_fit() {
    let blocks =
        |dims: &[u64]| Checkpoint::of_architecture("GptOssForCausalLM").zeros(&format!("{UP}_blocks"), Dtype::U8, dims);
    for (checkpoint, words) in [
        (blocks(&[2, 64, 3, 16]), "has no \"model.layers.0.mlp.experts.gate_up_proj_scales\""),
        (blocks(&[2, 64, 3, 16]).zeros(&format!("{UP}_scales"), Dtype::U8, &[2, 64, 4]), "expected U8 [2, 64, 3]"),
        (
            blocks(&[2, 64, 3, 16]).zeros(&format!("{UP}_scales"), Dtype::BF16, &[2, 64, 3]),
            "is BF16 [2, 64, 3], expected U8",
        ),
        (
            blocks(&[2, 64, 48]).zeros(&format!("{UP}_scales"), Dtype::U8, &[2, 64, 3]),
            "expected [experts, out, groups, 16]",
        ),
        (blocks(&[2, 64, 0, 16]).zeros(&format!("{UP}_scales"), Dtype::U8, &[2, 64, 0]), "no whole number"),
    ] {
        let refusal = checkpoint.refusal();
        assert!(refusal.contains(words) && refusal.contains("gate_up_proj_blocks"), "{refusal}");
    }
    // A scale that is NaN.
    let nan = blocks(&[1, 1, 1, 16]).add(&format!("{UP}_scales"), Dtype::U8, &[1, 1, 1], vec![255]);
    assert!(nan.refusal().contains("holds infinities or NaNs (32 so far)"), "{}", nan.refusal());
}
