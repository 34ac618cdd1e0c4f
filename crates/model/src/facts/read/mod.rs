//! Reading of facts that families state alike, under the names of `config/keys.rs`.

mod attention;
mod encoders;
mod experts;
pub(crate) mod layers;
mod rope;

use serde_json::Value;

use super::Facts;
use crate::config::{keys, reader::ConfigReader};

/// Reads every fact that a member states. What a family leaves unsaid stays unknown.
pub(crate) fn read(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    sizes(reader, facts);
    layers::read(reader, facts);
    facts.rope = rope::read(reader);
    attention::read(reader, facts);
    experts::read(reader, facts);
    norm(reader, facts);
    multipliers(reader, facts);
    tokens(reader, facts);
    encoders::read(reader, facts);
}

fn sizes(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    facts.decoder_layers = reader.number("decoder_layers", keys::DECODER_LAYERS);
    facts.draft_layers = reader.number("draft_layers", keys::DRAFT_LAYERS);
    facts.hidden_size = reader.number("hidden_size", keys::HIDDEN);
    facts.intermediate_size = reader.number("intermediate_size", keys::INTERMEDIATE);
    facts.heads = reader.number("heads", keys::HEADS);
    facts.kv_heads = reader.number("kv_heads", keys::KV_HEADS);
    facts.head_dim = reader.number("head_dim", keys::HEAD_DIM);
    facts.context_length = reader.number("context_length", keys::CONTEXT);
    facts.vocabulary = reader.number("vocabulary", keys::VOCAB);
    facts.tied_embeddings = reader.flag("tied_embeddings", &["tie_word_embeddings"]);
    facts.activation = reader.text("activation", keys::ACTIVATION);
    facts.activation_limit = reader.exact("activation_limit", &["swiglu_limit"]);
    facts.mlp_bias = reader.flag("mlp_bias", &["mlp_bias", "use_mlp_bias", "add_bias_linear"]);
    facts.logit_soft_cap = reader.exact("logit_soft_cap", &["final_logit_softcapping", "final_logit_softcap"]);
    facts.chat_template = reader.text("chat_template", &["chat_template"]);
}

fn norm(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    for (kind, members) in [(Some("rms"), keys::RMS_EPS), (Some("layer"), keys::LAYER_EPS), (None, keys::NORM_EPS)] {
        facts.norm.eps = reader.exact("norm.eps", members);
        if facts.norm.eps.is_some() {
            facts.norm.kind = kind.map(str::to_owned);
            break;
        }
    }
    if reader.flag("norm.kind", &["rmsnorm", "use_rmsnorm", "use_rms_norm"]) == Some(true) {
        facts.norm.kind = Some("rms".to_owned());
    }
}

fn multipliers(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    let multipliers = &mut facts.multipliers;
    multipliers.embedding = reader.exact("multipliers.embedding", &["embedding_multiplier", "scale_emb"]);
    multipliers.residual = reader.exact("multipliers.residual", &["residual_multiplier"]);
    multipliers.attention = reader.exact("multipliers.attention", &["attention_multiplier"]);
    multipliers.logits_divisor = reader.exact("multipliers.logits_divisor", &["logits_scaling"]);
    multipliers.logits = reader.exact("multipliers.logits", &["logit_scale", "lm_head_multiplier"]);
}

/// The end of an answer may be one token or several.
fn tokens(reader: &mut ConfigReader<'_>, facts: &mut Facts) {
    facts.tokens.bos = reader.number("tokens.bos", &["bos_token_id"]);
    facts.tokens.pad = reader.number("tokens.pad", &["pad_token_id"]);
    facts.tokens.eos = reader.find("tokens.eos", &["eos_token_id"], ids).unwrap_or_default();
}

pub(crate) fn ids(value: &Value) -> Option<Vec<u64>> {
    match value {
        Value::Array(several) => {
            let ids: Vec<u64> = several.iter().filter_map(Value::as_u64).collect();
            (!ids.is_empty()).then_some(ids)
        }
        one => Some(vec![one.as_u64()?]),
    }
}
