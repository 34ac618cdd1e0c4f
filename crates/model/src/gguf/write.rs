//! Keys of GGUF metadata, made of facts.

use serde_json::Number;

use super::{families::Family, value::GgufValue};
use crate::facts::Facts;

/// Why a configuration has no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// The family is not known in GGUF.
    #[error("the architecture {name:?} has no known keys in GGUF")]
    Family {
        /// Class or `model_type`.
        name: String,
    },
    /// A fact that llama.cpp needs is not known.
    #[error("{key} needs a fact that the configuration of {name:?} does not state, or a number beyond its type")]
    Missing {
        /// Class or `model_type`.
        name: String,
        /// The key.
        key: String,
    },
}

/// Keys of a model's configuration, `general.architecture` first, with the types that llama.cpp reads: integers as `u32`,
/// other numbers as `f32`.
///
/// ```
/// use longshore_model::{GgufValue, ModelConfig, keys_of};
///
/// let config = ModelConfig::parse(
///     br#"{"architectures": ["Qwen3ForCausalLM"], "num_hidden_layers": 28, "hidden_size": 1024, "intermediate_size": 3072,
///         "max_position_embeddings": 40960, "num_attention_heads": 16, "num_key_value_heads": 8, "rms_norm_eps": 1e-6}"#,
/// )?;
/// let keys = keys_of(&config.facts())?;
/// assert_eq!(keys[0], ("general.architecture".to_owned(), GgufValue::Text("qwen3".to_owned())));
/// assert!(keys.contains(&("qwen3.block_count".to_owned(), GgufValue::U32(28))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`KeysError::Family`] for a family that is not known in GGUF, or [`KeysError::Missing`] if a fact is not known that
/// llama.cpp needs.
pub fn keys_of(facts: &Facts) -> Result<Vec<(String, GgufValue)>, KeysError> {
    let name = facts.architecture.clone().or_else(|| facts.model_type.clone()).unwrap_or_default();
    let by_type = facts.model_type.as_deref().and_then(Family::of_model_type);
    let family = by_type.or_else(|| Family::of_class(&name)).or_else(|| Family::of_gguf(&name));
    // Encoders need facts that are not kept.
    let Some(family) = family.filter(|family| family.model_type != "bert") else {
        return Err(KeysError::Family { name });
    };
    let has_experts = facts.experts.is_some_and(|experts| experts > 0);
    let prefix = match family.gguf {
        "nemotron_h" if has_experts => "nemotron_h_moe",
        other => other,
    };
    let mut keys = Keys { facts, name, prefix, model_type: family.model_type, pairs: Vec::new(), missing: None };
    keys.pairs.push(("general.architecture".to_owned(), GgufValue::Text(prefix.to_owned())));
    keys.sizes();
    keys.attention();
    keys.layers();
    keys.rope();
    if has_experts {
        keys.experts();
    }
    keys.state_space();
    keys.factors();
    match keys.missing {
        None => Ok(keys.pairs),
        Some(key) => Err(KeysError::Missing { name: keys.name, key }),
    }
}

struct Keys<'f> {
    facts: &'f Facts,
    name: String,
    /// Architecture in GGUF, which keys begin with.
    prefix: &'static str,
    model_type: &'static str,
    pairs: Vec<(String, GgufValue)>,
    /// The first key that is needed and has no value.
    missing: Option<String>,
}

impl Keys<'_> {
    fn sizes(&mut self) {
        let facts = self.facts;
        self.needed("block_count", facts.layers);
        self.needed("context_length", facts.context_length.or(self.is_mamba().then_some(1 << 20)));
        self.needed("embedding_length", facts.hidden_size);
        let (layers, kinds) = (facts.layers.unwrap_or(0), &facts.layer_types);
        if self.model_type == "nemotron_h" && !kinds.is_empty() {
            let inner = kinds.iter().map(|kind| match kind.as_str() {
                "mlp" => facts.intermediate_size,
                "moe" => facts.expert_intermediate_size,
                _ => Some(0),
            });
            self.list("feed_forward_length", inner.collect());
        } else if !facts.per_layer.intermediate_size.is_empty() {
            self.list("feed_forward_length", facts.per_layer.intermediate_size.iter().copied().map(Some).collect());
        } else if self.is_mamba() {
            self.needed("feed_forward_length", Some(0));
        } else {
            self.needed("feed_forward_length", facts.intermediate_size.or(facts.expert_intermediate_size));
        }
        if facts.draft_layers.is_some_and(|draft| draft > 0) && layers > 0 && self.model_type.starts_with("glm") {
            self.number("nextn_predict_layers", facts.draft_layers);
        }
        // What llama.cpp takes from the tokenizer elsewhere.
        if matches!(self.prefix, "llama" | "mistral3" | "deepseek2" | "granite" | "granitemoe" | "granitehybrid")
            || self.prefix.starts_with("nemotron_h")
            || self.is_mamba()
        {
            self.number("vocab_size", facts.vocabulary);
        }
    }

    fn attention(&mut self) {
        let facts = self.facts;
        if self.is_mamba() {
            self.needed("attention.head_count", Some(0));
            return;
        }
        let own = &facts.per_layer;
        if own.heads.is_empty() {
            self.needed("attention.head_count", facts.heads);
        } else {
            self.list("attention.head_count", own.heads.iter().copied().map(Some).collect());
        }
        let kv_heads = facts.kv_heads.or(facts.heads);
        let attends = |kind: &String| matches!(kind.as_str(), "attention" | "full_attention");
        if facts.attention.latent.is_some() {
            self.latent();
            return;
        }
        if matches!(self.model_type, "nemotron_h" | "granitemoehybrid") && !facts.layer_types.is_empty() {
            let of_layer = facts.layer_types.iter().map(|kind| if attends(kind) { kv_heads } else { Some(0) });
            self.list("attention.head_count_kv", of_layer.collect());
        } else if own.kv_heads.is_empty() {
            self.needed("attention.head_count_kv", kv_heads);
        } else {
            self.list("attention.head_count_kv", own.kv_heads.iter().copied().map(Some).collect());
        }
        self.number("attention.key_length", facts.head_dim);
        self.number("attention.value_length", facts.head_dim);
        // llama.cpp has no local attention in the families that are left out.
        if !matches!(self.prefix, "llama" | "qwen2" | "qwen2moe" | "qwen3" | "qwen3moe") && self.prefix != "starcoder2"
        {
            self.number("attention.sliding_window", facts.attention.window);
        } else {
            let all_slide = facts.layer_types.iter().all(|kind| kind == "sliding_attention");
            if facts.attention.window.is_some() && !facts.layer_types.is_empty() && !all_slide {
                self.number("attention.sliding_window", facts.attention.window);
            }
        }
    }

    /// Layers that attend to all tokens, where they are not those that llama.cpp takes.
    fn layers(&mut self) {
        let kinds = &self.facts.layer_types;
        let every = match self.model_type {
            "gemma2" | "gpt_oss" => 2,
            "cohere2" | "qwen3_next" => 4,
            "gemma3_text" => 6,
            _ => return,
        };
        let is_full = |kind: &String| kind == "full_attention";
        let is_usual =
            |every: usize| (1..).zip(kinds).all(|(at, kind): (usize, _)| is_full(kind) == at.is_multiple_of(every));
        if is_usual(every) {
            return;
        }
        if self.model_type == "qwen3_next" {
            let interval = (1..=kinds.len()).find(|every| is_usual(*every));
            self.needed("full_attention_interval", interval.map(|interval| interval as u64));
        } else {
            let slides = kinds.iter().map(|kind| !is_full(kind)).collect();
            self.put("attention.sliding_window_pattern", GgufValue::Flags(slides));
        }
    }

    /// Compressed keys and values are those of one head.
    fn latent(&mut self) {
        let Some(latent) = &self.facts.attention.latent else { return };
        let sum = |first: Option<u64>, second: Option<u64>| first?.checked_add(second?);
        self.needed("attention.head_count_kv", Some(1));
        self.number("attention.q_lora_rank", latent.q_rank);
        self.needed("attention.kv_lora_rank", latent.kv_rank);
        self.needed("attention.key_length", sum(latent.kv_rank, latent.rope_head_dim));
        self.needed("attention.value_length", latent.kv_rank);
        self.needed("attention.key_length_mla", sum(latent.nope_head_dim, latent.rope_head_dim));
        self.needed("attention.value_length_mla", latent.value_head_dim);
    }

    fn rope(&mut self) {
        let facts = self.facts;
        let Some(rope) = &facts.rope else { return };
        self.float("rope.freq_base", rope.theta.as_ref());
        self.float("rope.freq_base_swa", rope.local_theta.as_ref());
        let part = rope.partial.as_ref().and_then(Number::as_f64);
        let rotated = facts.head_dim.or_else(|| facts.hidden_size?.checked_div(facts.heads?));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of a small number"
        )]
        let rotated = rotated.map(|size| part.map_or(size, |part| (size as f64 * part) as u64));
        if let Some(latent) = &facts.attention.latent {
            self.needed("rope.dimension_count", latent.rope_head_dim);
        } else if matches!(
            self.prefix,
            "llama" | "mistral3" | "phi3" | "granite" | "granitemoe" | "starcoder2" | "command-r" | "cohere2"
        ) || part.is_some()
        {
            self.number("rope.dimension_count", rope.dims.or(rotated));
        }
        // The frequencies of these kinds are a tensor.
        let Some(kind) = rope.kind.as_deref().filter(|kind| !matches!(*kind, "llama3" | "longrope" | "mrope")) else {
            self.number("rope.scaling.original_context_length", rope.original_context);
            if rope.kind.as_deref() == Some("longrope") {
                self.long_rope();
            }
            return;
        };
        self.put("rope.scaling.type", GgufValue::Text(kind.to_owned()));
        self.float("rope.scaling.factor", rope.factor.as_ref());
        self.number("rope.scaling.original_context_length", rope.original_context);
        if kind == "yarn" {
            self.float("rope.scaling.yarn_beta_fast", rope.beta_fast.as_ref());
            self.float("rope.scaling.yarn_beta_slow", rope.beta_slow.as_ref());
            self.float("rope.scaling.yarn_attn_factor", rope.attention_factor.as_ref());
            let weight = rope.mscale_all_dim.as_ref().and_then(Number::as_f64);
            // llama.cpp reads a tenth of the weight.
            let tenth = weight.and_then(|weight| Number::from_f64(weight * 0.1));
            self.float("rope.scaling.yarn_log_multiplier", tenth.as_ref());
        }
    }

    /// The factor of sines and cosines, which follows from both lengths of the context where it is not stated.
    fn long_rope(&mut self) {
        let Some(rope) = &self.facts.rope else { return };
        if rope.attention_factor.is_some() {
            self.float("rope.scaling.attn_factor", rope.attention_factor.as_ref());
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "lengths of contexts are small")]
        let lengths =
            self.facts.context_length.zip(rope.original_context).map(|(long, short)| (long as f64, short as f64));
        let Some((long, short)) = lengths.filter(|(long, short)| *short > 1.0 && long > short) else { return };
        let factor = (1.0 + (long / short).ln() / short.ln()).sqrt();
        self.float("rope.scaling.attn_factor", Number::from_f64(factor).as_ref());
    }

    fn experts(&mut self) {
        let facts = self.facts;
        self.number("expert_count", facts.experts);
        self.needed("expert_used_count", facts.experts_per_token);
        // gpt-oss has no other feed-forward blocks, and one size for both.
        let size = facts.expert_intermediate_size.or(facts.intermediate_size.filter(|_| self.prefix == "gpt-oss"));
        self.number("expert_feed_forward_length", size);
        self.number("expert_shared_count", facts.shared_experts.filter(|count| *count > 0));
        if self.prefix == "deepseek2" {
            let dense = facts.dense_layers.as_ref().map(|layers| layers.len() as u64);
            self.number("leading_dense_block_count", dense);
        }
        let Some(router) = &facts.router else { return };
        self.number("expert_shared_feed_forward_length", router.shared_intermediate_size);
        let states_more = self.prefix == "deepseek2" || self.prefix.starts_with("nemotron_h");
        if !states_more {
            return;
        }
        self.float("expert_weights_scale", router.scaling.as_ref());
        if let Some(normalises) = router.normalises {
            self.put("expert_weights_norm", GgufValue::Bool(normalises));
        }
        self.number("expert_group_count", router.groups.filter(|_| self.prefix != "deepseek2"));
        self.number("moe_latent_size", router.latent_size);
        if self.prefix == "deepseek2" {
            let function = match router.scoring.as_deref() {
                Some("softmax") => Some(1),
                Some("sigmoid") => Some(2),
                _ => None,
            };
            self.number("expert_gating_func", function);
        }
    }

    fn state_space(&mut self) {
        if let Some(linear) = &self.facts.linear_attention {
            self.needed("ssm.conv_kernel", linear.conv_width);
            self.needed("ssm.state_size", linear.key_head_dim);
            self.needed("ssm.group_count", linear.key_heads);
            self.needed("ssm.time_step_rank", linear.value_heads);
            let inner = linear.value_heads.zip(linear.value_head_dim).and_then(|(heads, size)| heads.checked_mul(size));
            self.needed("ssm.inner_size", inner);
            return;
        }
        let Some(state) = &self.facts.state_space else { return };
        let expanded = || {
            let expand = state.expand.as_ref()?.as_u64()?;
            self.facts.hidden_size?.checked_mul(expand)
        };
        let of_heads = state.heads.zip(state.head_dim).and_then(|(heads, size)| heads.checked_mul(size));
        let inner = state.inner_size.or(of_heads).or_else(expanded);
        let is_first = self.model_type == "mamba";
        let (conv_width, state_size) = (state.conv_width, state.state_size);
        let rank = if is_first { state.step_rank } else { state.heads };
        let groups = state.groups;
        self.needed("ssm.conv_kernel", conv_width);
        self.needed("ssm.state_size", state_size);
        if !is_first {
            self.needed("ssm.group_count", groups);
        }
        self.needed("ssm.inner_size", inner);
        self.needed("ssm.time_step_rank", rank);
    }

    fn factors(&mut self) {
        let facts = self.facts;
        let eps = facts.norm.eps.as_ref();
        let is_layer_norm = facts.norm.kind.as_deref() == Some("layer");
        if !is_layer_norm {
            self.float("attention.layer_norm_rms_epsilon", eps);
        }
        if is_layer_norm || self.prefix.starts_with("nemotron_h") {
            self.float("attention.layer_norm_epsilon", eps);
        }
        self.float("attn_logit_softcapping", facts.attention.soft_cap.as_ref());
        self.float("final_logit_softcapping", facts.logit_soft_cap.as_ref());
        let multipliers = &facts.multipliers;
        self.float("embedding_scale", multipliers.embedding.as_ref());
        self.float("residual_scale", multipliers.residual.as_ref());
        self.float("attention.scale", multipliers.attention.as_ref());
        self.float("logit_scale", multipliers.logits_divisor.as_ref().or(multipliers.logits.as_ref()));
    }

    fn is_mamba(&self) -> bool {
        self.model_type.starts_with("mamba")
    }

    fn put(&mut self, key: &str, value: GgufValue) {
        self.pairs.push((format!("{}.{key}", self.prefix), value));
    }

    fn lacks(&mut self, key: &str) {
        self.missing.get_or_insert_with(|| format!("{}.{key}", self.prefix));
    }

    fn number(&mut self, key: &str, number: Option<u64>) {
        match number.map(u32::try_from) {
            None => {}
            Some(Ok(number)) => self.put(key, GgufValue::U32(number)),
            Some(Err(_)) => self.lacks(key),
        }
    }

    fn needed(&mut self, key: &str, number: Option<u64>) {
        match number {
            None => self.lacks(key),
            Some(_) => self.number(key, number),
        }
    }

    fn list(&mut self, key: &str, numbers: Vec<Option<u64>>) {
        let numbers: Option<Vec<i32>> = numbers.into_iter().map(|number| i32::try_from(number?).ok()).collect();
        match numbers {
            Some(numbers) => self.put(key, GgufValue::Numbers(numbers)),
            None => self.lacks(key),
        }
    }

    fn float(&mut self, key: &str, number: Option<&Number>) {
        #[expect(clippy::cast_possible_truncation, reason = "GGUF has floats of 32 bits here")]
        if let Some(number) = number.and_then(Number::as_f64) {
            self.put(key, GgufValue::F32(number as f32));
        }
    }
}
