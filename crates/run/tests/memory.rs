//! Private memory of a process that runs a stored model: its weights stay in the file. The test has a process of its own.
#![cfg(target_os = "linux")]

use std::{collections::BTreeMap, fs};

use longshore_run::{
    LoadOptions, Model,
    manifest::{
        st_format::{Dtype, Layout, Shape},
        weights::Source,
    },
};
use serde_json::json;

const HIDDEN: usize = 512;
const INNER: usize = 2048;
const VOCABULARY: usize = 4096;
const LAYERS: usize = 8;
const TOKENS: usize = 256;

/// Bytes of this process that no file backs.
fn private() -> usize {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux has it");
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("Linux states it");
    line.trim().trim_end_matches("kB").trim().parse::<usize>().expect("it is a number") * 1024
}

/// Writes a model of 15 MiB in MLX's layout: 4 bits, groups of 64.
fn write(folder: &std::path::Path) {
    let mut tensors: BTreeMap<String, (Dtype, Vec<u64>)> = BTreeMap::new();
    let mut matrix = |name: &str, rows: usize, columns: usize| {
        let (rows, columns) = (rows as u64, columns as u64);
        tensors.insert(format!("{name}.weight"), (Dtype::U32, vec![rows, columns / 8]));
        tensors.insert(format!("{name}.scales"), (Dtype::BF16, vec![rows, columns / 64]));
        tensors.insert(format!("{name}.biases"), (Dtype::BF16, vec![rows, columns / 64]));
    };
    matrix("model.embed_tokens", VOCABULARY, HIDDEN);
    for layer in 0..LAYERS {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        for part in ["q", "k", "v", "o"] {
            matrix(&name(&format!("self_attn.{part}_proj")), HIDDEN, HIDDEN);
        }
        matrix(&name("mlp.gate_proj"), INNER, HIDDEN);
        matrix(&name("mlp.up_proj"), INNER, HIDDEN);
        matrix(&name("mlp.down_proj"), HIDDEN, INNER);
    }
    for layer in 0..LAYERS {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            tensors.insert(format!("model.layers.{layer}.{norm}.weight"), (Dtype::BF16, vec![HIDDEN as u64]));
        }
    }
    tensors.insert("model.norm.weight".into(), (Dtype::BF16, vec![HIDDEN as u64]));
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": VOCABULARY,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "quantization": {"group_size": 64, "bits": 4}
    });
    fs::write(folder.join("config.json"), config.to_string()).expect("there is room");
    let parts = tensors.iter().map(|(name, (dtype, shape))| (name.as_str(), *dtype, Shape::from(shape.clone())));
    let layout = Layout::new(&BTreeMap::default(), parts).expect("the shapes are small");
    let mut bytes = layout.header().to_vec();
    bytes.resize(usize::try_from(layout.file_len()).expect("it is small"), 0);
    for part in layout.parts() {
        let range = usize::try_from(part.range.start).expect("it is small")
            ..usize::try_from(part.range.end).expect("it is small");
        let fill: &[u8] = match part.dtype {
            Dtype::U32 => &[0x37, 0x9A, 0xC1, 0x58],
            // 0.01, less 0.075 below, and norms of 1.
            _ if part.name.ends_with("scales") => &[0x24, 0x3C],
            _ if part.name.ends_with("biases") => &[0x9A, 0xBD],
            _ => &[0x80, 0x3F],
        };
        bytes[range].iter_mut().zip(fill.iter().cycle()).for_each(|(byte, fill)| *byte = *fill);
    }
    fs::write(folder.join("model.safetensors"), bytes).expect("there is room");
}

#[test]
fn weights_take_no_private_memory() {
    let folder = tempfile::tempdir().expect("there is room");
    write(folder.path());
    let options = LoadOptions { threads: Some(1), batch: 64, ..LoadOptions::default() };
    let before = private();
    let model = Model::open(Source::open(folder.path()).expect("it is a checkpoint"), options).expect("it can be run");
    let mut session = model.session();
    let tokens: Vec<u32> = (0..u32::try_from(TOKENS).expect("it is small")).collect();
    session.extend(&tokens).expect("the tokens are fine");
    let used = private().saturating_sub(before);
    let cache = TOKENS * model.cache_bytes_per_token();
    // Streams, queries, keys and values, and both inner rows, of 64 tokens; logits of one.
    let activations = 4 * (64 * (3 * HIDDEN + 4 * HIDDEN + 2 * INNER) + VOCABULARY);
    let others = 2 << 20;
    let expected = cache + activations + others;
    let weights = usize::try_from(model.weight_bytes()).expect("it is small");
    assert!(weights > 14 << 20, "{weights}");
    assert!(used * 100 < expected * 115, "{used} bytes are private, expected at most 1.15 × {expected}");
}
