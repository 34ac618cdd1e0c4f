use longshore_model::{
    Facts, ModelConfig, PipelineIndex,
    architecture::{Architecture, Architectures},
    experts::{self, ExpertName},
    st_format::{Dtype, Shape},
};
use longshore_st_format::fixtures;
use proptest::prelude::*;
use serde_json::{Value, json};

fn parse(text: &str) -> ModelConfig {
    ModelConfig::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn model(name: &str) -> ModelConfig {
    parse(&fixtures::model(name).json["config.json"])
}

/// The facts, as a store keeps them.
fn stored(config: &ModelConfig) -> Value {
    let text = serde_json::to_string(&config.facts()).expect("it is plain data");
    let read: Facts = serde_json::from_str(&text).expect("it was just written");
    assert_eq!(read, config.facts(), "{text}");
    serde_json::from_str(&text).expect("it was just written")
}

#[test]
fn every_fixture_agrees_with_itself_and_with_its_tensors() {
    let mut checked = 0;
    for name in fixtures::models() {
        let checkpoint = fixtures::model(name);
        let Some(config) = checkpoint.json.get("config.json") else { continue };
        let config = parse(config);
        config.check().unwrap_or_else(|error| panic!("{name}: {error}"));
        stored(&config);
        let tensors = checkpoint.files.values().flat_map(|file| &file.tensors);
        let plain = tensors.filter(|(_, dtype, _)| !matches!(dtype, Dtype::U32 | Dtype::U8));
        let plain: Vec<_> = plain.map(|(name, _, shape)| (name.as_str(), shape)).collect();
        config.check_shapes(plain.iter().copied()).unwrap_or_else(|error| panic!("{name}: {error}"));

        // Every fact that is checked, stated one higher, is found to contradict a tensor.
        let mut wrong = config.facts();
        wrong.hidden_size = wrong.hidden_size.map(|size| size + 1);
        wrong.check_shapes(plain.iter().copied()).expect_err(name);
        checked += 1;
    }
    assert!(checked > 10);
}

/// Reads the published forms of the configurations where they lie beside the repository.
#[test]
fn configurations_beside_the_repository() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/models");
    let Ok(models) = std::fs::read_dir(models) else { return };
    for entry in models {
        let folder = entry.expect("the directory can be read").path();
        if let Ok(bytes) = std::fs::read(folder.join("config.json")) {
            let config = ModelConfig::parse(&bytes).expect("it is an object");
            config.check().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            assert!(config.heads.is_some() && config.norm.eps.is_some(), "{}", folder.display());
        } else if let Ok(bytes) = std::fs::read(folder.join("model_index.json")) {
            PipelineIndex::parse(&bytes).expect("it is an object").config.check().expect("a pipeline has no sizes");
        }
    }
}

#[test]
fn what_each_fixture_says() {
    let parts = |name: &str, keys: &[&str]| {
        let facts = stored(&model(name));
        keys.iter().map(|key| facts.pointer(key).cloned().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(
        parts("deepseek-v3", &["/attention/latent", "/router", "/draft_layers", "/dense_layers", "/rope/interleaved"]),
        [
            json!({"q_rank": 64, "kv_rank": 64, "nope_head_dim": 32, "rope_head_dim": 16, "value_head_dim": 32}),
            json!({"scoring": "sigmoid", "normalises": true, "groups": 1, "groups_per_token": 1, "scaling": 2.5}),
            json!(1),
            json!([0]),
            json!(true),
        ]
    );
    assert_eq!(
        parts("gemma3-text", &["/norm", "/attention", "/layer_types", "/scales_embeddings", "/tokens", "/activation"]),
        [
            json!({"kind": "rms", "eps": 1e-6, "adds_one": true}),
            json!({"bias": false, "qk_norm": true, "window": 4096, "query_scale": 256}),
            json!(["sliding_attention", "sliding_attention"]),
            json!(true),
            json!({"bos": 2, "eos": [1], "pad": 0}),
            json!("gelu_pytorch_tanh"),
        ]
    );
    assert_eq!(
        parts("gpt-oss", &["/attention", "/layer_types", "/rope", "/router", "/activation_limit"]),
        [
            json!({"bias": true, "sinks": true, "window": 128}),
            json!(["sliding_attention", "full_attention"]),
            json!({"theta": 150_000.0, "kind": "yarn", "factor": 32.0, "original_context": 4096, "beta_fast": 32.0,
                "beta_slow": 1.0, "truncate": false}),
            json!({"scoring": "softmax", "normalises": true}),
            json!(7.0),
        ]
    );
    assert_eq!(
        parts("nemotron-h", &["/state_space", "/norm/kind", "/layer_types", "/router/shared_intermediate_size"]),
        [
            json!({"state_size": 16, "heads": 8, "head_dim": 32, "groups": 1, "expand": 2, "conv_width": 4, "conv_bias": true,
                "projection_bias": false, "chunk": 128, "step_floor": 0.0001, "step_min": 0.001, "step_max": 0.1}),
            json!("rms"),
            json!(["linear_attention", "full_attention", "mlp", "moe"]),
            json!(64),
        ]
    );
    assert_eq!(
        parts("qwen3-next", &["/linear_attention", "/attention/output_gate", "/rope/partial", "/router"]),
        [
            json!({"key_heads": 2, "value_heads": 4, "key_head_dim": 32, "value_head_dim": 32, "conv_width": 4}),
            json!(true),
            json!(0.25),
            json!({"scoring": "softmax", "normalises": true, "shared_intermediate_size": 64, "every": 1}),
        ]
    );
    assert_eq!(
        parts("llama", &["/attention", "/mlp_bias", "/tied_embeddings"]),
        [json!({"bias": false}), json!(false), json!(false)]
    );
}

/// Each case holds the relevant members of one family's published configuration.
#[test]
fn what_families_leave_unsaid_or_say_in_their_own_way() {
    for (text, pointer, expected) in [
        (
            r#"{"model_type": "gemma2", "num_hidden_layers": 4, "sliding_window": 8}"#,
            "/layer_types",
            json!(["sliding_attention", "full_attention", "sliding_attention", "full_attention"]),
        ),
        (r#"{"model_type": "gemma2", "final_logit_softcapping": 30.0}"#, "/logit_soft_cap", json!(30.0)),
        (r#"{"model_type": "gemma2", "attn_logit_softcapping": 50.0}"#, "/attention/soft_cap", json!(50.0)),
        (r#"{"model_type": "gemma", "hidden_size": 2048}"#, "/head_dim", json!(256)),
        (r#"{"architectures": ["Qwen2ForCausalLM"]}"#, "/attention", json!({"bias": true, "output_bias": false})),
        (
            r#"{"model_type": "qwen2", "sliding_window": 4096, "use_sliding_window": false}"#,
            "/attention/window",
            json!(null),
        ),
        (r#"{"model_type": "mistral", "sliding_window": 4096}"#, "/attention/window", json!(4096)),
        (
            r#"{"model_type": "exaone4", "num_hidden_layers": 3, "sliding_window": 8, "sliding_window_pattern": "LG"}"#,
            "/layer_types",
            json!(["sliding_attention", "full_attention", "sliding_attention"]),
        ),
        (
            r#"{"model_type": "granite", "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.0078125,
            "logits_scaling": 8.0}"#,
            "/multipliers",
            json!({"embedding": 12.0, "residual": 0.22, "attention": 0.007_812_5, "logits_divisor": 8.0}),
        ),
        (
            r#"{"model_type": "cohere", "logit_scale": 0.0625, "layer_norm_eps": 1e-5}"#,
            "/norm",
            json!({"kind": "layer", "eps": 1e-5}),
        ),
        (
            r#"{"model_type": "mixtral", "num_local_experts": 8}"#,
            "/router",
            json!({"scoring": "softmax", "normalises": true}),
        ),
        (r#"{"model_type": "mixtral"}"#, "/router", json!(null)),
        (r#"{"model_type": "llama", "eos_token_id": [128001, 128008]}"#, "/tokens/eos", json!([128_001, 128_008])),
        (
            r#"{"model_type": "openelm", "num_query_heads": [12, 16], "num_kv_heads": [3, 4]}"#,
            "/per_layer",
            json!({"heads": [12, 16], "kv_heads": [3, 4]}),
        ),
        (
            r#"{"model_type": "gemma4", "text_config": {"head_dim": 256, "global_head_dim": 512,
            "layer_types": ["sliding_attention", "full_attention"]}}"#,
            "/per_layer",
            json!({"head_dim": [256, 512]}),
        ),
        (r#"{"model_type": "smollm3", "no_rope_layers": [1, 1, 1, 0]}"#, "/attention/layers_without_rope", json!([3])),
        (
            r#"{"model_type": "phi", "rope_theta": 10000.0, "partial_rotary_factor": 0.4}"#,
            "/rope",
            json!({"theta": 10000.0, "partial": 0.4}),
        ),
        (
            r#"{"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}}"#,
            "/rope",
            json!({"kind": "llama3", "factor": 8.0, "original_context": 8192, "low_freq_factor": 1.0, "high_freq_factor": 4.0}),
        ),
        (
            r#"{"rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2, 4]}}"#,
            "/rope",
            json!({"kind": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2, 4]}),
        ),
        (r#"{"rope_scaling": {"type": "dynamic", "factor": 2.0}}"#, "/rope", json!({"kind": "dynamic", "factor": 2.0})),
        (
            r#"{"rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}}"#,
            "/rope/sections",
            json!([16, 24, 24]),
        ),
        (
            r#"{"model_type": "qwen2_5_vl", "image_token_id": 151655, "vision_config": {"depth": 32, "hidden_size": 1280, "num_heads": 16,
            "patch_size": 14, "spatial_merge_size": 2, "out_hidden_size": 3584}}"#,
            "/vision",
            json!({"layers": 32, "hidden_size": 1280, "heads": 16, "patch_size": 14, "merge": 2, "output_size": 3584, "token": 151_655}),
        ),
        (
            r#"{"thinker_config": {"audio_token_id": 7, "audio_config": {"d_model": 1280, "encoder_layers": 32, "num_mel_bins": 128}}}"#,
            "/audio",
            json!({"layers": 32, "hidden_size": 1280, "mel_bins": 128, "token": 7}),
        ),
        (r#"{"chat_template": "{{ messages }}"}"#, "/chat_template", json!("{{ messages }}")),
    ] {
        assert_eq!(stored(&parse(text)).pointer(pointer).cloned().unwrap_or_default(), expected, "{text}");
    }
}

#[test]
fn where_facts_come_from() {
    let config = parse(
        r#"{"model_type": "gemma3", "text_config": {"num_attention_heads": 8, "rope_scaling": {"factor": 8.0}},
            "vision_config": {"hidden_size": 1152}}"#,
    );
    for (fact, source) in [
        ("heads", Some("text_config.num_attention_heads")),
        ("rope.factor", Some("text_config.rope_scaling.factor")),
        ("vision.hidden_size", Some("vision_config.hidden_size")),
        ("head_dim", Some("a default of the family")),
        ("kv_heads", None),
    ] {
        assert_eq!(config.source(fact).as_deref(), source, "{fact}");
    }
}

#[test]
fn configurations_that_contradict_themselves() {
    for (text, expected) in [
        (
            r#"{"num_attention_heads": 8, "num_key_value_heads": 3, "head_dim": 4}"#,
            "num_attention_heads = 8 contradicts num_key_value_heads = 3: key and value heads share the heads evenly",
        ),
        (
            r#"{"text_config": {"hidden_size": 100, "num_attention_heads": 8}}"#,
            "text_config.hidden_size = 100 contradicts text_config.num_attention_heads = 8: without a head size, heads share the \
             hidden size evenly",
        ),
        (
            r#"{"num_hidden_layers": 3, "layer_types": ["full_attention"]}"#,
            "num_hidden_layers = 3 contradicts layer_types = a list of 1: the list has an entry for each layer",
        ),
        (
            r#"{"num_hidden_layers": 3, "hybrid_override_pattern": "M-M*"}"#,
            "num_hidden_layers = 3 contradicts hybrid_override_pattern = a list of 4: the list has an entry for each layer",
        ),
        (
            r#"{"num_experts": 4, "num_experts_per_tok": 8}"#,
            "num_experts = 4 contradicts num_experts_per_tok = 8: a token uses no more experts than there are",
        ),
        (
            r#"{"n_routed_experts": 10, "n_group": 4}"#,
            "n_routed_experts = 10 contradicts n_group = 4: groups share the experts evenly",
        ),
        (
            r#"{"n_routed_experts": 8, "n_group": 2, "topk_group": 3}"#,
            "n_group = 2 contradicts topk_group = 3: a token uses no more groups than there are",
        ),
        (
            r#"{"n_layer": 12, "num_hidden_layers": 24}"#,
            "num_hidden_layers = 24 contradicts n_layer = 12: both state one fact",
        ),
    ] {
        let error = parse(text).check().expect_err(text);
        assert_eq!(error.to_string(), expected, "{text}");
    }
    for text in [
        // Whatever two levels say may be of two models.
        r#"{"num_attention_heads": 8, "text_config": {"num_key_value_heads": 3}}"#,
        r#"{"hidden_size": 100, "num_attention_heads": 8, "head_dim": 16}"#,
        r#"{"hidden_size": 2880, "num_attention_heads": 64, "num_key_value_heads": 0, "kv_lora_rank": 64}"#,
        // The last entries are those of layers that predict further tokens.
        r#"{"num_hidden_layers": 1, "num_nextn_predict_layers": 1, "layer_types": ["full_attention", "full_attention"]}"#,
        r#"{"_class_name": "UNet2DConditionModel", "hidden_size": 100, "num_attention_heads": 8}"#,
        r#"{"model_type": "gemma", "hidden_size": 100, "num_attention_heads": 8}"#,
        "{}",
    ] {
        parse(text).check().expect(text);
    }
}

#[test]
fn tensors_that_contradict_the_configuration() {
    let config = parse(
        r#"{"model_type": "llama", "text_config": {"hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
            "num_hidden_layers": 1, "intermediate_size": 12, "vocab_size": 32}}"#,
    );
    let moe = parse(
        r#"{"model_type": "qwen3_moe", "num_experts": 4, "num_hidden_layers": 1, "intermediate_size": 12, "hidden_size": 8}"#,
    );
    let check = |config: &ModelConfig, name, dims: &[u64]| config.check_shapes([(name, &Shape::from(dims))]);
    for (name, right, wrong, source) in [
        ("model.embed_tokens.weight", [32, 8], [32, 9], "text_config.hidden_size = 8"),
        ("language_model.model.embed_tokens.weight", [40, 8], [31, 8], "text_config.vocab_size = 32"),
        ("lm_head.weight", [16, 8], [32, 9], "text_config.hidden_size = 8"),
        ("model.layers.0.self_attn.q_proj.weight", [16, 8], [24, 8], "text_config.num_attention_heads = 4"),
        ("model.layers.0.self_attn.q_proj.weight", [32, 8], [16, 16], "text_config.hidden_size = 8"),
        ("model.layers.0.self_attn.k_proj.weight", [8, 8], [16, 8], "text_config.num_key_value_heads = 2"),
        ("model.layers.0.self_attn.v_proj.weight", [8, 8], [4, 8], "text_config.num_key_value_heads = 2"),
        ("model.layers.0.self_attn.o_proj.weight", [8, 16], [8, 32], "text_config.num_attention_heads = 4"),
        ("model.layers.0.mlp.up_proj.weight", [12, 8], [11, 8], "text_config.intermediate_size = 12"),
        ("model.layers.0.mlp.down_proj.weight", [8, 12], [8, 24], "text_config.intermediate_size = 12"),
    ] {
        check(&config, name, &right).expect(name);
        let error = check(&config, name, &wrong).expect_err(name).to_string();
        let shape = Shape::from(&wrong[..]);
        assert!(error.starts_with(&format!("{source} contradicts {name} = {shape}: ")), "{error}");
    }
    check(&config, "model.layers.0.input_layernorm.weight", &[9]).expect_err("a norm");
    let other = parse(r#"{"model_type": "mimo_v2", "num_attention_heads": 4, "head_dim": 4, "num_hidden_layers": 1}"#);
    check(&other, "model.layers.0.self_attn.q_proj.weight", &[99, 8]).expect("its layers may differ");
    check(&moe, "model.layers.0.mlp.gate.weight", &[4, 8]).expect("a router");
    let error = check(&moe, "model.layers.0.mlp.gate.weight", &[8, 8]).expect_err("a router").to_string();
    assert!(error.starts_with("num_experts = 4 contradicts model.layers.0.mlp.gate.weight = [8, 8]: "), "{error}");
    let none = parse(r#"{"model_type": "qwen3_moe", "num_experts": 0, "num_hidden_layers": 1, "hidden_size": 8}"#);
    check(&none, "model.layers.0.mlp.gate.weight", &[8, 8]).expect("there are no experts to count");
    for (name, dims) in [
        ("vision_tower.layers.0.self_attn.q_proj.weight", [7, 7]),
        ("model.layers.1.self_attn.q_proj.weight", [7, 7]),
        ("model.layers.0.self_attn.other.weight", [7, 7]),
        ("model.layers.99999999999999999999999.mlp.up_proj.weight", [7, 7]),
        ("model.layers.", [7, 7]),
        ("", [7, 7]),
    ] {
        check(&config, name, &dims).expect(name);
    }
}

#[test]
fn a_program_adds_an_architecture_of_its_own() {
    fn naming(name: &str) -> ExpertName<'_> {
        let Some((group, rest)) = name.split_once(".team.") else { return ExpertName::Other };
        rest.split_once('.').map_or(ExpertName::Other, |(index, rest)| ExpertName::Single { group, index, rest })
    }
    let mut table = Architectures::known().clone();
    table.register(
        Architecture::new(["TideForCausalLM"])
            .with_facts(|reader, facts| {
                facts.experts = reader.number("experts", &["teams"]);
                facts.attention.sinks = reader.flag("attention.sinks", &["ebb"]);
            })
            .with_experts(naming)
            .with_transposed_experts(),
    );
    let config = table.parse(br#"{"architectures": ["TideForCausalLM"], "teams": 2, "ebb": true}"#).expect("an object");
    assert_eq!((config.experts, config.attention.sinks), (Some(2), Some(true)));
    assert_eq!(config.source("experts").as_deref(), Some("teams"));
    assert!(config.experts_are_transposed());
    let row = table.find("tide").expect("it was registered");
    let matrix = Shape::new([3, 4]);
    let grouping = experts::group_by(row.experts(), ["a.team.0.up", "a.team.1.up"].map(|name| (name, &matrix)));
    assert_eq!(grouping.expect("they are one layer's").groups["a"][0].shape.dims(), [2, 3, 4]);
    assert_eq!(parse(r#"{"architectures": ["TideForCausalLM"], "teams": 2}"#).experts, None, "the table is its own");
}

/// JSON documents made of members that mean something, with values that may not.
fn document() -> impl Strategy<Value = Value> {
    let members = [
        "architectures",
        "model_type",
        "text_config",
        "thinker_config",
        "vision_config",
        "audio_config",
        "num_hidden_layers",
        "n_layer",
        "layer_types",
        "hybrid_override_pattern",
        "mlp_layer_types",
        "first_k_dense_replace",
        "hidden_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "num_experts",
        "num_experts_per_tok",
        "n_group",
        "topk_group",
        "rope_parameters",
        "rope_scaling",
        "full_attention",
        "rope_theta",
        "short_factor",
        "eos_token_id",
        "sliding_window",
        "sliding_window_pattern",
        "no_rope_layers",
        "kv_lora_rank",
        "ssm_state_size",
        "vocab_size",
        "intermediate_size",
        "global_head_dim",
    ];
    let names = [
        "gemma2",
        "gemma3",
        "gemma4",
        "qwen3_next",
        "gpt_oss",
        "deepseek_v3",
        "llama",
        "LGL",
        "full_attention",
        "default",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_u64..6).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|eighths| json!(f64::from(eighths) / 8.0)),
        prop::sample::select(names.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 12, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(members.to_vec()).prop_map(str::to_owned), inner, 0..12)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_makes_it_panic(document in document(), dims in prop::collection::vec(any::<u64>(), 0..4)) {
        let Ok(config) = ModelConfig::parse(document.to_string().as_bytes()) else { return Ok(()) };
        let _ = config.check();
        stored(&config);
        let shape = Shape::from(dims);
        for name in ["model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight"] {
            let _ = config.check_shapes([(name, &shape)]);
            let _ = config.facts().check_shapes([(name, &shape)]);
        }
    }
}
