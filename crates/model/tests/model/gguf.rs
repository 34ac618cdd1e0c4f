//! Configurations in the keys of GGUF metadata.

use longshore_model::{Facts, GgufConfig, GgufValue, KeysError, ModelConfig, keys_of};
use serde_json::{Map, Value, json};

/// The configuration that keys state, of a file with these tensors.
fn read(keys: &Value, tensors: &[&str]) -> GgufConfig {
    GgufConfig::read(&|key| keys.get(key).cloned(), &|name| tensors.contains(&name))
}

fn document(keys: &Value, tensors: &[&str]) -> Map<String, Value> {
    read(keys, tensors).document().expect("the family is known").clone()
}

fn keys(config: &Value) -> Map<String, Value> {
    let config = ModelConfig::parse(config.to_string().as_bytes()).expect("it is a configuration");
    let keys = keys_of(&config.facts()).expect("the family is known");
    let value = |value| match value {
        GgufValue::U32(number) => json!(number),
        GgufValue::F32(number) => json!(f64::from(number)),
        GgufValue::Bool(flag) => json!(flag),
        GgufValue::Text(text) => json!(text),
        GgufValue::Numbers(numbers) => json!(numbers),
        GgufValue::Flags(flags) => json!(flags),
    };
    keys.into_iter().map(|(key, found)| (key, value(found))).collect()
}

#[test]
fn gemma_says_what_is_left_open() {
    let keys = json!({
        "general.architecture": "gemma3", "gemma3.block_count": 7, "gemma3.embedding_length": 640,
        "gemma3.attention.head_count": 4, "gemma3.attention.head_count_kv": 1, "gemma3.attention.key_length": 256,
        "gemma3.attention.sliding_window": 512, "gemma3.rope.freq_base": 1_000_000, "tokenizer.ggml.tokens.length": 9,
    });
    let read = read(&keys, &["token_embd.weight"]);
    let config = read.document().expect("it is known");
    assert_eq!((&config["rope_local_base_freq"], &config["query_pre_attn_scalar"]), (&json!(10_000), &json!(256)));
    assert_eq!((&config["tie_word_embeddings"], &config["vocab_size"]), (&json!(true), &json!(9)));
    assert_eq!(config["layer_types"][5], "full_attention");
    assert_eq!(read.notes().len(), 2, "{:?}", read.notes());
    let facts = read.model();
    assert_eq!(
        (facts.norm.adds_one, facts.scales_embeddings, facts.attention.qk_norm),
        (Some(true), Some(true), Some(true))
    );
    assert_eq!(facts.source("attention.window").as_deref(), Some("gemma3.attention.sliding_window"));
    assert_eq!(facts.source("tied_embeddings").as_deref(), Some("output.weight"));
}

#[test]
fn experts_tell_families_apart() {
    let keys = |gating: u64| {
        json!({
            "general.architecture": "deepseek2", "deepseek2.block_count": 2, "deepseek2.attention.head_count": 4,
            "deepseek2.attention.head_count_kv": 1, "deepseek2.attention.key_length": 80, "deepseek2.attention.kv_lora_rank": 64,
            "deepseek2.attention.key_length_mla": 48, "deepseek2.attention.value_length_mla": 32,
            "deepseek2.rope.dimension_count": 16, "deepseek2.expert_count": 8, "deepseek2.expert_used_count": 2,
            "deepseek2.expert_gating_func": gating, "deepseek2.rope.scaling.type": "yarn",
            "deepseek2.rope.scaling.yarn_log_multiplier": 0.0707,
        })
    };
    let third = document(&keys(2), &[]);
    assert_eq!((&third["model_type"], &third["scoring_func"]), (&json!("deepseek_v3"), &json!("sigmoid")));
    assert_eq!((&third["num_key_value_heads"], &third["qk_nope_head_dim"]), (&json!(4), &json!(32)));
    assert_eq!(third["rope_scaling"]["mscale_all_dim"], 0.707);
    assert_eq!(document(&keys(1), &[])["model_type"], "deepseek_v2");
    let mixtral = json!({"general.architecture": "llama", "llama.expert_count": 8, "llama.expert_used_count": 2});
    assert_eq!(document(&mixtral, &[])["num_local_experts"], 8);
    let dense = json!({"general.architecture": "llama", "llama.expert_count": 0});
    assert_eq!(document(&dense, &[])["model_type"], "llama");
}

#[test]
fn hostile_keys_count_as_absent() {
    assert_eq!(read(&json!({"general.architecture": 7}), &[]), GgufConfig::default());
    assert_eq!(read(&json!({"general.architecture": ""}), &[]), GgufConfig::default());
    let unknown = read(&json!({"general.architecture": "mine", "mine.block_count": 3}), &[]);
    assert_eq!((unknown.document(), unknown.model().layers), (None, Some(3)));
    let huge = json!({
        "general.architecture": "gemma3", "gemma3.block_count": u64::MAX, "gemma3.attention.sliding_window": 1,
        "gemma3.embedding_length": -1, "gemma3.attention.head_count": [], "gemma3.rope.scaling.type": "x".repeat(100),
        "gemma3.attention.sliding_window_pattern": 0, "gemma3.context_length": "long",
    });
    let found = read(&huge, &[]);
    assert_eq!((found.model().layers, found.model().hidden_size), (Some(u64::MAX), None));
    assert!(found.model().layer_types.is_empty());
    for architecture in ["nemotron_h_moe", "mamba2", "qwen3next", "granitehybrid", "gpt-oss"] {
        let mut keys = json!({"general.architecture": architecture});
        for key in [
            "block_count",
            "ssm.state_size",
            "ssm.inner_size",
            "ssm.time_step_rank",
            "embedding_length",
            "expert_count",
        ] {
            keys[format!("{architecture}.{key}")] = json!(0);
        }
        keys[format!("{architecture}.attention.head_count_kv")] = json!([]);
        keys[format!("{architecture}.feed_forward_length")] = json!([0, 1]);
        assert!(read(&keys, &[]).document().is_some(), "{architecture}");
    }
}

#[test]
fn layers_that_differ_from_the_usual_are_stated() {
    const KEY: &str = "gemma3.attention.sliding_window_pattern";
    let config = |kinds: Value| {
        json!({
            "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "num_hidden_layers": 2, "hidden_size": 64,
            "intermediate_size": 64, "max_position_embeddings": 128, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 32, "rms_norm_eps": 1e-6, "sliding_window": 16, "layer_types": kinds,
        })
    };
    let usual = keys(&config(json!(["sliding_attention", "sliding_attention"])));
    assert!(!usual.contains_key(KEY));
    let own = keys(&config(json!(["sliding_attention", "full_attention"])));
    assert_eq!(own[KEY], json!([true, false]));
    let back = document(&Value::Object(own), &[]);
    assert_eq!(back["layer_types"], json!(["sliding_attention", "full_attention"]));
}

#[test]
fn a_pattern_of_layers_that_is_stated_is_not_the_usual_one() {
    let keys = json!({
        "general.architecture": "gemma3", "gemma3.block_count": 4, "gemma3.attention.sliding_window": 512,
        "gemma3.attention.sliding_window_pattern": 3,
    });
    let config = document(&keys, &[]);
    let (full, sliding) = ("full_attention", "sliding_attention");
    assert_eq!(config["layer_types"], json!([sliding, sliding, full, sliding]));
    assert_eq!(config["sliding_window_pattern"], 3);
}

#[test]
fn one_end_of_a_text_is_a_number_and_several_are_a_list() {
    let mut keys = json!({"general.architecture": "llama", "tokenizer.ggml.eos_token_id": 2});
    assert_eq!(document(&keys, &[])["eos_token_id"], 2);
    keys["tokenizer.ggml.eot_token_id"] = json!(2);
    assert_eq!(document(&keys, &[])["eos_token_id"], 2);
    keys["tokenizer.ggml.eom_token_id"] = json!(5);
    assert_eq!(document(&keys, &[])["eos_token_id"], json!([2, 5]));
}

#[test]
fn the_factor_of_long_contexts_follows_from_their_lengths() {
    const KEY: &str = "phi3.rope.scaling.attn_factor";
    let config = |long: u64| {
        json!({
            "architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "num_hidden_layers": 2, "hidden_size": 64,
            "intermediate_size": 64, "max_position_embeddings": long, "original_max_position_embeddings": 4096,
            "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "vocab_size": 32,
            "rope_scaling": {"type": "longrope", "long_factor": vec![2.0; 16], "short_factor": vec![1.0; 16]},
        })
    };
    let factor = keys(&config(131_072))[KEY].as_f64().expect("it is a number");
    assert!((factor - (1.0 + 32_f64.ln() / 4096_f64.ln()).sqrt()).abs() < 1e-6, "{factor}");
    assert!(!keys(&config(4096)).contains_key(KEY));
}

#[test]
fn layers_of_nemotron_say_which_of_them_attend_and_how_many_experts_there_are() {
    let config = json!({
        "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "num_hidden_layers": 4, "hidden_size": 64,
        "hybrid_override_pattern": "M*E-", "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "max_position_embeddings": 128, "layer_norm_epsilon": 1e-5, "vocab_size": 32, "n_routed_experts": 8,
        "num_experts_per_tok": 2, "moe_intermediate_size": 32, "ssm_state_size": 16, "conv_kernel": 4, "n_groups": 2,
        "mamba_num_heads": 4, "mamba_head_dim": 32, "n_shared_experts": 1, "moe_shared_expert_intermediate_size": 48,
    });
    let keys = keys(&config);
    assert_eq!(keys["nemotron_h_moe.attention.head_count_kv"], json!([0, 2, 0, 0]));
    let back = document(&Value::Object(keys), &[]);
    assert_eq!((&back["n_routed_experts"], &back["moe_shared_expert_intermediate_size"]), (&json!(8), &json!(48)));
}

#[test]
fn what_has_no_keys_is_refused_by_name() {
    let facts = Facts { architecture: Some("OwnForCausalLM".to_owned()), ..Facts::default() };
    assert_eq!(keys_of(&facts), Err(KeysError::Family { name: "OwnForCausalLM".to_owned() }));
    let facts = Facts { architecture: Some("LlamaForCausalLM".to_owned()), layers: Some(2), ..Facts::default() };
    let missing = KeysError::Missing { name: "LlamaForCausalLM".to_owned(), key: "llama.context_length".to_owned() };
    assert_eq!(keys_of(&facts), Err(missing));
    let facts = Facts { layers: Some(1 << 40), ..facts };
    assert!(matches!(keys_of(&facts), Err(KeysError::Missing { key, .. }) if key == "llama.block_count"));
}
