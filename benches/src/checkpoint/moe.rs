//! The names and shapes of a Qwen 3 with experts.

use super::{Checkpoint, Tensor, bf16, bytes_of, fitting};

#[derive(Clone, Copy)]
struct Size {
    width: u64,
    experts: u64,
    /// Width of the feed-forward block of one expert.
    inner: u64,
}

/// Model sizes, largest first. The first is Qwen 3 30B A3B.
const SIZES: [Size; 3] = [
    Size { width: 2048, experts: 128, inner: 768 },
    Size { width: 1024, experts: 64, inner: 384 },
    Size { width: 512, experts: 32, inner: 192 },
];
const VOCABULARY: u64 = 32_768;
const HEAD: u64 = 128;

pub(super) fn checkpoint(bytes: u64) -> Checkpoint {
    let (size, layers) = fitting(&SIZES, bytes, |size| (bytes_of(&ends(size)), bytes_of(&layer(size, 0))));
    let shards = (0..layers).map(|at| layer(size, at)).chain([ends(size)]).collect();
    Checkpoint { shards, config: config(size, layers) }
}

fn ends(size: Size) -> Vec<Tensor> {
    vec![
        bf16("model.embed_tokens.weight".into(), &[VOCABULARY, size.width]),
        bf16("lm_head.weight".into(), &[VOCABULARY, size.width]),
        bf16("model.norm.weight".into(), &[size.width]),
    ]
}

fn layer(size: Size, at: u64) -> Vec<Tensor> {
    let Size { width, experts, inner } = size;
    let tensor = |name: &str, dims: &[u64]| bf16(format!("model.layers.{at}.{name}.weight"), dims);
    let mut tensors = vec![
        tensor("input_layernorm", &[width]),
        tensor("mlp.gate", &[experts, width]),
        tensor("post_attention_layernorm", &[width]),
        tensor("self_attn.k_norm", &[HEAD]),
        tensor("self_attn.k_proj", &[width / 4, width]),
        tensor("self_attn.o_proj", &[width, width]),
        tensor("self_attn.q_norm", &[HEAD]),
        tensor("self_attn.q_proj", &[width, width]),
        tensor("self_attn.v_proj", &[width / 4, width]),
    ];
    for expert in 0..experts {
        tensors.push(tensor(&format!("mlp.experts.{expert}.down_proj"), &[width, inner]));
        tensors.push(tensor(&format!("mlp.experts.{expert}.gate_proj"), &[inner, width]));
        tensors.push(tensor(&format!("mlp.experts.{expert}.up_proj"), &[inner, width]));
    }
    tensors
}

fn config(size: Size, layers: u64) -> String {
    let Size { width, experts, inner } = size;
    let heads = width / HEAD;
    let keys = heads / 4;
    format!(
        r#"{{
  "architectures": ["Qwen3MoeForCausalLM"],
  "model_type": "qwen3_moe",
  "hidden_size": {width},
  "intermediate_size": {inner},
  "moe_intermediate_size": {inner},
  "num_experts": {experts},
  "num_experts_per_tok": 8,
  "decoder_sparse_step": 1,
  "mlp_only_layers": [],
  "norm_topk_prob": true,
  "head_dim": {HEAD},
  "num_attention_heads": {heads},
  "num_key_value_heads": {keys},
  "num_hidden_layers": {layers},
  "vocab_size": {VOCABULARY},
  "max_position_embeddings": 8192,
  "rms_norm_eps": 1e-06,
  "rope_theta": 1000000.0,
  "tie_word_embeddings": false
}}
"#
    )
}
