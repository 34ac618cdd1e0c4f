//! A model that writes what a test wants: after each token, one other.
//!
//! It is a llama of one layer that does nothing: its embedding is the identity, and its head has a one where a token follows another.
//! Tokens are the 256 bytes, and then `<s>`, `</s>`, `<turn>` and `<reply>`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::support::Sandbox;

pub(crate) const BOS: u32 = 256;
pub(crate) const EOS: u32 = 257;
pub(crate) const TURN: u32 = 258;
pub(crate) const REPLY: u32 = 259;

/// Tokens of the model, and numbers of a token's vector.
const WIDTH: usize = 320;

/// A template whose prompts end with `<reply>`.
pub(crate) const TEMPLATE: &str = "{% for m in messages %}{% if m.content == 'refuse' %}{{ raise_exception('not that') }}{% endif %}<turn>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<reply>{% endif %}";

/// What to write, and what to write wrongly.
#[derive(Default)]
pub(crate) struct Automaton {
    /// Token after each.
    next: BTreeMap<u32, u32>,
    /// Token whose logits are NaN: the layer's numbers are after it.
    broken: Option<u32>,
    /// A tensor that is left out.
    without: Option<&'static str>,
    template: Option<&'static str>,
    vocabulary: Option<usize>,
    has_no_tokenizer: bool,
    /// Number of experts, and numbers of the vector inside each.
    experts: Option<(usize, usize)>,
    has_mtp: bool,
    config: Vec<(&'static str, Value)>,
}

impl Automaton {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// After the first of these tokens comes the second, and so on. The last is followed by `</s>`, unless something else is said.
    pub(crate) fn chain(mut self, tokens: impl IntoIterator<Item = u32>) -> Self {
        let tokens: Vec<u32> = tokens.into_iter().collect();
        for pair in tokens.windows(2) {
            self.next.insert(pair[0], pair[1]);
        }
        let last = *tokens.last().unwrap();
        self.next.entry(last).or_insert(EOS);
        self
    }

    /// A chain over the bytes of a text, all of which are different.
    pub(crate) fn text(self, text: impl AsRef<[u8]>) -> Self {
        self.chain(text.as_ref().iter().map(|byte| u32::from(*byte)))
    }

    pub(crate) fn template(self, template: &'static str) -> Self {
        Self { template: Some(template), ..self }
    }

    pub(crate) fn broken(self, token: u8) -> Self {
        Self { broken: Some(token.into()), ..self }
    }

    pub(crate) fn without(self, tensor: &'static str) -> Self {
        Self { without: Some(tensor), ..self }
    }

    pub(crate) fn vocabulary(self, rows: usize) -> Self {
        Self { vocabulary: Some(rows), ..self }
    }

    pub(crate) fn no_tokenizer(self) -> Self {
        Self { has_no_tokenizer: true, ..self }
    }

    /// Four experts that do nothing in place of the block that does nothing. Token t chooses t mod 4, and then the next one.
    pub(crate) fn experts(self) -> Self {
        self.experts_of(4, 32)
    }

    /// Experts, which do nothing where their inner vector has 32 numbers. Token t chooses the expert that t leaves, and then the next one.
    pub(crate) fn experts_of(mut self, count: usize, inner: usize) -> Self {
        self.experts = Some((count, inner));
        self.config("architectures", json!(["MixtralForCausalLM"]))
            .config("model_type", "mixtral")
            .config("intermediate_size", inner)
            .config("num_local_experts", count)
            .config("num_experts_per_tok", 2)
    }

    /// A layer after the others that predicts one token more.
    pub(crate) fn mtp(self) -> Self {
        Self { has_mtp: true, ..self }
    }

    pub(crate) fn config(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        self.config.push((member, value.into()));
        self
    }

    /// Writes the checkpoint into a directory of the sandbox.
    pub(crate) fn write(&self, sandbox: &Sandbox, name: &str) -> PathBuf {
        let dir = sandbox.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        let rows = self.vocabulary.unwrap_or(WIDTH);
        let mut config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": 32,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "vocab_size": rows,
            "tie_word_embeddings": false, "eos_token_id": EOS, "bos_token_id": BOS, "hidden_act": "silu",
        });
        for (member, value) in &self.config {
            config[*member] = value.clone();
        }
        write_json(&dir.join("config.json"), &config);
        if !self.has_no_tokenizer {
            write_json(&dir.join("tokenizer.json"), &tokenizer());
        }
        let mut config = json!({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true});
        if let Some(template) = self.template {
            config["chat_template"] = template.into();
        }
        write_json(&dir.join("tokenizer_config.json"), &config);
        fs::write(dir.join("model.safetensors"), self.weights(rows)).unwrap();
        dir
    }

    fn weights(&self, rows: usize) -> Vec<u8> {
        let zeros = |rows: usize, columns: usize| (vec![rows, columns], vec![0.0_f32; rows * columns]);
        let ones = || (vec![WIDTH], vec![1.0; WIDTH]);
        let mut embedding = zeros(rows, WIDTH);
        for token in 0..rows.min(WIDTH) {
            embedding.1[token * WIDTH + token] = 1.0;
        }
        if let Some(token) = self.broken {
            embedding.1[token as usize * WIDTH] = f32::NAN;
        }
        let mut head = zeros(rows, WIDTH);
        for (token, next) in self.next.iter().filter(|(_, next)| (**next as usize) < rows) {
            head.1[*next as usize * WIDTH + *token as usize] = 1.0;
        }
        let layer = |name: &str| format!("model.layers.0.{name}.weight");
        let mut tensors = BTreeMap::from([
            ("model.embed_tokens.weight".to_owned(), embedding),
            ("lm_head.weight".to_owned(), head),
            ("model.norm.weight".to_owned(), ones()),
            (layer("input_layernorm"), ones()),
            (layer("post_attention_layernorm"), ones()),
            (layer("self_attn.o_proj"), zeros(WIDTH, 64)),
            (layer("mlp.gate_proj"), zeros(32, WIDTH)),
            (layer("mlp.up_proj"), zeros(32, WIDTH)),
            (layer("mlp.down_proj"), zeros(WIDTH, 32)),
        ]);
        if let Some((experts, inner)) = self.experts {
            tensors.retain(|name, _| !name.contains(".mlp."));
            let mut router = zeros(experts, WIDTH);
            for token in 0..WIDTH {
                router.1[token % experts * WIDTH + token] = 1.0;
                router.1[(token + 1) % experts * WIDTH + token] = 0.5;
            }
            tensors.insert(layer("block_sparse_moe.gate"), router);
            let matrix = |seed: usize, rows: usize, columns: usize| {
                let (shape, mut values) = zeros(rows, columns);
                if inner > 32 {
                    let numbers = (0_u32..).map(|at| (at + 1).wrapping_mul(0x9E37_79B1) ^ u32::try_from(seed).unwrap());
                    values.iter_mut().zip(numbers).for_each(|(value, number)| *value = small(number));
                }
                (shape, values)
            };
            for expert in 0..experts {
                let name = |part| layer(&format!("block_sparse_moe.experts.{expert}.{part}"));
                tensors.insert(name("w1"), matrix(3 * expert, inner, WIDTH));
                tensors.insert(name("w2"), matrix(3 * expert + 1, WIDTH, inner));
                tensors.insert(name("w3"), matrix(3 * expert + 2, inner, WIDTH));
            }
        }
        for name in ["q_proj", "k_proj", "v_proj"] {
            tensors.insert(layer(&format!("self_attn.{name}")), zeros(64, WIDTH));
        }
        let layers = self.config.iter().find(|(member, _)| *member == "num_hidden_layers");
        let layers = layers.and_then(|(_, count)| count.as_u64()).unwrap_or(1);
        for at in 1..layers + u64::from(self.has_mtp) {
            let first = tensors.iter().filter(|(name, _)| name.starts_with("model.layers.0."));
            let more = first.map(|(name, tensor)| (name.replacen(".0.", &format!(".{at}."), 1), tensor.clone()));
            tensors.extend(more.collect::<Vec<_>>());
        }
        if self.has_mtp {
            let own = |name: &str| format!("model.layers.{layers}.{name}.weight");
            tensors.extend(["enorm", "hnorm", "shared_head.norm"].map(|name| (own(name), ones())));
            tensors.insert(own("eh_proj"), zeros(WIDTH, 2 * WIDTH));
        }
        tensors.retain(|name, _| self.without.is_none_or(|without| name != without));
        safetensors(&tensors)
    }

    /// Writes an EAGLE-3 head that foresees one token: after a token, the one after the next.
    pub(crate) fn write_head(&self, sandbox: &Sandbox, name: &str) -> PathBuf {
        let dir = sandbox.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        let config = json!({
            "architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": 32,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 32,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "vocab_size": WIDTH,
            "draft_vocab_size": WIDTH, "hidden_act": "silu",
        });
        write_json(&dir.join("config.json"), &config);
        let zeros = |rows: usize, columns: usize| (vec![rows, columns], vec![0.0_f32; rows * columns]);
        let ones = || (vec![WIDTH], vec![1.0; WIDTH]);
        let (mut fusion, mut head) = (zeros(WIDTH, 3 * WIDTH), zeros(WIDTH, WIDTH));
        (0..WIDTH).for_each(|at| fusion.1[at * 3 * WIDTH + at] = 1.0);
        for (token, next) in &self.next {
            if let Some(later) = self.next.get(next) {
                head.1[*later as usize * WIDTH + *token as usize] = 1.0;
            }
        }
        let layer = |name: &str| format!("midlayer.{name}.weight");
        let tensors = BTreeMap::from([
            ("fc.weight".to_owned(), fusion),
            ("norm.weight".to_owned(), ones()),
            ("lm_head.weight".to_owned(), head),
            (layer("hidden_norm"), ones()),
            (layer("input_layernorm"), ones()),
            (layer("post_attention_layernorm"), ones()),
            (layer("self_attn.q_proj"), zeros(64, 2 * WIDTH)),
            (layer("self_attn.k_proj"), zeros(64, 2 * WIDTH)),
            (layer("self_attn.v_proj"), zeros(64, 2 * WIDTH)),
            (layer("self_attn.o_proj"), zeros(WIDTH, 64)),
            (layer("mlp.gate_proj"), zeros(32, WIDTH)),
            (layer("mlp.up_proj"), zeros(32, WIDTH)),
            (layer("mlp.down_proj"), zeros(WIDTH, 32)),
        ]);
        fs::write(dir.join("model.safetensors"), safetensors(&tensors)).unwrap();
        dir
    }
}

/// A number from -0.05 to 0.05.
fn small(number: u32) -> f32 {
    let [.., high] = number.wrapping_mul(0x85EB_CA6B).to_le_bytes();
    (f32::from(high) - 127.5) / 2550.0
}

fn write_json(path: &Path, document: &Value) {
    fs::write(path, document.to_string()).unwrap();
}

/// A file of F32 tensors.
fn safetensors(tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, (shape, values)) in tensors {
        let start = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let mut header = Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// A byte-level tokenizer with four special tokens; it puts nothing around a text.
fn tokenizer() -> Value {
    let is_seen = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let letter = |byte: u8| {
        let before = (0..byte).filter(|byte| !is_seen(byte)).count();
        if is_seen(&byte) { char::from(byte) } else { char::from_u32(256 + u32::try_from(before).unwrap()).unwrap() }
    };
    let vocabulary: BTreeMap<String, u32> = (0..=255).map(|byte| (letter(byte).to_string(), u32::from(byte))).collect();
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false})
    };
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    json!({
        "added_tokens": [special(BOS, "<s>"), special(EOS, "</s>"), special(TURN, "<turn>"), special(REPLY, "<reply>")],
        "pre_tokenizer": bytes,
        "decoder": bytes,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    })
}
