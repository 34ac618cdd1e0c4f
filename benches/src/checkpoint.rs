//! Synthetic checkpoints with the names and shapes of real ones.

use std::{collections::BTreeMap, fs, io, path::Path};

use longshore_st_format::{Dtype, Shape, fixtures};

/// The tensors of a layer of a 4096-wide Llama, in elements.
const LAYER: [(&str, &[u64]); 9] = [
    ("input_layernorm.weight", &[4096]),
    ("mlp.down_proj.weight", &[4096, 14336]),
    ("mlp.gate_proj.weight", &[14336, 4096]),
    ("mlp.up_proj.weight", &[14336, 4096]),
    ("post_attention_layernorm.weight", &[4096]),
    ("self_attn.k_proj.weight", &[1024, 4096]),
    ("self_attn.o_proj.weight", &[4096, 4096]),
    ("self_attn.q_proj.weight", &[4096, 4096]),
    ("self_attn.v_proj.weight", &[1024, 4096]),
];

/// Writes a BF16 checkpoint with the tensors of a Llama 3 8B and as many layers as make about `bytes`, a few layers to a
/// file. Values are deterministic and roughly Gaussian. Returns the bytes of all tensors.
///
/// # Errors
///
/// Whatever writing the files answers.
pub fn llama(dir: &Path, bytes: u64) -> io::Result<u64> {
    fs::create_dir_all(dir)?;
    let vocabulary = 32_768;
    let ends = [("model.embed_tokens.weight", [vocabulary, 4096]), ("lm_head.weight", [vocabulary, 4096])];
    let layer_bytes: u64 = LAYER.iter().map(|(_, dims)| 2 * dims.iter().product::<u64>()).sum();
    let end_bytes = 2 * 2 * vocabulary * 4096;
    let layers = bytes.saturating_sub(end_bytes) / layer_bytes;
    let mut shards: Vec<Vec<(String, Dtype, Shape)>> = Vec::new();
    let name = |(name, dims): (&str, &[u64]), at| (format!("model.layers.{at}.{name}"), Dtype::BF16, Shape::new(dims));
    for first in (0..layers).step_by(4) {
        let layers = first..layers.min(first + 4);
        shards.push(layers.flat_map(|at| LAYER.into_iter().map(move |tensor| name(tensor, at))).collect());
    }
    shards.push(ends.map(|(name, dims)| (name.to_owned(), Dtype::BF16, Shape::new(dims))).into());
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    for (at, tensors) in shards.iter().enumerate() {
        let path = dir.join(format!("model-{:05}-of-{:05}.safetensors", at + 1, shards.len()));
        fixtures::write_file(path, &metadata, tensors)?;
    }
    fs::write(
        dir.join("config.json"),
        format!("{{\"architectures\":[\"LlamaForCausalLM\"],\"num_hidden_layers\":{layers},\"hidden_size\":4096}}\n"),
    )?;
    Ok(layers * layer_bytes + end_bytes)
}

/// Writes a checkpoint of so many small BF16 tensors, each of which becomes a blob. Returns the bytes of all tensors.
///
/// # Errors
///
/// Whatever writing the files answers.
pub fn small_tensors(dir: &Path, count: usize, elements: u64) -> io::Result<u64> {
    fs::create_dir_all(dir)?;
    let tensor = |at| (format!("model.layers.{at}.proj.weight"), Dtype::BF16, Shape::new([elements / 64, 64]));
    let tensors: Vec<_> = (0..count).map(tensor).collect();
    fixtures::write_file(dir.join("model.safetensors"), &BTreeMap::new(), &tensors)?;
    fs::write(dir.join("config.json"), "{\"architectures\":[\"LlamaForCausalLM\"]}\n")?;
    Ok(tensors.iter().filter_map(|(_, dtype, shape)| shape.byte_len(*dtype).ok()).sum())
}
