use longshore_packer::{ConfigError, MAX_CONFIG_BYTES, ModelConfig};
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
    assert_eq!((qwen.context_length, qwen.vocab_size), (Some(256), Some(512)));
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

#[test]
fn nested_and_older_names() {
    let config = parse(
        r#"{"model_type": "wrapper", "vocab_size": 7,
            "text_config": {"model_type": "llama4_text", "n_layer": 3, "n_embd": 16, "num_local_experts": 4,
                            "vocab_size": 9, "tie_word_embeddings": true}}"#,
    );
    assert_eq!(config.architecture.as_deref(), Some("wrapper"));
    assert_eq!((config.layers, config.hidden_size, config.experts), (Some(3), Some(16), Some(4)));
    assert_eq!(config.vocab_size, Some(7), "the outer value stands");
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
