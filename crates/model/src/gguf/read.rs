//! `config.json`, made of the keys of GGUF metadata.

use serde_json::{Map, Number, Value};

use super::{
    families::{DEEPSEEK_V3, Family, MIXTRAL},
    layers,
    reading::{MAX_NAME, Reading},
    rope,
};
use crate::{
    architecture::Architectures,
    config::model::ModelConfig,
    facts::{Facts, read::layers::MAX_LAYERS},
};

/// The configuration of a model whose weights are a GGUF file.
///
/// ```
/// use longshore_model::GgufConfig;
/// use serde_json::json;
///
/// let keys = json!({ "general.architecture": "llama", "llama.block_count": 32, "llama.embedding_length": 4096 });
/// let config = GgufConfig::read(&|key| keys.get(key).cloned(), &|tensor| tensor == "output.weight");
/// assert_eq!(config.model().layers, Some(32));
/// assert_eq!(config.model().source("layers").as_deref(), Some("llama.block_count"));
/// assert_eq!(config.document().and_then(|config| config["model_type"].as_str()), Some("llama"));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufConfig {
    model: ModelConfig,
    document: Option<Map<String, Value>>,
    notes: Vec<String>,
}

impl GgufConfig {
    /// Reads the configuration. `key` gives the value of a key of the metadata: integers and floats of any type as
    /// numbers, arrays as lists. A long array, such as a vocabulary, may be given as `null`. `has_tensor` tells whether
    /// the file has a tensor of this name.
    ///
    /// A key of another type than its fact has counts as absent.
    #[must_use]
    pub fn read(key: &dyn Fn(&str) -> Option<Value>, has_tensor: &dyn Fn(&str) -> bool) -> Self {
        let architecture = key("general.architecture").and_then(|name| name.as_str().map(str::to_owned));
        let Some(architecture) = architecture.filter(|name| (1..=MAX_NAME).contains(&name.len())) else {
            return Self::default();
        };
        let mut reading = Reading::new(key, has_tensor, architecture);
        reading.read();
        reading.finish()
    }

    /// The facts, each with the key that gave it. The architecture is the file's `general.architecture`.
    #[must_use]
    pub fn model(&self) -> &ModelConfig {
        &self.model
    }

    /// The members of a `config.json` that says the same. `None` for an architecture whose family is not known.
    #[must_use]
    pub fn document(&self) -> Option<&Map<String, Value>> {
        self.document.as_ref()
    }

    /// Facts that the keys leave open, and what was taken in their place: one sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Reading<'_> {
    fn read(&mut self) {
        let has_experts = self.whole("expert_count").is_some_and(|count| count > 0);
        self.family = match self.family.map(|family| family.gguf) {
            Some("llama") if has_experts => Some(&MIXTRAL),
            Some("deepseek2") if self.whole("expert_gating_func") == Some(2) => Some(&DEEPSEEK_V3),
            _ => self.family,
        };
        self.sizes();
        rope::read(self);
        if has_experts {
            self.experts();
        }
        self.norms_and_factors();
        self.latent();
        layers::read(self);
        self.state_space();
        self.tokens();
        self.tensors();
        if let Some(family) = self.family {
            self.config.insert("model_type".to_owned(), family.model_type.into());
            self.config.insert("architectures".to_owned(), vec![family.class].into());
            let (member, activation) = family.activation;
            self.default(member, activation);
            self.family_rules(family);
        }
    }

    fn sizes(&mut self) {
        self.number("num_hidden_layers", "block_count");
        self.number("max_position_embeddings", "context_length");
        self.number("hidden_size", "embedding_length");
        self.numbers("intermediate_size", "feed_forward_length");
        self.numbers("num_attention_heads", "attention.head_count");
        self.numbers("num_key_value_heads", "attention.head_count_kv");
        if !self.config.contains_key("num_key_value_heads")
            && let Some(heads) = self.config.get("num_attention_heads").cloned()
        {
            self.set("num_key_value_heads", heads, "attention.head_count");
        }
        self.number("head_dim", "attention.key_length");
        self.number("num_nextn_predict_layers", "nextn_predict_layers");
        if let Some(tokens) = self.whole("vocab_size").filter(|tokens| *tokens > 0) {
            self.set("vocab_size", tokens.into(), "vocab_size");
        } else if let Some(tokens) = (self.key)("tokenizer.ggml.tokens.length").filter(Value::is_u64) {
            self.config.insert("vocab_size".to_owned(), tokens);
            self.origins.insert("vocab_size".to_owned(), "tokenizer.ggml.tokens".to_owned());
        }
    }

    fn experts(&mut self) {
        let count = match self.family.map(|family| family.model_type) {
            Some("mixtral" | "gpt_oss" | "granitemoe" | "granitemoehybrid") => "num_local_experts",
            Some("deepseek_v2" | "deepseek_v3" | "nemotron_h") => "n_routed_experts",
            _ => "num_experts",
        };
        self.number(count, "expert_count");
        self.number("num_experts_per_tok", "expert_used_count");
        self.number("moe_intermediate_size", "expert_feed_forward_length");
        if self.whole("expert_shared_count").is_some_and(|count| count > 0) {
            self.number("n_shared_experts", "expert_shared_count");
        }
        let shared = match self.family.map(|family| family.model_type) {
            Some("nemotron_h") => "moe_shared_expert_intermediate_size",
            Some("granitemoe" | "granitemoehybrid") => "shared_intermediate_size",
            _ => "shared_expert_intermediate_size",
        };
        self.number(shared, "expert_shared_feed_forward_length");
        self.float("routed_scaling_factor", "expert_weights_scale");
        self.flag("norm_topk_prob", "expert_weights_norm");
        self.number("n_group", "expert_group_count");
        self.number("topk_group", "expert_group_used_count");
        self.number("first_k_dense_replace", "leading_dense_block_count");
        self.number("moe_latent_size", "moe_latent_size");
        let scoring = match self.whole("expert_gating_func") {
            Some(1) => Some("softmax"),
            Some(2) => Some("sigmoid"),
            _ => None,
        };
        if let Some(scoring) = scoring {
            self.set("scoring_func", scoring.into(), "expert_gating_func");
        }
    }

    fn norms_and_factors(&mut self) {
        self.float("rms_norm_eps", "attention.layer_norm_rms_epsilon");
        let of_layer = match self.family.map(|family| family.model_type) {
            Some("nemotron_h") => "layer_norm_epsilon",
            Some("starcoder2") => "norm_epsilon",
            _ => "layer_norm_eps",
        };
        self.float(of_layer, "attention.layer_norm_epsilon");
        self.number("sliding_window", "attention.sliding_window");
        if self.config.get("sliding_window").and_then(Value::as_u64) == Some(0) {
            self.config.remove("sliding_window");
        }
        self.float("attn_logit_softcapping", "attn_logit_softcapping");
        self.float("final_logit_softcapping", "final_logit_softcapping");
        self.float("residual_multiplier", "residual_scale");
        self.float("embedding_multiplier", "embedding_scale");
        self.float("attention_multiplier", "attention.scale");
        let is_granite = self.architecture.starts_with("granite");
        self.float(if is_granite { "logits_scaling" } else { "logit_scale" }, "logit_scale");
    }

    /// Sizes of latent attention. Keys and values have one head there, and the sizes of the compressed ones.
    fn latent(&mut self) {
        if self.whole("attention.kv_lora_rank").is_none() {
            return;
        }
        self.number("kv_lora_rank", "attention.kv_lora_rank");
        self.number("q_lora_rank", "attention.q_lora_rank");
        self.number("qk_rope_head_dim", "rope.dimension_count");
        let of_mla = |reading: &Self, mla, plain| {
            reading.whole(mla).map(|size| (size, mla)).or_else(|| Some((reading.whole(plain)?, plain)))
        };
        let rotated = self.whole("rope.dimension_count");
        if let Some((key, from)) = of_mla(self, "attention.key_length_mla", "attention.key_length")
            && let Some(plain) = key.checked_sub(rotated.unwrap_or(0))
        {
            self.set("qk_nope_head_dim", plain.into(), from);
        }
        if let Some((value, from)) = of_mla(self, "attention.value_length_mla", "attention.value_length") {
            self.set("v_head_dim", value.into(), from);
        }
        if let Some(heads) = self.config.get("num_attention_heads").cloned() {
            self.set("num_key_value_heads", heads, "attention.head_count");
        }
        self.config.remove("head_dim");
    }

    fn state_space(&mut self) {
        let is_mamba = self.family.is_some_and(|family| family.model_type.starts_with("mamba"));
        if self.family.is_some_and(|family| family.model_type == "qwen3_next") {
            self.linear_attention();
            return;
        }
        let Some(state) = self.whole("ssm.state_size") else { return };
        let name = |ours: &'static str, hybrid: &'static str| if is_mamba { ours } else { hybrid };
        self.set(name("state_size", "ssm_state_size"), state.into(), "ssm.state_size");
        self.number("conv_kernel", "ssm.conv_kernel");
        self.number("n_groups", "ssm.group_count");
        let (inner, rank) = (self.whole("ssm.inner_size"), self.whole("ssm.time_step_rank"));
        if self.family.is_some_and(|family| family.model_type == "mamba") {
            self.number("intermediate_size", "ssm.inner_size");
            self.number("time_step_rank", "ssm.time_step_rank");
        } else if let (Some(inner), Some(heads)) = (inner, rank.filter(|heads| *heads > 0)) {
            // The rank is the number of heads in the second generation.
            self.set(name("num_heads", "mamba_num_heads"), heads.into(), "ssm.time_step_rank");
            self.set(name("head_dim", "mamba_head_dim"), (inner / heads).into(), "ssm.inner_size");
        }
        let hidden = self.whole("embedding_length").filter(|hidden| *hidden > 0);
        if let Some((inner, hidden)) = inner.zip(hidden).filter(|(inner, hidden)| inner.is_multiple_of(*hidden)) {
            self.set("expand", (inner / hidden).into(), "ssm.inner_size");
        }
    }

    fn linear_attention(&mut self) {
        self.number("linear_conv_kernel_dim", "ssm.conv_kernel");
        self.number("linear_key_head_dim", "ssm.state_size");
        self.number("linear_num_key_heads", "ssm.group_count");
        self.number("linear_num_value_heads", "ssm.time_step_rank");
        let (inner, heads) = (self.whole("ssm.inner_size"), self.whole("ssm.time_step_rank"));
        if let Some((inner, heads)) = inner.zip(heads.filter(|heads| *heads > 0)) {
            self.set("linear_value_head_dim", (inner / heads).into(), "ssm.inner_size");
        }
        self.number("full_attention_interval", "full_attention_interval");
        self.default("full_attention_interval", 4);
    }

    fn tokens(&mut self) {
        for (member, key) in [("bos_token_id", "bos"), ("pad_token_id", "padding")] {
            let key = format!("tokenizer.ggml.{key}_token_id");
            if let Some(id) = (self.key)(&key).filter(Value::is_u64) {
                self.config.insert(member.to_owned(), id);
                self.origins.insert(member.to_owned(), key);
            }
        }
        let ends = ["eos", "eot", "eom"].map(|name| format!("tokenizer.ggml.{name}_token_id"));
        let mut ids: Vec<Value> = Vec::new();
        for id in ends.iter().filter_map(|key| (self.key)(key)).filter(Value::is_u64) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        let value = match &*ids {
            [] => return,
            [one] => one.clone(),
            _ => ids.into(),
        };
        self.config.insert("eos_token_id".to_owned(), value);
        self.origins.insert("eos_token_id".to_owned(), ends[0].clone());
    }

    /// Facts that only the presence of a tensor tells.
    fn tensors(&mut self) {
        let has = |name: &str| (self.has_tensor)(name);
        if has("token_embd.weight") || has("output.weight") {
            let is_tied = !has("output.weight");
            self.config.insert("tie_word_embeddings".to_owned(), is_tied.into());
            self.origins.insert("tie_word_embeddings".to_owned(), "output.weight".to_owned());
        }
        let layers = self.whole("block_count").unwrap_or(0).min(MAX_LAYERS);
        let any = |part: &str| (0..layers).any(|layer| (self.has_tensor)(&format!("blk.{layer}.{part}")));
        let model_type = self.family.map_or("", |family| family.model_type);
        let mut found = Vec::new();
        if any("attn_q.weight") || any("attn_q_a.weight") {
            found.push(("attention_bias", any("attn_q.bias") || any("attn_q_a.bias"), "blk.0.attn_q.bias"));
        }
        if matches!(model_type, "llama" | "mistral" | "granite" | "smollm3" | "nemotron_h") {
            found.push(("mlp_bias", any("ffn_up.bias"), "blk.0.ffn_up.bias"));
        }
        if any("ssm_conv1d.weight") {
            found.push(("use_conv_bias", any("ssm_conv1d.bias"), "blk.0.ssm_conv1d.bias"));
            let member = if model_type.starts_with("mamba") { "use_bias" } else { "mamba_proj_bias" };
            found.push((member, any("ssm_in.bias"), "blk.0.ssm_in.bias"));
        }
        for (member, value, tensor) in found {
            self.config.insert(member.to_owned(), value.into());
            self.origins.insert(member.to_owned(), tensor.to_owned());
        }
        let has = |name: &str| (self.has_tensor)(name);
        let (divides, chooses) = (has("rope_freqs.weight"), has("rope_factors_long.weight"));
        if divides {
            self.note("rope_freqs.weight divides the frequencies of positions, which config.json does not say");
        }
        if chooses {
            self.note(
                "rope_factors_long.weight and rope_factors_short.weight divide the frequencies of positions, which config.json does \
                 not say",
            );
        }
    }

    /// Behaviour of llama.cpp where no key states it.
    fn family_rules(&mut self, family: &Family) {
        match family.model_type {
            "qwen3_moe" | "qwen3_next" => {
                self.default("decoder_sparse_step", 1);
                self.open("norm_topk_prob", true, "llama.cpp divides the scores of the chosen experts by their sum");
            }
            "qwen2_moe" => {
                self.default("decoder_sparse_step", 1);
                self.open(
                    "norm_topk_prob",
                    false,
                    "llama.cpp does not divide the scores of the chosen experts by their sum",
                );
            }
            "gemma2" | "gemma3_text" => self.gemma(family.model_type == "gemma2"),
            "deepseek_v2" => {
                self.default("topk_method", "greedy");
                self.default("norm_topk_prob", false);
                self.default("scoring_func", "softmax");
                self.default("moe_layer_freq", 1);
            }
            "deepseek_v3" => {
                self.default("topk_method", "noaux_tc");
                self.default("n_group", 1);
                self.default("topk_group", 1);
                self.default("moe_layer_freq", 1);
                self.default("rope_interleave", true);
            }
            "gpt_oss" => {
                if let Some(size) = self.config.get("moe_intermediate_size").cloned() {
                    self.set("intermediate_size", size, "expert_feed_forward_length");
                }
                self.config.remove("moe_intermediate_size");
                self.default("swiglu_limit", Number::from_f64(7.0).expect("it is finite"));
            }
            "nemotron_h" => {
                self.config.remove("rms_norm_eps");
                if self.config.contains_key("n_group") {
                    self.default("topk_group", 1);
                }
            }
            "cohere2" => self.default("sliding_window_pattern", 4),
            _ => {}
        }
    }

    fn gemma(&mut self, is_second: bool) {
        let number = |reading: &Self, member: &str| reading.config.get(member).and_then(Value::as_u64);
        // llama.cpp knows the 27B model, whose scale differs, by its number of layers.
        let is_large = number(self, "num_hidden_layers") == Some(if is_second { 46 } else { 62 });
        let (hidden, heads) = (number(self, "hidden_size"), number(self, "num_attention_heads"));
        let per_head = hidden.zip(heads.filter(|heads| *heads > 0)).map(|(hidden, heads)| hidden / heads);
        let scalar = if is_large { per_head } else { number(self, "head_dim").or(per_head) };
        if let Some(scalar) = scalar {
            self.open(
                "query_pre_attn_scalar",
                scalar,
                "llama.cpp takes the size of a head, or the hidden size over the heads for 27B",
            );
        }
        if is_second {
            self.default("attn_logit_softcapping", 50);
            self.default("final_logit_softcapping", 30);
            self.default("sliding_window", 4096);
            return;
        }
        self.float("rope_local_base_freq", "rope.freq_base_swa");
        if self.config.contains_key("sliding_window") {
            self.open("rope_local_base_freq", 10_000, "llama.cpp takes 10000 for layers of local attention");
        }
    }

    /// Sets a member that no key gave, and notes what was taken.
    fn open(&mut self, member: &str, value: impl Into<Value>, does: &str) {
        if !self.config.contains_key(member) {
            let value = value.into();
            self.note(&format!("no key says {member}: it is {value}, since {does}"));
            self.config.insert(member.to_owned(), value);
        }
    }

    fn finish(self) -> GgufConfig {
        let mut model = ModelConfig::from_object(&self.config, Architectures::known());
        model.rename_sources(&self.origins);
        model.of_gguf(&self.architecture);
        let Facts { rope, .. } = &mut model.facts;
        if let (Some(rope), Some(dims)) =
            (rope.as_mut(), (self.key)(&format!("{}.rope.dimension_count", self.architecture)))
            && self.config.get("kv_lora_rank").is_none()
        {
            rope.dims = dims.as_u64();
        }
        let document = self.family.map(|_| self.config);
        let mut notes = self.notes;
        if document.is_none() {
            notes.clear();
        }
        GgufConfig { model, document, notes }
    }
}
