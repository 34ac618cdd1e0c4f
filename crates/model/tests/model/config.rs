use longshore_model::{ConfigError, MAX_CONFIG_BYTES, ModelConfig};
use longshore_st_format::fixtures;
use proptest::prelude::*;

fn parse(text: &str) -> ModelConfig {
    ModelConfig::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn the_fixtures() {
    let model = |name: &str| parse(&fixtures::model(name).json["config.json"]);

    let qwen = model("qwen3-moe");
    assert_eq!(qwen.architecture.as_deref(), Some("Qwen3MoeForCausalLM"));
    assert_eq!((qwen.layers, qwen.hidden_size, qwen.heads, qwen.kv_heads), (Some(2), Some(128), Some(4), Some(2)));
    assert_eq!((qwen.experts, qwen.experts_per_token), (Some(8), Some(2)));
    assert_eq!((qwen.context_length, qwen.vocabulary), (Some(256), Some(512)));
    assert!(qwen.quantization.is_none() && !qwen.experts_are_transposed());

    assert_eq!(model("nemotron-h").layers, Some(4), "counted in layers_block_type");
    assert_eq!(model("deepseek-v3").experts, Some(4));
    assert!(model("gpt-oss").experts_are_transposed());
    for name in ["deepseek-v3-fp8", "gpt-oss-mxfp4", "llama-modelopt-nvfp4", "qwen3-mlx-4bit"] {
        assert!(model(name).quantization.is_some(), "{name}");
    }
    let flux = fixtures::model("flux");
    assert_eq!(parse(&flux.json["vae/config.json"]).component(), Some("vae"));
    assert_eq!(parse(&flux.json["transformer/config.json"]).component(), Some("transformer"));
    assert_eq!(parse(&flux.json["text_encoder/config.json"]).component(), None);
}

/// Parses `text` and checks its number of layers, its experts with those for each token, and its longest context.
fn check(text: &str, layers: u64, experts: Option<(u64, u64)>, context: Option<u64>) -> ModelConfig {
    let config = parse(text);
    assert_eq!(config.layers, Some(layers), "{text}");
    assert_eq!(config.experts.zip(config.experts_per_token), experts, "{text}");
    assert_eq!(config.context_length, context, "{text}");
    config
}

/// Each case holds the relevant members of one family's published configuration.
#[test]
fn families_with_nested_configurations() {
    let qwen = check(
        r#"{"architectures": ["Qwen3_5MoeForConditionalGeneration"], "model_type": "qwen3_5_moe", "vision_config": {"depth": 27},
            "text_config": {"model_type": "qwen3_5_moe_text", "num_hidden_layers": 48, "hidden_size": 2048, "num_experts": 256,
            "num_experts_per_tok": 8, "moe_intermediate_size": 512, "max_position_embeddings": 262144,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000000, "partial_rotary_factor": 0.25}}}"#,
        48,
        Some((256, 8)),
        Some(262_144),
    );
    assert!(qwen.has_vision && !qwen.has_audio);
    assert_eq!((qwen.hidden_size, qwen.expert_intermediate_size), (Some(2048), Some(512)));
    assert_eq!(rope(&qwen), r#"{"theta":10000000,"partial":0.25}"#);
    let gemma = check(
        r#"{"model_type": "gemma4", "text_config": {"num_hidden_layers": 30, "num_experts": 128, "top_k_experts": 8,
            "max_position_embeddings": 131072, "head_dim": 256, "rope_parameters": {
                "full_attention": {"rope_theta": 1000000.0, "rope_type": "proportional"},
                "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}}},
            "vision_config": {"num_hidden_layers": 27}, "audio_config": {}}"#,
        30,
        Some((128, 8)),
        Some(131_072),
    );
    assert!(gemma.has_vision && gemma.has_audio);
    assert_eq!(rope(&gemma), r#"{"theta":1000000.0,"local_theta":10000.0,"kind":"proportional"}"#);
    check(
        r#"{"model_type": "cohere2_moe", "num_hidden_layers": 49, "num_experts": 128, "num_experts_per_tok": 8}"#,
        49,
        Some((128, 8)),
        None,
    );
    check(
        r#"{"model_type": "muse_glimmer", "has_vision": true, "text_config": {"num_hidden_layers": 52}}"#,
        52,
        None,
        None,
    );
    let omni = check(
        r#"{"architectures": ["NemotronH_Nano_Omni_Reasoning_V3"], "sound_config": {}, "llm_config": {"model_type": "nemotron_h",
            "hybrid_override_pattern": "MEM*", "n_routed_experts": 128, "num_experts_per_tok": 6, "n_shared_experts": 1}}"#,
        4,
        Some((128, 6)),
        None,
    );
    assert!(omni.has_audio && omni.identifiers.contains(&"nemotron_h".to_owned()));
    assert_eq!(omni.shared_experts, Some(1));
}

#[test]
fn families_of_one_level() {
    let oss = check(
        r#"{"model_type": "gpt_oss", "num_hidden_layers": 24, "num_local_experts": 32, "experts_per_token": 4, "rope_theta": 150000,
            "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096},
            "max_position_embeddings": 131072, "initial_context_length": 4096}"#,
        24,
        Some((32, 4)),
        Some(131_072),
    );
    assert_eq!(rope(&oss), r#"{"theta":150000,"kind":"yarn","factor":32.0,"original_context":4096}"#);
    let deepseek = check(
        r#"{"model_type": "deepseek_v3", "num_hidden_layers": 61, "n_routed_experts": 256, "num_experts_per_tok": 8,
            "n_shared_experts": 1, "first_k_dense_replace": 3, "rope_scaling": {"type": "yarn", "factor": 40}}"#,
        61,
        Some((256, 8)),
        None,
    );
    assert_eq!(
        (deepseek.dense_layers.as_deref(), rope(&deepseek)),
        (Some(&[0, 1, 2][..]), r#"{"kind":"yarn","factor":40,"interleaved":true}"#.into())
    );
    let glm = check(
        r#"{"model_type": "chatglm", "num_layers": 40, "seq_length": 131072, "padded_vocab_size": 151552,
            "ffn_hidden_size": 13696, "multi_query_group_num": 2, "kv_channels": 128, "num_attention_heads": 32}"#,
        40,
        None,
        Some(131_072),
    );
    assert_eq!((glm.kv_heads, glm.head_dim, glm.intermediate_size), (Some(2), Some(128), Some(13696)));
    for family in ["mixtral", "minimax", "phimoe", "granitemoe"] {
        check(
            &format!(
                r#"{{"model_type": "{family}", "num_hidden_layers": 32, "num_local_experts": 8, "num_experts_per_tok": 2}}"#
            ),
            32,
            Some((8, 2)),
            None,
        );
    }
    check(
        r#"{"model_type": "llama4", "text_config": {"num_hidden_layers": 48, "num_local_experts": 16, "num_experts_per_tok": 1}}"#,
        48,
        Some((16, 1)),
        None,
    );
    check(
        r#"{"architectures": ["BertModel"], "num_hidden_layers": 12, "max_position_embeddings": 512}"#,
        12,
        None,
        Some(512),
    );
    let t5 = check(
        r#"{"model_type": "t5", "num_layers": 12, "num_decoder_layers": 12, "d_model": 768, "d_ff": 2048, "d_kv": 64,
            "num_heads": 12, "n_positions": 512}"#,
        12,
        None,
        Some(512),
    );
    assert_eq!((t5.decoder_layers, t5.head_dim, t5.intermediate_size), (Some(12), Some(64), Some(2048)));
    let whisper = check(
        r#"{"model_type": "whisper", "d_model": 1280, "encoder_layers": 32, "decoder_layers": 4, "encoder_attention_heads": 20,
            "encoder_ffn_dim": 5120, "max_source_positions": 1500, "max_target_positions": 448, "vocab_size": 51866}"#,
        32,
        None,
        Some(448),
    );
    assert_eq!((whisper.decoder_layers, whisper.heads, whisper.intermediate_size), (Some(4), Some(20), Some(5120)));
}

#[test]
fn models_that_talk() {
    let talking = check(
        r#"{"model_type": "qwen3_omni_moe", "thinker_config": {"audio_config": {}, "vision_config": {},
            "text_config": {"num_hidden_layers": 48, "num_experts": 128, "num_experts_per_tok": 8}}}"#,
        48,
        Some((128, 8)),
        None,
    );
    assert!(talking.has_audio && talking.has_vision);
}

fn rope(config: &ModelConfig) -> String {
    serde_json::to_string(&config.facts().rope).expect("it is plain data")
}

#[test]
fn dense_layers() {
    let dense = |text: &str| parse(text).dense_layers.clone();
    for (text, expected) in [
        (r#"{"architectures": ["LagunaForCausalLM"]}"#, Some(vec![0])),
        (
            r#"{"architectures": ["LagunaForCausalLM"], "mlp_layer_types": ["sparse", "dense", "sparse", "dense"]}"#,
            Some(vec![1, 3]),
        ),
        (r#"{"architectures": ["LagunaForCausalLM"], "mlp_only_layers": [7, 2]}"#, Some(vec![2, 7])),
        (r#"{"mlp_layer_types": ["dense", "sparse"], "mlp_only_layers": [0, 5, -1, "x"]}"#, Some(vec![0, 5])),
        (r#"{"text_config": {"mlp_only_layers": []}}"#, Some(vec![])),
        (r#"{"architectures": ["Qwen3ForCausalLM"]}"#, None),
        (r#"{"first_k_dense_replace": 18446744073709551615}"#, Some((0..4096).collect())),
    ] {
        assert_eq!(dense(text), expected, "{text}");
    }
    assert_eq!(parse(r#"{"mlp_layer_types": ["dense", "sparse"]}"#).layers, Some(2));
}

#[test]
fn rope_in_older_forms() {
    for (text, expected) in [
        (r#"{"rope_theta": 500000.0, "rope_scaling": null}"#, r#"{"theta":500000.0}"#),
        (
            r#"{"rope_theta": 1e6, "rope_local_base_freq": 10000.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}"#,
            r#"{"theta":1000000.0,"local_theta":10000.0,"kind":"linear","factor":8.0}"#,
        ),
        (r#"{"rotary_emb_base": 10000}"#, r#"{"theta":10000}"#),
        (
            r#"{"original_max_position_embeddings": 4096, "rope_scaling": {"type": "longrope", "short_factor": [1.0]}}"#,
            r#"{"kind":"longrope","original_context":4096,"short_factor":[1.0]}"#,
        ),
        (r#"{"rope_parameters": {"rope_type": "default"}}"#, "null"),
        (r#"{"rope_parameters": [1], "rope_scaling": "x", "rope_theta": "y"}"#, "null"),
        ("{}", "null"),
    ] {
        assert_eq!(rope(&parse(text)), expected, "{text}");
    }
}

#[test]
fn nested_and_older_names() {
    let config = parse(
        r#"{"model_type": "wrapper", "vocab_size": 7,
            "text_config": {"model_type": "llama4_text", "n_layer": 3, "n_embd": 16, "num_local_experts": 4,
                            "vocab_size": 9, "tie_word_embeddings": true}}"#,
    );
    assert_eq!(config.architecture.as_deref(), Some("wrapper"));
    assert_eq!((config.layers, config.hidden_size, config.experts), (Some(3), Some(16), Some(4)));
    assert_eq!(config.vocabulary, Some(7), "the outer value stands");
    assert_eq!(config.tied_embeddings, Some(true));
    assert!(config.experts_are_transposed());

    assert_eq!(parse(r#"{"llm_config": {"model_type": "nemotron_h"}}"#).architecture.as_deref(), Some("nemotron_h"));
    assert_eq!(parse(r#"{"hybrid_override_pattern": "M-M*"}"#).layers, Some(4));
}

#[test]
fn architectures_alone_are_enough() {
    for (architecture, transposed) in
        [("LlamaForCausalLM", false), ("GptOssForCausalLM", true), ("Llama4ForConditionalGeneration", true)]
    {
        let config = parse(&format!(r#"{{"architectures": ["{architecture}"]}}"#));
        assert_eq!(config.architecture.as_deref(), Some(architecture));
        assert_eq!(config.experts_are_transposed(), transposed);
    }
    assert_eq!(parse("{}"), ModelConfig::default());
}

#[test]
fn odd_members_are_passed_over() {
    let config = parse(
        r#"{"architectures": "x", "model_type": 3, "num_hidden_layers": -1, "n_layer": 1.5, "hidden_size": null,
            "text_config": [], "time_step_limit": [0.0, Infinity], "x": NaN, "num_heads": 18446744073709551616}"#,
    );
    assert_eq!(config, ModelConfig::default());
    assert_eq!(parse(r#"{"architectures": [], "model_type": ""}"#).architecture, None);
}

#[test]
fn what_is_not_an_object_is_refused() {
    let error = |text: &str| ModelConfig::parse(text.as_bytes()).expect_err(text);
    for text in ["", "{", "{]", "\u{0}", "{\"a\": 1} x", "{'a': 1}"] {
        assert!(matches!(error(text), ConfigError::Json { .. }), "{text:?}");
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(error(&deep), ConfigError::Json { .. }));
    for (text, kind) in
        [("[]", "an array"), ("null", "null"), ("NaN", "null"), ("3", "a number"), ("\"a\"", "a string")]
    {
        assert_eq!(error(text).to_string(), format!("expected a JSON object, found {kind}"));
    }
    let huge = " ".repeat(usize::try_from(MAX_CONFIG_BYTES).expect("it fits") + 1);
    assert!(matches!(error(&huge), ConfigError::TooLarge { found } if found == MAX_CONFIG_BYTES + 1));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ModelConfig::parse(&bytes);
    }

    #[test]
    fn nor_any_text(text in "[{}\\[\\]\":,a-cNI\\\\ \n-]{0,60}") {
        let _ = ModelConfig::parse(text.as_bytes());
    }
}
