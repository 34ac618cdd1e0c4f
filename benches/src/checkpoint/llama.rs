//! The names and shapes of a Llama.

use super::{Checkpoint, Tensor, bf16, bytes_of, fitting};

/// Hidden sizes, largest first. A feed-forward block is 3.5 times as wide, and a head has 128 elements.
const WIDTHS: [u64; 3] = [4096, 2048, 1024];
const VOCABULARY: u64 = 32_768;
const LAYERS_IN_SHARD: usize = 4;

pub(super) fn checkpoint(bytes: u64) -> Checkpoint {
    let size = |width| (bytes_of(&ends(width)), bytes_of(&layer(width, 0)));
    let (width, layers) = fitting(&WIDTHS, bytes, size);
    let mut shards = Vec::new();
    for first in (0..layers).step_by(LAYERS_IN_SHARD) {
        shards.push((first..layers).take(LAYERS_IN_SHARD).flat_map(|at| layer(width, at)).collect());
    }
    shards.push(ends(width));
    Checkpoint { shards, config: config(width, layers) }
}

fn ends(width: u64) -> Vec<Tensor> {
    vec![
        bf16("model.embed_tokens.weight".into(), &[VOCABULARY, width]),
        bf16("lm_head.weight".into(), &[VOCABULARY, width]),
        bf16("model.norm.weight".into(), &[width]),
    ]
}

fn layer(width: u64, at: u64) -> Vec<Tensor> {
    let (inner, keys) = (width / 2 * 7, width / 4);
    let tensor = |name, dims: &[u64]| bf16(format!("model.layers.{at}.{name}.weight"), dims);
    vec![
        tensor("input_layernorm", &[width]),
        tensor("mlp.down_proj", &[width, inner]),
        tensor("mlp.gate_proj", &[inner, width]),
        tensor("mlp.up_proj", &[inner, width]),
        tensor("post_attention_layernorm", &[width]),
        tensor("self_attn.k_proj", &[keys, width]),
        tensor("self_attn.o_proj", &[width, width]),
        tensor("self_attn.q_proj", &[width, width]),
        tensor("self_attn.v_proj", &[keys, width]),
    ]
}

fn config(width: u64, layers: u64) -> String {
    let (inner, heads) = (width / 2 * 7, width / 128);
    let keys = heads / 4;
    format!(
        r#"{{
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "hidden_size": {width},
  "intermediate_size": {inner},
  "num_attention_heads": {heads},
  "num_key_value_heads": {keys},
  "num_hidden_layers": {layers},
  "vocab_size": {VOCABULARY},
  "max_position_embeddings": 8192,
  "rms_norm_eps": 1e-05,
  "rope_theta": 500000.0,
  "tie_word_embeddings": false
}}
"#
    )
}
