//! The names and shapes of a Llama.

use super::{Checkpoint, Tensor, bf16, bytes_of, fitting};

/// Hidden sizes, largest first.
const WIDTHS: [u64; 3] = [4096, 2048, 1024];
const LAYERS_IN_SHARD: usize = 4;

/// Sizes that the layers have in common.
#[derive(Clone, Copy)]
struct Sizes {
    width: u64,
    inner: u64,
    heads: u64,
    kv_heads: u64,
    vocabulary: u64,
    /// Whether the head is the embedding.
    tied: bool,
}

impl Sizes {
    /// Those of Llama 3 8B, at another width: heads of 128 elements, a feed-forward block 3.5 times as wide.
    fn like_8b(width: u64) -> Self {
        let heads = width / 128;
        Self { width, inner: width / 2 * 7, heads, kv_heads: heads / 4, vocabulary: 32_768, tied: false }
    }
}

pub(super) fn checkpoint(bytes: u64) -> Checkpoint {
    let size = |width| {
        let sizes = Sizes::like_8b(width);
        (bytes_of(&ends(sizes)), bytes_of(&layer(sizes, 0)))
    };
    let (width, layers) = fitting(&WIDTHS, bytes, size);
    of(Sizes::like_8b(width), layers)
}

pub(super) fn one_billion() -> Checkpoint {
    of(Sizes { width: 2048, inner: 8192, heads: 32, kv_heads: 8, vocabulary: 32_000, tied: true }, 16)
}

fn of(sizes: Sizes, layers: u64) -> Checkpoint {
    let mut shards = Vec::new();
    for first in (0..layers).step_by(LAYERS_IN_SHARD) {
        shards.push((first..layers).take(LAYERS_IN_SHARD).flat_map(|at| layer(sizes, at)).collect());
    }
    shards.push(ends(sizes));
    Checkpoint { shards, config: config(sizes, layers) }
}

fn ends(Sizes { width, vocabulary, tied, .. }: Sizes) -> Vec<Tensor> {
    let mut ends = vec![bf16("model.embed_tokens.weight".into(), &[vocabulary, width])];
    if !tied {
        ends.push(bf16("lm_head.weight".into(), &[vocabulary, width]));
    }
    ends.push(bf16("model.norm.weight".into(), &[width]));
    ends
}

fn layer(Sizes { width, inner, heads, kv_heads, .. }: Sizes, at: u64) -> Vec<Tensor> {
    let keys = width / heads * kv_heads;
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

fn config(Sizes { width, inner, heads, kv_heads, vocabulary, tied }: Sizes, layers: u64) -> String {
    format!(
        r#"{{
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "hidden_size": {width},
  "intermediate_size": {inner},
  "num_attention_heads": {heads},
  "num_key_value_heads": {kv_heads},
  "num_hidden_layers": {layers},
  "vocab_size": {vocabulary},
  "max_position_embeddings": 8192,
  "rms_norm_eps": 1e-05,
  "rope_theta": 500000.0,
  "tie_word_embeddings": {tied}
}}
"#
    )
}
