//! Decisions of the policies `default` and `uniform`, one row per tensor.

use longshore_quant::{
    Scheme,
    policy::{Policy, Query, UnknownPolicy},
};

use super::{REQUESTS, decisions, named};

fn default() -> Policy {
    named("default")
}

/// Decisions of ollama 0.32, from an independent statement of its rules. Where the default policy departs, the row
/// holds its own decisions, and a comment gives ollama's and the reason.
#[test]
fn ollamas_golden_decisions() {
    const KEPT: &str = "- - - - -";
    const REQUESTED: &str = "int4 int8 nvfp4 mxfp4 mxfp8";
    // ollama: int8 int8 mxfp8 mxfp8 mxfp8. int8 has a quarter of the loss of mxfp8, at the same size.
    const PROMOTED: &str = "int8 int8 int8 int8 mxfp8";
    let table: &[(&str, &[u64], &str)] = &[
        ("model.embed_tokens.weight", &[151_936, 4096], KEPT),
        ("lm_head.weight", &[151_936, 4096], PROMOTED),
        // ollama first tests whether the promoted type fits, whatever was requested, and keeps the tensor if not.
        // `default` does the same for the types that it promotes; mxfp8 itself does not fit.
        ("lm_head.weight", &[151_936, 4080], KEPT),
        ("model.layers.4.self_attn.q_proj.weight", &[4096, 4096], REQUESTED),
        ("model.layers.4.self_attn.k_proj.weight", &[1024, 4096], PROMOTED),
        ("model.layers.4.self_attn.v_proj.weight", &[1024, 4096], PROMOTED),
        ("model.layers.4.self_attn.o_proj.weight", &[4096, 4096], REQUESTED),
        // ollama: as requested. Its version 0.16 kept these two tensors for int4 and int8.
        ("model.layers.4.self_attn.kv_a_proj_with_mqa.weight", &[576, 2048], KEPT),
        ("model.layers.4.self_attn.kv_b_proj.weight", &[8192, 512], KEPT),
        ("model.layers.4.self_attn.q_proj.bias", &[4096], KEPT),
        ("model.layers.4.self_attn.q_norm.weight", &[128], KEPT),
        ("model.layers.4.mlp.gate_proj.weight", &[12_288, 4096], REQUESTED),
        ("model.layers.4.mlp.down_proj.weight", &[4096, 12_288], PROMOTED),
        // The decision of ollama too: the group of int8 does not divide 1,440, and the group of mxfp8 does.
        ("model.layers.4.mlp.down_proj.weight", &[2048, 1440], "- - mxfp8 mxfp8 mxfp8"),
        ("model.layers.4.mlp.gate.weight", &[64, 2048], KEPT),
        ("model.layers.4.mlp.shared_expert_gate.weight", &[1, 2048], KEPT),
        // ollama: int8 int8 nvfp4 mxfp4 mxfp8, as for routed experts. In `default` shared experts are ordinary layers.
        ("model.layers.4.mlp.shared_experts.down_proj.weight", &[2048, 1536], PROMOTED),
        ("model.layers.4.mlp.experts.7.down_proj.weight", &[2048, 1536], "int8 int8 nvfp4 mxfp4 mxfp8"),
        ("model.layers.4.mlp.experts.down_proj.weight", &[64, 2048, 1536], "int8 int8 nvfp4 mxfp4 mxfp8"),
        ("model.layers.4.mlp.experts.gate_up_proj", &[64, 3072, 2048], REQUESTED),
        ("model.layers.4.linear_attn.conv1d.weight", &[8192, 1, 4], KEPT),
        ("model.visual.blocks.0.attn.qkv.weight", &[3456, 1152], KEPT),
        // ollama: as requested. Its reasons to keep vision towers hold for projectors too.
        ("multi_modal_projector.linear_1.weight", &[4096, 1152], KEPT),
        ("model.audio_tower.layers.0.fc1.weight", &[1024, 1024], KEPT),
        ("tiny.weight", &[31, 32], KEPT),
        ("proj.weight", &[64, 48], "- - nvfp4 - -"),
    ];
    for (name, shape, expected) in table {
        let stacked = name.contains(".experts.") && shape.len() == 3;
        assert_eq!(decisions(&default(), &Query { stacked, ..Query::new(name, shape) }), *expected, "{name} {shape:?}");
    }
}

#[test]
fn roles_have_many_names() {
    let kept = [
        // Routers.
        "model.layers.0.block_sparse_moe.gate.weight",
        "model.layers.0.mlp.router.weight",
        "model.layers.0.feed_forward.router.weight",
        "model.layers.0.feed_forward.gate.weight",
        "model.layers.0.block_sparse_moe.router.layer.weight",
        "model.language_model.layers.5.router.proj.weight",
        "backbone.layers.1.mixer.gate.weight",
        // The gates of linear attention.
        "model.layers.0.linear_attn.in_proj_a.weight",
        "model.layers.0.linear_attn.in_proj_b.weight",
        "model.layers.0.linear_attn.in_proj_ba.weight",
        // Latent attention.
        "model.layers.0.self_attn.q_a_proj.weight",
        "model.layers.0.self_attn.q_b_proj.weight",
        // Vision and audio.
        "vision_tower.encoder.layers.0.mlp.fc1.weight",
        "model.vision_adapter.fc1.weight",
        "model.mm_projector.0.weight",
        "mlp1.1.weight",
        "model.mlp1.1.weight",
        "model.connector.modality_projection.proj.weight",
        "aligner.layers.0.weight",
        "sound_encoder.layers.0.fc1.weight",
        "sound_projection.linear.weight",
        // Norms and embeddings with unusual names.
        "transformer.h.0.ln_1.weight",
        "shared_embedder.weight",
        "shared.weight",
        "transformer.wte.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        // Parameters other than weights.
        "model.layers.0.self_attn.sinks",
        "model.layers.0.mlp.experts.down_proj_bias",
        "model.layers.0.mlp.experts.down_proj_scales",
    ];
    for name in kept {
        assert_eq!(decisions(&default(), &Query::new(name, &[256, 2048])), "- - - - -", "{name}");
    }
    let requested = [
        "model.layers.0.mlp.mlp10.weight",
        "model.layers.0.linear_attn.in_proj_qkvz.weight",
        "model.layers.0.self_attn.gate_proj.weight",
        "model.layers.0.block_sparse_moe.experts.0.w1.weight",
        "backbone.layers.10.mixer.in_proj.weight",
        "transformer_blocks.0.attn.to_q.weight",
    ];
    for name in requested {
        assert_eq!(decisions(&default(), &Query::new(name, &[256, 2048])), REQUESTS.join(" "), "{name}");
    }
    let down = [
        "model.layers.0.block_sparse_moe.experts.w2.weight",
        "model.layers.0.block_sparse_moe.output_linear.weight",
        "backbone.layers.1.mixer.experts.down_proj.weight",
        "model.layers.0.mlp.switch_mlp.down_proj.weight",
    ];
    for name in down {
        let query = Query { stacked: true, ..Query::new(name, &[8, 256, 2048]) };
        assert_eq!(decisions(&default(), &query), "int8 int8 nvfp4 mxfp4 mxfp8", "{name}");
    }
    let query = Query::new("model.layers.0.feed_forward.w2.weight", &[256, 2048]);
    assert_eq!(decisions(&default(), &query), "int8 int8 int8 int8 mxfp8");
}

#[test]
fn only_requests_below_six_bits_are_promoted() {
    let promoted = |request: &str, name: &str| {
        let requested: Scheme = request.parse().expect("the request is valid");
        let decision = default().decide(&Query::new(name, &[256, 2048]), Some(requested));
        decision.scheme.map(|scheme| scheme.to_string()).unwrap_or_default()
    };
    let down = "model.layers.0.mlp.down_proj.weight";
    for (request, expected) in
        [("int2", "int8"), ("int3", "int8"), ("int4", "int8"), ("int5", "int8"), ("int6", "int6"), ("int8", "int8")]
    {
        assert_eq!(promoted(request, down), expected);
    }
    // The head gets 8 bits, whatever the other tensors get.
    assert_eq!(promoted("int6", "lm_head.weight"), "int8");
    // The group is that of the request.
    assert_eq!(promoted("int4-g32", down), "int8-g32");
    assert_eq!(promoted("int3-g128", down), "int8-g128");
}

#[test]
fn decisions_do_not_depend_on_prefixes() {
    let names = [
        "layers.0.mlp.down_proj.weight",
        "layers.0.self_attn.kv_b_proj.weight",
        "layers.0.mlp.gate.weight",
        "layers.0.input_layernorm.weight",
        "layers.0.mlp.up_proj.weight",
        "embed_tokens.weight",
        "lm_head.weight",
    ];
    for name in names {
        let bare = decisions(&default(), &Query::new(name, &[256, 2048]));
        for prefix in ["model.", "model.language_model.", "language_model.model.", "backbone.", "mtp."] {
            let name = format!("{prefix}{name}");
            assert_eq!(decisions(&default(), &Query::new(&name, &[256, 2048])), bare, "{name}");
        }
    }
}

/// Cases that ollama's own tests of names and shapes assert, under `nvfp4`, whose group of 16 divides the most shapes.
#[test]
fn what_ollama_asserts() {
    let quantized = |query: Query<'_>| default().decide(&query, Some(Scheme::NVFP4)).scheme.is_some();
    let square: &[u64] = &[128, 128];
    for name in ["q_proj.weight", "self_attn.weight", "mlp.gate_proj.weight", "encoder.weight", "layers.0.weight"] {
        assert!(quantized(Query { component: Some("text_encoder"), ..Query::new(name, square) }), "{name}");
        assert!(!quantized(Query { component: Some("vae"), ..Query::new(name, square) }), "{name}");
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
        assert!(!quantized(Query::new(name, square)), "{name}");
    }
    assert!(quantized(Query::new("proj.weight", &[128, 48])));
    for shape in [&[16, 16][..], &[31, 31], &[4096], &[64, 64, 64], &[64, 3, 3, 64], &[128, 24]] {
        assert!(!quantized(Query::new("proj.weight", shape)), "{shape:?}");
    }
}

#[test]
fn a_decision_says_why() {
    let decide = |name: &str, shape: &[u64], request: &str| {
        let requested = request.parse().expect("the request is valid");
        default().decide(&Query::new(name, shape), Some(requested)).rule.into_owned()
    };
    assert_eq!(decide("model.norm.weight", &[2048], "int4"), "rank below 2: kept");
    assert_eq!(decide("model.embed_tokens.weight", &[512, 128], "int4"), "norm or embedding: kept");
    assert_eq!(decide("a.weight", &[64, 48], "int4"), "last dimension 48 is not a multiple of 64: kept");
    assert_eq!(decide("model.layers.0.mlp.down_proj.weight", &[512, 128], "nvfp4"), "down projection: 8-bit");
    assert_eq!(decide("a.weight", &[64, 64], "mxfp4"), "as requested");
}

#[test]
fn a_vae_and_small_and_odd_tensors_are_kept() {
    let all = |query: Query<'_>| decisions(&default(), &query);
    assert_eq!(all(Query { component: Some("vae"), ..Query::new("decoder.conv.weight", &[64, 64]) }), "- - - - -");
    assert_eq!(
        all(Query { component: Some("transformer"), ..Query::new("decoder.conv.weight", &[64, 64]) }),
        REQUESTS.join(" ")
    );
    assert_eq!(all(Query::new("a.weight", &[])), "- - - - -");
    assert_eq!(all(Query::new("a.weight", &[1 << 20])), "- - - - -");
    assert_eq!(all(Query::new("a.weight", &[15, 64])), "- - - - -");
    assert_eq!(all(Query::new("a.weight", &[16, 64])), REQUESTS.join(" "));
    assert_eq!(all(Query::new("a.weight", &[0, 64])), "- - - - -");
    // Shapes whose product does not fit in 64 bits are decided like any other.
    assert_eq!(all(Query::new("a.weight", &[u64::MAX, 64])), REQUESTS.join(" "));
    assert_eq!(all(Query::new("a.weight", &[4, 64, 64])), "- - - - -");
    assert_eq!(all(Query { stacked: true, ..Query::new("a.experts.b.weight", &[2, 4, 64, 64]) }), "- - - - -");
}

#[test]
fn uniform_gives_the_request_wherever_it_fits() {
    let uniform = named("uniform");
    let all = |query: Query<'_>| decisions(&uniform, &query);
    let requested = REQUESTS.join(" ");
    assert_eq!(all(Query::new("model.embed_tokens.weight", &[512, 128])), requested);
    assert_eq!(all(Query::new("model.layers.0.mlp.gate.weight", &[1, 64])), requested);
    assert_eq!(all(Query::new("conv.weight", &[64, 3, 3, 64])), requested);
    assert_eq!(
        all(Query { stacked: true, ..Query::new("model.layers.0.mlp.experts.down_proj", &[4, 64, 64]) }),
        requested
    );
    assert_eq!(
        all(Query { stacked: true, ..Query::new("model.layers.0.mlp.experts.down_proj_bias", &[4, 64]) }),
        "- - - - -"
    );
    assert_eq!(all(Query::new("model.layers.0.self_attn.sinks", &[64, 64])), "- - - - -");
    assert_eq!(all(Query::new("model.norm.weight", &[64])), "- - - - -");
    assert_eq!(all(Query::new("conv.weight", &[64, 16, 3, 3])), "- - - - -");
    assert_eq!(all(Query::new("a.weight", &[4, 48])), "- - nvfp4 - -");
}

#[test]
fn no_request_keeps_everything() {
    for name in Policy::names() {
        let policy = named(name);
        assert_eq!(policy.name(), *name);
        let decision = policy.decide(&Query::new("a.weight", &[64, 64]), None);
        assert_eq!((decision.scheme, decision.rule.as_ref()), (None, "no quantization requested: kept"));
    }
    let error: UnknownPolicy = Policy::named("unifrom").expect_err("it is misspelt");
    assert_eq!(error.to_string(), "expected a policy (default, uniform, v0.16, v0.32), found \"unifrom\"");
}
