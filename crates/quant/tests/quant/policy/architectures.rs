//! Rows B14 and B15 of the acceptance list: ollama's rules for single architectures (§3.5), and the decisions of
//! `default`.

use longshore_quant::policy::{Policy, Query};

use super::{decision, decisions, named};

const KEPT: &str = "- - - - -";
const REQUESTED: &str = "int4 int8 nvfp4 mxfp4 mxfp8";
const EIGHT_BIT: &str = "int8 int8 mxfp8 mxfp8 mxfp8";
/// [`EIGHT_BIT`] in `default`, where 4-bit float types get int8.
const INT8: &str = "int8 int8 int8 int8 mxfp8";

const GEMMA4: [&str; 7] = [
    "Gemma4ForConditionalGeneration",
    "Gemma4UnifiedForConditionalGeneration",
    "gemma4_unified",
    "gemma4_unified_text",
    "Gemma4AssistantForCausalLM",
    "Gemma4UnifiedAssistantForCausalLM",
    "gemma4_unified_assistant",
];

fn in_layer(layer: u64, rest: &str) -> String {
    format!("model.language_model.layers.{layer}.{rest}")
}

/// §3.4: the layers of `down_proj` that Gemma 4's rules promote.
fn promoted(policy: &Policy, architecture: &str, layers: u64, rest: &str, request: &str) -> Vec<u64> {
    let eight_bit = |layer: &u64| {
        let name = in_layer(*layer, rest);
        let query =
            Query { architecture: Some(architecture), layers: Some(layers), ..Query::new(&name, &[1024, 1024]) };
        decision(policy, &query, request).contains('8')
    };
    (0..layers).filter(eight_bit).collect()
}

const OF_30: [u64; 14] = [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29];

/// B14: with useMoreBits(30), the layers 0 and 29 are promoted, and layer 4 is not.
#[test]
fn b14_layers_of_gemma_4() {
    for policy in ["v0.32", "default"] {
        let policy = named(policy);
        for architecture in GEMMA4 {
            for rest in ["mlp.down_proj.weight", "self_attn.v_proj.weight"] {
                for request in ["int4", "nvfp4", "mxfp4"] {
                    assert_eq!(promoted(&policy, architecture, 30, rest, request), OF_30, "{architecture} {rest}");
                }
            }
            assert_eq!(promoted(&policy, architecture, 30, "self_attn.k_proj.weight", "int4"), Vec::<u64>::new());
        }
        // A model of 48 layers.
        let of_48 = promoted(&policy, GEMMA4[0], 48, "mlp.down_proj.weight", "int4");
        assert_eq!((of_48[5], of_48[6], of_48[7], of_48.len()), (5, 8, 11, 6 + 12 + 6));
    }
}

/// B14: embeddings, key projections with 8 experts, routers, vision and audio.
#[test]
fn b14_roles_of_gemma_4() {
    // Name, experts, decisions of v0.32, decisions of `default` where they differ.
    let rows: &[(&str, u64, &str, Option<&str>)] = &[
        ("model.language_model.embed_tokens.weight", 128, EIGHT_BIT, Some(INT8)),
        ("model.language_model.embed_tokens_per_layer.weight", 128, KEPT, None),
        ("model.language_model.per_layer_model_projection.weight", 128, REQUESTED, None),
        ("model.language_model.layers.4.self_attn.k_proj.weight", 128, REQUESTED, None),
        ("model.language_model.layers.4.self_attn.k_proj.weight", 8, EIGHT_BIT, Some(INT8)),
        ("model.language_model.layers.4.self_attn.v_proj.weight", 8, EIGHT_BIT, Some(INT8)),
        ("model.language_model.layers.4.mlp.down_proj.weight", 8, REQUESTED, None),
        ("model.language_model.layers.5.mlp.down_proj.weight", 8, EIGHT_BIT, Some(INT8)),
        ("model.language_model.layers.5.self_attn.q_proj.weight", 8, REQUESTED, None),
        ("model.language_model.layers.5.router.proj.weight", 8, KEPT, None),
        ("model.vision_tower.encoder.layers.0.self_attn.v_proj.weight", 8, KEPT, None),
        ("model.vision_tower.encoder.layers.0.mlp.down_proj.weight", 128, KEPT, None),
        ("model.embed_vision.embedding_projection.weight", 128, KEPT, None),
        ("model.audio_tower.layers.0.self_attn.v_proj.weight", 8, KEPT, None),
        ("model.embed_audio.embedding_projection.weight", 128, KEPT, None),
        ("model.language_model.norm.weight", 128, KEPT, None),
    ];
    for (name, experts, expected, ours) in rows {
        let query = Query {
            architecture: Some(GEMMA4[0]),
            layers: Some(30),
            experts: Some(*experts),
            ..Query::new(name, &[1024, 1024])
        };
        assert_eq!(decisions(&named("v0.32"), &query), *expected, "{name}");
        assert_eq!(decisions(&named("default"), &query), ours.unwrap_or(expected), "{name}");
    }
    // Experts are promoted in the same layers, within their own family.
    for policy in ["v0.32", "default"] {
        for (layer, expected) in [(5, EIGHT_BIT), (4, REQUESTED)] {
            let name = in_layer(layer, "experts.down_proj");
            let query = Query { stacked: true, architecture: Some(GEMMA4[0]), ..Query::new(&name, &[128, 1024, 704]) };
            assert_eq!(decisions(&named(policy), &Query { layers: Some(30), experts: Some(128), ..query }), expected);
        }
    }
}

/// B14: without a number of layers, ollama does not promote; `default` promotes as in other models.
#[test]
fn gemma_4_without_a_number_of_layers() {
    let name = in_layer(0, "mlp.down_proj.weight");
    let query = Query { architecture: Some(GEMMA4[0]), ..Query::new(&name, &[1024, 1024]) };
    assert_eq!(decisions(&named("v0.32"), &query), REQUESTED);
    assert_eq!(decisions(&named("default"), &query), INT8);
}

/// ollama reads the number of layers under one name. Another way to tell it gives no layer a position there.
#[test]
fn numbers_of_layers_that_are_not_stated() {
    let query = |name, architecture| Query {
        architecture: Some(architecture),
        counted_layers: Some(4),
        ..Query::new(name, &[1024, 1024])
    };
    let nemotron = "NemotronHForCausalLM";
    for (name, architecture, expected) in [
        ("backbone.layers.2.mixer.down_proj.weight", nemotron, "int8 int8 nvfp4 mxfp4 mxfp8"),
        ("backbone.layers.3.mixer.out_proj.weight", nemotron, REQUESTED),
        ("model.layers.3.mlp.down_proj.weight", GEMMA4[0], REQUESTED),
        ("model.layers.3.mlp.down_proj.weight", "Cohere2MoeForCausalLM", EIGHT_BIT),
    ] {
        assert_eq!(decisions(&named("v0.32"), &query(name, architecture)), expected, "{name}");
        let stated = Query { layers: Some(4), ..query(name, architecture) };
        let promoted = decisions(&named("v0.32"), &stated);
        assert!(promoted.contains("mxfp8 mxfp8 mxfp8"), "{name}: {promoted}");
    }
}

/// §3.5: Cohere2.
#[test]
fn cohere2_moe() {
    let architecture = "Cohere2MoeForCausalLM";
    for policy in ["v0.32", "default"] {
        for rest in ["self_attn.k_proj.weight", "self_attn.v_proj.weight", "mlp.down_proj.weight"] {
            assert_eq!(promoted(&named(policy), architecture, 30, rest, "int4"), OF_30, "{rest}");
        }
    }
    let of = |name, shape| Query { architecture: Some(architecture), layers: Some(30), ..Query::new(name, shape) };
    let v0_32 = named("v0.32");
    assert_eq!(decisions(&v0_32, &of("model.embed_tokens.weight", &[1024, 1024])), EIGHT_BIT);
    assert_eq!(decisions(&v0_32, &of("model.embed_tokens.weight", &[1024, 48])), KEPT);
    assert_eq!(decisions(&v0_32, &of("model.layers.0.mlp.gate.weight", &[1024, 1024])), KEPT);
    // Outside of the layers, the rules of every model apply.
    assert_eq!(decisions(&v0_32, &of("mtp.down_proj.weight", &[1024, 1024])), EIGHT_BIT);
}

/// B15: Glimmer.
#[test]
fn b15_glimmer() {
    let architecture = "MuseGlimmerForConditionalGeneration";
    for policy in ["v0.32", "default"] {
        for rest in ["self_attn.gate_proj.weight", "self_attn.output_gate_proj.weight", "mlp.down_proj.weight"] {
            let layers = promoted(&named(policy), architecture, 52, rest, "nvfp4");
            assert_eq!((layers[5], layers[6], layers.len()), (5, 8, 6 + 13 + 7), "{rest}");
        }
        for rest in ["q_proj", "o_proj", "k_proj", "v_proj"] {
            let rest = format!("self_attn.{rest}.weight");
            assert_eq!(promoted(&named(policy), architecture, 52, &rest, "mxfp4").len(), 52, "{rest}");
        }
        for name in ["model.vision_adapter.fc1.weight", "model.visual.blocks.0.attn.qkv.weight"] {
            let query = Query { architecture: Some(architecture), layers: Some(52), ..Query::new(name, &[1024, 1024]) };
            assert_eq!(decisions(&named(policy), &query), KEPT, "{name}");
        }
    }
}

/// B15: Nemotron-H.
#[test]
fn b15_nemotron() {
    for architecture in ["NemotronH_Nano_VL_V2", "NemotronH_Nano_Omni_Reasoning_V3", "NemotronHForCausalLM"] {
        let of = |policy: &str, name, shape| {
            decisions(
                &named(policy),
                &Query { architecture: Some(architecture), layers: Some(52), ..Query::new(name, shape) },
            )
        };
        let rows: &[(&str, &[u64], &str, &str)] = &[
            ("backbone.embeddings.weight", &[4096, 4096], EIGHT_BIT, INT8),
            ("lm_head.weight", &[4096, 4096], EIGHT_BIT, INT8),
            ("backbone.embeddings.weight", &[4096, 31], KEPT, KEPT),
            ("backbone.layers.10.mixer.q_proj.weight", &[4096, 31], KEPT, KEPT),
            (
                "backbone.layers.10.mixer.o_proj.weight",
                &[4096, 4096],
                "int4 int8 mxfp8 mxfp8 mxfp8",
                "int4 int8 int8 int8 mxfp8",
            ),
            ("backbone.layers.10.mixer.out_proj.weight", &[4096, 4096], REQUESTED, REQUESTED),
            (
                "backbone.layers.11.mixer.out_proj.weight",
                &[4096, 4096],
                "int4 int8 mxfp8 mxfp8 mxfp8",
                "int4 int8 int8 int8 mxfp8",
            ),
            (
                "backbone.layers.10.mixer.shared_experts.down_proj.weight",
                &[4096, 4096],
                "int8 int8 nvfp4 mxfp4 mxfp8",
                "int8 int8 nvfp4 mxfp4 mxfp8",
            ),
            ("backbone.layers.11.mixer.shared_experts.down_proj.weight", &[4096, 4096], EIGHT_BIT, INT8),
            // nvfp4 fits where mxfp8 does not.
            ("backbone.layers.10.mixer.q_proj.weight", &[4096, 48], "- - nvfp4 - -", "- - nvfp4 - -"),
            ("vision_model.blocks.0.attn.qkv.weight", &[4096, 4096], KEPT, KEPT),
            ("mlp1.1.weight", &[4096, 4096], KEPT, KEPT),
            ("sound_encoder.encoder.layers.0.fc1.weight", &[4096, 4096], KEPT, KEPT),
            ("sound_projection.linear1.weight", &[4096, 4096], KEPT, KEPT),
            ("backbone.layers.10.mixer.in_proj.weight", &[4096, 4096], REQUESTED, REQUESTED),
            ("backbone.layers.10.mixer.gate.weight", &[128, 4096], KEPT, KEPT),
        ];
        for (name, shape, expected, ours) in rows {
            assert_eq!(of("v0.32", name, shape), *expected, "{name} {shape:?}");
            assert_eq!(of("default", name, shape), *ours, "{name} {shape:?}");
        }
    }
}

/// B15: Laguna, rule by rule of §3.5.
#[test]
fn b15_laguna() {
    let of = |policy: &str, name: &str, dense: Option<&[u64]>| {
        let shape: &[u64] = if name.contains(".experts.") { &[64, 1024, 1024] } else { &[1024, 1024] };
        let query = Query { stacked: shape.len() == 3, ..Query::new(name, shape) };
        decisions(
            &named(policy),
            &Query { architecture: Some("LagunaForCausalLM"), layers: Some(40), dense_layers: dense, ..query },
        )
    };
    // Name, decisions of v0.32, decisions of `default` where they differ.
    let rows: &[(&str, &str, Option<&str>)] = &[
        ("model.embed_tokens.weight", "- - mxfp8 mxfp8 mxfp8", Some("- - int8 int8 mxfp8")),
        ("lm_head.weight", EIGHT_BIT, Some(INT8)),
        ("model.layers.7.mlp.gate.weight", KEPT, None),
        ("model.layers.7.self_attn.q_proj.weight", "int4 int8 nvfp4 mxfp4 -", None),
        ("model.layers.7.self_attn.k_proj.weight", "int8 int8 nvfp4 mxfp4 -", None),
        ("model.layers.7.self_attn.o_proj.weight", "int4 int8 nvfp4 mxfp4 -", None),
        ("model.layers.7.self_attn.g_proj.weight", "int4 int8 nvfp4 mxfp4 -", None),
        ("model.layers.0.mlp.down_proj.weight", "int8 int8 nvfp4 mxfp4 mxfp8", None),
        ("model.layers.0.mlp.up_proj.weight", REQUESTED, None),
        // "mxfp8 layer 1 split blobs, layer 5 shared blob".
        ("model.layers.1.mlp.experts.gate_proj.weight", REQUESTED, None),
        ("model.layers.1.mlp.experts.down_proj.weight", "int8 int8 nvfp4 mxfp4 -", None),
        ("model.layers.5.mlp.experts.down_proj.weight", "int8 int8 nvfp4 mxfp4 mxfp8", None),
        ("model.layers.1.mlp.shared_expert.down_proj.weight", "int8 int8 mxfp8 mxfp8 -", Some("int8 int8 int8 int8 -")),
        ("model.layers.5.mlp.shared_expert.down_proj.weight", "int8 int8 nvfp4 mxfp4 -", None),
        ("model.layers.5.mlp.shared_expert.up_proj.weight", REQUESTED, None),
        // Rule 8: ollama keeps everything else; `default` decides as in every model.
        ("model.layers.5.mlp.down_proj.weight", "int8 int8 - - -", Some(INT8)),
        ("model.layers.5.mlp.up_proj.weight", "int4 int8 - - -", Some(REQUESTED)),
        ("model.norm.weight", KEPT, None),
    ];
    for (name, expected, ours) in rows {
        // Where the configuration does not list dense layers, layer 0 is the dense one.
        for dense in [Some(&[0][..]), None] {
            assert_eq!(of("v0.32", name, dense), *expected, "{name}");
            assert_eq!(of("default", name, dense), ours.unwrap_or(expected), "{name}");
        }
    }
    // A configuration may list other dense layers.
    let down = "model.layers.5.mlp.down_proj.weight";
    assert_eq!(of("v0.32", down, Some(&[0, 5])), "int8 int8 nvfp4 mxfp4 mxfp8");
    assert_eq!(of("v0.32", "model.layers.0.mlp.down_proj.weight", Some(&[])), "int8 int8 - - -");
    // Without a number of layers, 40 are assumed.
    let query = Query::new("model.layers.35.mlp.shared_expert.down_proj.weight", &[1024, 1024]);
    assert_eq!(
        decision(&named("v0.32"), &Query { architecture: Some("LagunaForCausalLM"), ..query }, "nvfp4"),
        "mxfp8"
    );
}

/// §3.5: Qwen3-Next and Qwen3.5.
#[test]
fn qwen3_next() {
    for model in ["Qwen3_5", "Qwen3_5Moe", "Qwen3Next", "Qwen3NextMoe"] {
        for head in ["CausalLM", "ConditionalGeneration"] {
            let architecture = format!("{model}For{head}");
            for gate in ["in_proj_a", "in_proj_b", "in_proj_ba"] {
                let name = format!("model.layers.0.linear_attn.{gate}.weight");
                let query = Query::new(&name, &[64, 1024]);
                assert_eq!(
                    decisions(&named("v0.32"), &Query { architecture: Some(&architecture), ..query }),
                    KEPT,
                    "{name}"
                );
                assert_eq!(decisions(&named("v0.32"), &query), REQUESTED, "{name}");
                assert_eq!(decisions(&named("default"), &query), KEPT, "{name}");
            }
        }
    }
}
