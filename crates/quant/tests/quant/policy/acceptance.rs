//! Rows of the acceptance list (§11) of the specification of ollama's rules that decide by name and shape: A6, A7, B12,
//! B13 and B16.

use longshore_quant::policy::Query;

use super::{decision, decisions, named, query};

const KEPT: &str = "- - - - -";
const REQUESTED: &str = "int4 int8 nvfp4 mxfp4 mxfp8";
/// The 8-bit scheme of the request's family.
const EIGHT_BIT: &str = "int8 int8 mxfp8 mxfp8 mxfp8";

/// A6: rules of 0.16 about names. The shapes fit every type.
#[test]
fn a6_names_in_0_16() {
    let policy = named("v0.16");
    let component = |name: &'static str, component| {
        decisions(&policy, &Query { component, stacked: false, ..Query::new(name, &[128, 128]) })
    };
    for name in ["decoder.conv.weight", "decoder.conv.bias"] {
        assert_eq!(component(name, Some("vae")), KEPT, "{name}");
    }
    for name in [
        "embed_tokens.weight",
        "token_embedding.weight",
        "layer_norm.weight",
        "rms_norm.weight",
        "ln_1.weight",
        "input_layernorm.weight",
        "attention.bias",
        "o_proj.bias",
    ] {
        assert_eq!(component(name, None), KEPT, "{name}");
    }
    for name in ["q_proj.weight", "self_attn.weight", "mlp.gate_proj.weight"] {
        assert_eq!(component(name, None), REQUESTED, "{name}");
    }
    assert_eq!(component("layers.0.weight", Some("transformer")), REQUESTED);
    assert_eq!(component("encoder.weight", Some("text_encoder")), REQUESTED);
}

/// A7: rules of 0.16 about shapes. `fp8` is int8 in 0.16 and here. In 0.16 int8 had groups of 64 and int4 groups of 32;
/// here every policy uses 64.
#[test]
fn a7_shapes_in_0_16() {
    let policy = named("v0.16");
    let yes: &[(&str, &[u64], &str)] = &[
        ("q_proj.weight", &[4096, 4096], "fp8"),
        ("q_proj.weight", &[4096, 4096], "nvfp4"),
        ("q_proj.weight", &[128, 128], "fp8"),
        ("proj.weight", &[128, 64], "fp8"),
        ("proj.weight", &[128, 48], "nvfp4"),
    ];
    for (name, shape, request) in yes {
        assert_ne!(decision(&policy, &Query::new(name, shape), request), "-", "{name} {shape:?} {request}");
    }
    let no: &[(&str, &[u64], &str)] = &[
        ("q_proj.weight", &[16, 16], "fp8"),
        ("q_proj.weight", &[31, 31], "fp8"),
        ("q_proj.weight", &[4096], "fp8"),
        ("conv.weight", &[64, 64, 64], "fp8"),
        ("conv.weight", &[64, 64, 64, 64], "fp8"),
        ("embed_tokens.weight", &[32_000, 4096], "fp8"),
        ("norm.weight", &[4096, 4096], "fp8"),
        ("q_proj.bias", &[4096, 4096], "fp8"),
        ("proj.weight", &[128, 48], "fp8"),
        ("proj.weight", &[128, 24], "nvfp4"),
    ];
    for (name, shape, request) in no {
        assert_eq!(decision(&policy, &Query::new(name, shape), request), "-", "{name} {shape:?} {request}");
    }
    // This project departs here for stacks of experts: 0.16 does not quantize rank 3, but stacking gives the same under
    // every policy here.
    let stack = Query { stacked: true, ..Query::new("model.layers.0.mlp.experts.gate_proj.weight", &[64, 64, 64]) };
    assert_eq!(decisions(&policy, &stack), REQUESTED);
    // §3.2: the name has to end in `.weight`, so experts that a checkpoint stores together may stay.
    let fused = Query { stacked: true, ..Query::new("model.layers.0.mlp.experts.gate_up_proj", &[64, 64, 64]) };
    assert_eq!(decisions(&policy, &fused), KEPT);
}

/// §7: image models in 0.16 had no rules about ranks and roles. This project applies its minimum of elements to them
/// too.
#[test]
fn pipelines_in_0_16() {
    let policy = named("v0.16");
    let of = |name: &'static str, shape: &'static [u64]| {
        decisions(&policy, &Query { component: Some("text_encoder"), ..Query::new(name, shape) })
    };
    assert_eq!(of("model.layers.0.mlp.down_proj.weight", &[128, 128]), REQUESTED);
    assert_eq!(of("model.layers.0.self_attn.q_a_proj.weight", &[128, 128]), REQUESTED);
    assert_eq!(of("conv.weight", &[64, 4, 4, 64]), REQUESTED);
    assert_eq!(of("norm1.linear.weight", &[128, 128]), KEPT);
    assert_eq!(of("proj.weight", &[8, 64]), KEPT);
}

/// B12: stacks of experts, the table of promotions, and alignment.
#[test]
fn b12_the_default_policy_of_0_32() {
    let policy = named("v0.32");
    let rows: &[(&str, &[u64], &str)] = &[
        ("model.layers.0.mlp.experts.gate_up_proj.weight", &[8, 256, 128], REQUESTED),
        ("model.layers.0.mlp.experts.down_proj.weight", &[8, 128, 128], "int8 int8 nvfp4 mxfp4 mxfp8"),
        ("model.layers.0.mlp.experts.gate_up_proj", &[8, 256, 128], REQUESTED),
        ("model.layers.0.mlp.experts.down_proj", &[8, 128, 128], "int8 int8 nvfp4 mxfp4 mxfp8"),
        ("model.layers.0.mlp.switch_mlp.down_proj.weight", &[8, 128, 128], "int8 int8 nvfp4 mxfp4 mxfp8"),
        ("lm_head.weight", &[1024, 1024], EIGHT_BIT),
        ("model.layers.0.self_attn.v_proj.weight", &[1024, 1024], EIGHT_BIT),
        ("model.layers.0.self_attn.k_proj.weight", &[1024, 1024], EIGHT_BIT),
        ("model.layers.0.mlp.down_proj.weight", &[1024, 1024], EIGHT_BIT),
        ("model.layers.0.self_attn.q_proj.weight", &[1024, 1024], REQUESTED),
        ("model.layers.0.self_attn.o_proj.weight", &[1024, 1024], REQUESTED),
        // "v_proj [1024,48] int4 → none". mxfp8 does not fit either; nvfp4 as requested does.
        ("model.layers.0.self_attn.v_proj.weight", &[1024, 48], "- - nvfp4 - -"),
        // Trap 24: the head gets no type where its 8-bit type does not fit, though nvfp4 itself would.
        ("lm_head.weight", &[1024, 48], KEPT),
        // Alignment: 16 for nvfp4, 64 for the integers, 32 for the others. The specification says "1-D allowed"; this
        // project never quantizes rank below 2.
        ("proj.weight", &[64, 64], REQUESTED),
        ("proj.weight", &[64, 32], "- - nvfp4 mxfp4 mxfp8"),
        ("proj.weight", &[64, 16], "- - nvfp4 - -"),
        ("proj.weight", &[64, 24], KEPT),
        ("proj.weight", &[4096], KEPT),
        ("proj.weight", &[], KEPT),
        // Names that ollama's rules do not have: Mixtral's router and w2, and Granite's stacks.
        ("model.layers.0.block_sparse_moe.gate.weight", &[8, 4096], REQUESTED),
        ("model.layers.0.block_sparse_moe.experts.w2.weight", &[8, 128, 128], REQUESTED),
    ];
    for (name, shape, expected) in rows {
        assert_eq!(decisions(&policy, &query(name, shape)), *expected, "{name} {shape:?}");
    }
    let granite =
        Query { stacked: true, ..Query::new("model.layers.0.block_sparse_moe.output_linear.weight", &[8, 128, 128]) };
    assert_eq!(decisions(&policy, &granite), KEPT);
}

/// B13, first half: audio.
#[test]
fn b13_audio_is_never_quantized() {
    for name in [
        "model.audio_tower.layers.0.self_attn.q_proj.weight",
        "audio_tower.layers.0.feed_forward1.ffw_layer_1.weight",
        "model.embed_audio.embedding_projection.weight",
    ] {
        for policy in ["default", "v0.32"] {
            assert_eq!(decisions(&named(policy), &Query::new(name, &[1024, 1024])), KEPT, "{policy} {name}");
        }
        // 0.16 has rules for neither name. The part `embed` matches one of its tests.
        let expected = if name.contains("embed") { KEPT } else { REQUESTED };
        assert_eq!(decisions(&named("v0.16"), &Query::new(name, &[1024, 1024])), expected, "{name}");
    }
}

/// B16, the decisions: the embedding and the head of a draft get the requested type. The policy is asked for names
/// without a prefix; with a prefix the answer is the same.
#[test]
fn b16_drafts() {
    for policy in ["default", "v0.32"] {
        let policy = named(policy);
        for prefix in ["", "draft."] {
            for name in ["model.embed_tokens.weight", "lm_head.weight"] {
                let name = format!("{prefix}{name}");
                let of = |shape, draft| decisions(&policy, &Query { draft, ..Query::new(&name, shape) });
                assert_eq!(of(&[1024, 1024], true), REQUESTED, "{name}");
                assert_eq!(of(&[1024, 24], true), KEPT, "{name}");
                assert_ne!(of(&[1024, 1024], false), REQUESTED, "{name}");
            }
            // "Otherwise the architecture policy."
            let name = format!("{prefix}model.layers.4.mlp.down_proj.weight");
            let query = Query { draft: true, ..Query::new(&name, &[1024, 1024]) };
            let gemma = Query { architecture: Some("Gemma4AssistantForCausalLM"), layers: Some(30), ..query };
            assert_eq!(decision(&policy, &query, "int4"), "int8");
            assert_eq!(decision(&policy, &gemma, "int4"), "int4");
        }
    }
}

/// An embedding that is the output head too gets 8 bits from `default` alone, whatever is requested.
#[test]
fn tied_embeddings() {
    let embedding = |shape, tied| Query { tied, ..Query::new("model.embed_tokens.weight", shape) };
    for request in ["int2", "int4", "int6", "int8", "nvfp4", "mxfp4", "mxfp8"] {
        assert_eq!(decision(&named("default"), &embedding(&[1024, 1024], true), request), "int8", "{request}");
        assert_eq!(decision(&named("default"), &embedding(&[1024, 1024], false), request), "-", "{request}");
        assert_eq!(decision(&named("v0.32"), &embedding(&[1024, 1024], true), request), "-", "{request}");
    }
    assert_eq!(decision(&named("default"), &embedding(&[1024, 1024], true), "int4-g32"), "int8-g32");
    // A group does not fit.
    assert_eq!(decision(&named("default"), &embedding(&[1024, 96], true), "int4"), "-");
    // An embedding of other things than tokens is no head.
    let per_layer = Query { tied: true, ..Query::new("model.embed_tokens_per_layer.weight", &[1024, 1024]) };
    assert_eq!(decision(&named("default"), &per_layer, "int4"), "-");
}

/// Widths other than 4 and 8 bits, which ollama does not have. Up to 4 bits they are promoted as int4 is.
#[test]
fn other_integers_in_ollamas_policies() {
    let down = Query::new("model.layers.0.mlp.down_proj.weight", &[1024, 1024]);
    let up = Query::new("model.layers.0.mlp.up_proj.weight", &[1024, 1024]);
    for (request, expected) in [("int2", "int8"), ("int3", "int8"), ("int5", "int5"), ("int6", "int6")] {
        assert_eq!(decision(&named("v0.32"), &down, request), expected);
        assert_eq!(decision(&named("v0.16"), &down, request), "int8");
        for policy in ["default", "uniform", "v0.16", "v0.32"] {
            assert_eq!(decision(&named(policy), &up, request), request, "{policy}");
        }
    }
    // The group is that of the request.
    assert_eq!(decision(&named("v0.16"), &down, "int4-g32"), "int8-g32");
    assert_eq!(decision(&named("v0.32"), &down, "int4-g128"), "int8-g128");
}
