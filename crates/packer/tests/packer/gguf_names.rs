//! The names and layouts of tensors from GGUF files: each is by value the tensor of the checkpoint that it was made from.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use longshore_gguf::{Dims, GgmlType, Layout, Metadata, Writer};
use longshore_manifest::{
    Silent, Store,
    document::{Change, TensorEntry, expert_groups},
    weights::{
        Difference, OpenOptions, Weights, WeightsError, difference,
        plan::{Layers, Selection, TensorParallel},
    },
};
use longshore_packer::{Arrangement, ExportFormat, ExportOptions, Plan, PlanOptions, RepairOptions, repair};
use longshore_st_format::{Dtype, Shape};

use crate::{
    stores::{export_to, files, import_as, is_clean, read, store},
    support::{Dir, chain, open},
};

/// The tensors of two models that are only in one, and those that differ.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Compared {
    pub(crate) only_a: Vec<String>,
    pub(crate) only_b: Vec<String>,
    pub(crate) differ: BTreeMap<String, Difference>,
    pub(crate) equal: usize,
}

fn opened(store: &Store, model: &str) -> Weights {
    let selection = Selection { offsets: true, ..Selection::default() };
    let options = OpenOptions { selection, ..OpenOptions::default() };
    Weights::open(store, &read(store, model), &options).expect("it was imported")
}

/// Compares two models of a store by the values of their tensors.
pub(crate) fn compare(store: &Store, a: &str, b: &str) -> Compared {
    let (a, b) = (opened(store, a), opened(store, b));
    let mut found = Compared::default();
    found.only_b.extend(b.names().filter(|name| !a.contains(name)).map(str::to_owned));
    for ours in a.iter() {
        let name = ours.name();
        let Some(theirs) = b.get(name) else {
            found.only_a.push(name.to_owned());
            continue;
        };
        match difference(&ours, &theirs).unwrap_or_else(|error| panic!("{name}: {}", chain(&error))) {
            None => found.equal += 1,
            Some(difference) => _ = found.differ.insert(name.to_owned(), difference),
        }
    }
    found
}

fn entry(store: &Store, model: &str, name: &str) -> TensorEntry {
    let model = read(store, model);
    let table = model.config.longshore.as_deref().expect("this program wrote it");
    let found = table.tensors().find(|(_, entry)| entry.name == name);
    found.unwrap_or_else(|| panic!("there is no {name}")).1.clone()
}

fn names(store: &Store, model: &str) -> Vec<String> {
    opened(store, model).names().map(str::to_owned).collect()
}

/// A tensor with values, outermost extent first.
#[derive(Debug, Clone)]
struct Values {
    dims: Vec<u64>,
    data: Vec<f32>,
}

impl Values {
    /// Values that BF16 holds, which depend on the name.
    fn of(name: &str, dims: &[u64]) -> Self {
        let mut state = name.bytes().fold(7_u32, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
        let count = dims.iter().product::<u64>();
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(
                (0x3c00_0000 + (state >> 7 & 0x0280_0000) + (state >> 9 & 0x007f_0000)) | state & 0x8000_0000,
            )
        };
        Self { dims: dims.to_vec(), data: (0..count).map(next).collect() }
    }

    fn map(&self, change: impl Fn(f32) -> f32) -> Self {
        Self { dims: self.dims.clone(), data: self.data.iter().map(|value| change(*value)).collect() }
    }

    fn shaped(&self, dims: &[u64]) -> Self {
        assert_eq!(dims.iter().product::<u64>(), self.data.len() as u64);
        Self { dims: dims.to_vec(), data: self.data.clone() }
    }

    /// The rows with these numbers, of `dims` in all.
    fn rows(&self, columns: usize, dims: &[u64], rows: impl IntoIterator<Item = usize>) -> Self {
        let data = rows.into_iter().flat_map(|row| self.data[row * columns..(row + 1) * columns].to_vec()).collect();
        Self { dims: dims.to_vec(), data }
    }

    /// Rows of each head, alternating between its halves, as ggml's rotation wants them.
    fn rotated(&self, heads: usize) -> Self {
        let count = usize::try_from(self.dims[0]).expect("it is small");
        let (columns, head) = (self.data.len() / count, count / heads);
        let rows = (0..count).map(|row| {
            let within = row % head;
            row / head * head + within % 2 * (head / 2) + within / 2
        });
        self.rows(columns, &self.dims, rows)
    }

    fn bytes(&self) -> Vec<u8> {
        self.data.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

/// A checkpoint and the GGUF file that llama.cpp's converter would make of it.
#[derive(Default)]
struct Pair {
    architecture: &'static str,
    config: &'static str,
    metadata: Vec<(&'static str, u32)>,
    checkpoint: Vec<(String, Values)>,
    gguf: Vec<(String, Values)>,
}

impl Pair {
    /// A tensor of the checkpoint, to be converted.
    fn tensor(&mut self, name: &str, dims: &[u64]) -> Values {
        let values = Values::of(name, dims);
        self.checkpoint.push((name.to_owned(), values.clone()));
        values
    }

    fn file(&mut self, name: &str, values: Values) {
        self.gguf.push((name.to_owned(), values));
    }

    /// A tensor that is the same on both sides.
    fn same(&mut self, gguf: &str, name: &str, dims: &[u64]) {
        let values = self.tensor(name, dims);
        self.file(gguf, values);
    }

    /// Experts, stacked in the file.
    fn stack(&mut self, gguf: &str, group: &str, rest: &str, [experts, rows, columns]: [u64; 3]) {
        let each: Vec<Values> =
            (0..experts).map(|at| self.tensor(&format!("{group}.{at}.{rest}"), &[rows, columns])).collect();
        let data = each.into_iter().flat_map(|values| values.data).collect();
        self.file(gguf, Values { dims: vec![experts, rows, columns], data });
    }

    fn file_bytes(&self) -> Vec<u8> {
        let mut metadata = Metadata::new();
        metadata.push("general.architecture", self.architecture).expect("it is new");
        for (key, value) in &self.metadata {
            metadata.push(&format!("{}.{key}", self.architecture), *value).expect("it is new");
        }
        let tensors = self
            .gguf
            .iter()
            .map(|(name, values)| (name.as_str(), GgmlType::F32, Dims::from_shape(&values.dims).expect("it is small")));
        let layout = Layout::new(metadata, tensors).expect("tests name tensors once");
        let mut writer = Writer::new(Vec::new(), layout).expect("a Vec takes it");
        for (_, values) in &self.gguf {
            writer.write(&values.bytes()).expect("it is planned");
        }
        writer.finish().expect("everything was written")
    }

    /// Imports both as `file` and `checkpoint`.
    fn import(&self) -> (Dir, Store) {
        let (dir, place) = (Dir::new(), Dir::new());
        dir.file("x.gguf", self.file_bytes());
        dir.file("checkpoint/config.json", self.config);
        let bytes: Vec<Vec<u8>> = self.checkpoint.iter().map(|(_, values)| values.bytes()).collect();
        let tensors: Vec<_> = self
            .checkpoint
            .iter()
            .zip(&bytes)
            .map(|((name, values), bytes)| (name.as_str(), Dtype::F32, &*values.dims, &**bytes))
            .collect();
        dir.bytes("checkpoint/model.safetensors", &tensors);
        let store = store(&place);
        let source = open(&dir.join("x.gguf")).unwrap_or_else(|error| panic!("{}", chain(&error)));
        import_as(&store, "file", &source, "none");
        import_as(&store, "checkpoint", &open(&dir.join("checkpoint")).expect("it is whole"), "none");
        is_clean(&store);
        comes_back(&store, "file", &place, &[("model.gguf", self.file_bytes())]);
        (place, store)
    }

    /// Checks that every tensor of the file is by value one of the checkpoint, but for those that are named.
    fn is_equal_but(&self, only_file: &[&str], only_checkpoint: &[&str]) -> (Dir, Store) {
        let (place, store) = self.import();
        let found = compare(&store, "file", "checkpoint");
        assert_eq!(found.differ, BTreeMap::new(), "{}", self.architecture);
        assert_eq!((found.only_a, found.only_b), (owned(only_file), owned(only_checkpoint)), "{}", self.architecture);
        assert!(found.equal > 0);
        (place, store)
    }
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Checks that a model is exported as these files, also from a copy of it.
fn comes_back(store: &Store, model: &str, place: &Dir, expected: &[(&str, Vec<u8>)]) {
    let options = ExportOptions { format: ExportFormat::Gguf, ..ExportOptions::default() };
    let expected: BTreeMap<_, _> = expected.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
    export_to(store, model, &place.join("out"), &options);
    assert!(files(&place.join("out")) == expected, "{model} comes back otherwise");
    let manifest = store.manifest_path(&model.parse().expect("it is a name"));
    let other = Store::open(place.join("other")).expect("the directory is ours");
    import_as(&other, "copy", &open(&manifest).unwrap_or_else(|error| panic!("{}", chain(&error))), "none");
    assert_eq!(read(&other, "copy").manifest.layers, read(store, model).manifest.layers);
    export_to(&other, "copy", &place.join("again"), &options);
    assert!(files(&place.join("again")) == expected, "a copy of {model} comes back otherwise");
}

const LLAMA: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama"}"#;

fn llama() -> Pair {
    let mut pair = Pair {
        architecture: "llama",
        config: LLAMA,
        metadata: vec![("attention.head_count", 4), ("attention.head_count_kv", 2)],
        ..Pair::default()
    };
    pair.same("token_embd.weight", "model.embed_tokens.weight", &[5, 32]);
    pair.same("output.weight", "lm_head.weight", &[5, 32]);
    pair.same("output_norm.weight", "model.norm.weight", &[32]);
    for (gguf, name, heads, rows) in [("attn_q", "q_proj", 4, 32), ("attn_k", "k_proj", 2, 16)] {
        let weight = pair.tensor(&format!("model.layers.0.self_attn.{name}.weight"), &[rows, 32]);
        pair.file(&format!("blk.0.{gguf}.weight"), weight.rotated(heads));
        let bias = pair.tensor(&format!("model.layers.0.self_attn.{name}.bias"), &[rows]);
        pair.file(&format!("blk.0.{gguf}.bias"), bias.rotated(heads));
    }
    pair.same("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight", &[16, 32]);
    pair.file("rope_freqs.weight", Values::of("rope_freqs", &[4]));
    pair
}

#[test]
fn rows_of_queries_and_keys() {
    let (_place, store) = llama().is_equal_but(&["rope_freqs.weight"], &[]);
    let query = entry(&store, "file", "model.layers.0.self_attn.q_proj.weight");
    assert_eq!(query.arrangement, Arrangement::Halves { heads: 4 });
    assert_eq!(query.sources, ["blk.0.attn_q.weight"]);
}

#[test]
fn rows_of_heads_that_are_not_stated_stay_as_they_are() {
    let mut pair = llama();
    pair.metadata = vec![("attention.head_count", 3)];
    let (_place, store) = pair.import();
    let found = names(&store, "file");
    assert!(found.iter().any(|name| name == "blk.0.attn_q.weight"), "{found:?}");
    let dir = Dir::new();
    dir.file("x.gguf", pair.file_bytes());
    let plan = Plan::new(open(&dir.join("x.gguf")).expect("it is whole"), &PlanOptions::default());
    let notes = plan.expect("it can be stored").notes;
    assert!(notes.iter().any(|note| note.contains("4 tensors keep") && note.contains("heads")), "{notes:?}");
}

#[test]
fn norms_of_gemma() {
    let mut pair = Pair {
        architecture: "gemma3",
        config: r#"{"architectures":["Gemma3ForCausalLM"],"model_type":"gemma3_text"}"#,
        ..Pair::default()
    };
    for (gguf, name) in [
        ("blk.0.attn_norm.weight", "model.layers.0.input_layernorm.weight"),
        ("blk.0.ffn_norm.weight", "model.layers.0.pre_feedforward_layernorm.weight"),
        ("output_norm.weight", "model.norm.weight"),
    ] {
        let norm = pair.tensor(name, &[32]);
        pair.file(gguf, norm.map(|value| value + 1.0));
    }
    // F32 close to -1: its sum with 1 has bits that a difference with 1 loses.
    let mut norm = Values::of("", &[4]);
    norm.data = vec![1e-5 - 1.0, 0.5, 0.25, 0.0];
    pair.checkpoint.push(("model.layers.0.post_feedforward_layernorm.weight".to_owned(), norm.clone()));
    norm.data[0] = 1e-5;
    norm.data[1..].iter_mut().for_each(|value| *value += 1.0);
    pair.file("blk.0.post_ffw_norm.weight", norm);
    let (_place, store) = pair.is_equal_but(&[], &[]);
    let of = |name: &str| {
        let entry = entry(&store, "file", name);
        (entry.change, entry.offset)
    };
    assert_eq!(of("model.norm.weight"), (Change::MinusOne, 0));
    assert_eq!(of("model.layers.0.post_feedforward_layernorm.weight"), (Change::None, 1));
    let error = Weights::open(&store, &read(&store, "file"), &OpenOptions::default()).expect_err("one has an offset");
    assert!(matches!(error, WeightsError::Plan(_)) && error.to_string().contains("plus 1"), "{error}");
}

#[test]
fn latent_attention_and_experts_of_deepseek() {
    let mut pair = Pair {
        architecture: "deepseek2",
        config: r#"{"architectures":["DeepseekV3ForCausalLM"],"model_type":"deepseek_v3"}"#,
        metadata: vec![("expert_count", 4)],
        ..Pair::default()
    };
    let (heads, keys, values, rank) = (3_usize, 4_usize, 2_usize, 8_usize);
    let both = pair.tensor("model.layers.0.self_attn.kv_b_proj.weight", &[18, 8]);
    let at = |head: usize, row: usize, column: usize| both.data[(head * (keys + values) + row) * rank + column];
    let mut of_keys = Values { dims: vec![3, 8, 4], data: Vec::new() };
    let mut of_values = Values { dims: vec![3, 2, 8], data: Vec::new() };
    for head in 0..heads {
        for column in 0..rank {
            of_keys.data.extend((0..keys).map(|key| at(head, key, column)));
        }
        for value in 0..values {
            of_values.data.extend((0..rank).map(|column| at(head, keys + value, column)));
        }
    }
    pair.file("blk.0.attn_k_b.weight", of_keys);
    pair.file("blk.0.attn_v_b.weight", of_values);
    let group = "model.layers.1.mlp.experts";
    pair.stack("blk.1.ffn_gate_exps.weight", group, "gate_proj.weight", [4, 6, 8]);
    pair.stack("blk.1.ffn_down_exps.weight", group, "down_proj.weight", [4, 8, 6]);
    pair.same("blk.1.exp_probs_b.bias", "model.layers.1.mlp.gate.e_score_correction_bias", &[4]);
    // The file may have what no map knows.
    pair.file("blk.1.nextn.eh_proj.weight", Values::of("", &[2]));
    let (_place, store) = pair.is_equal_but(&["blk.1.nextn.eh_proj.weight"], &[]);
    let model = read(&store, "file");
    let groups = expert_groups(model.config.longshore.as_deref().expect("this program wrote it"));
    let [group] = &groups[..] else { panic!("it is one group: {groups:?}") };
    assert_eq!((group.name.as_str(), group.experts, group.tensors.len()), ("model.layers.1.mlp.experts", 4, 2));
    let expert = group.expert(2).expect("it is there");
    for part in &expert {
        assert_eq!((part.parts.len(), part.parts[0].length), (1, part.tensor.weight().length / 4));
    }
    let experts = Selection { experts: Some(vec![2]), ..Selection::default() };
    let options = OpenOptions { selection: experts, ..OpenOptions::default() };
    let one = Weights::open(&store, &model, &options).expect("it has experts");
    let down = one.get("model.layers.1.mlp.experts.down_proj.weight").expect("it is selected");
    assert_eq!(down.shape(), &Shape::new([1, 8, 6]));
    assert_eq!(down.weight().data, Values::of("model.layers.1.mlp.experts.2.down_proj.weight", &[8, 6]).bytes());
}

#[test]
fn fused_experts_of_gpt_oss() {
    let mut pair = Pair {
        architecture: "gpt-oss",
        // Named so that the checkpoint's experts have the stored orientation.
        config: r#"{"architectures":["OtherForCausalLM"],"model_type":"other"}"#,
        ..Pair::default()
    };
    let both = pair.tensor("model.layers.0.mlp.experts.gate_up_proj", &[2, 8, 3]);
    let bias = pair.tensor("model.layers.0.mlp.experts.gate_up_proj_bias", &[2, 8]);
    for (at, part) in ["gate", "up"].into_iter().enumerate() {
        pair.file(&format!("blk.0.ffn_{part}_exps.weight"), both.rows(3, &[2, 4, 3], (at..16).step_by(2)));
        pair.file(&format!("blk.0.ffn_{part}_exps.bias"), bias.rows(1, &[2, 4], (at..16).step_by(2)));
    }
    pair.same("blk.0.ffn_down_exps.weight", "model.layers.0.mlp.experts.down_proj", &[2, 3, 4]);
    pair.same("blk.0.post_attention_norm.weight", "model.layers.0.post_attention_layernorm.weight", &[3]);
    pair.same("blk.0.attn_sinks.weight", "model.layers.0.self_attn.sinks", &[2]);
    pair.is_equal_but(&[], &[]);
    // One half alone cannot be joined.
    pair.gguf.retain(|(name, _)| !name.contains("ffn_up"));
    let (_place, store) = pair.import();
    assert!(names(&store, "file").contains(&"blk.0.ffn_gate_exps.weight".to_owned()));
}

#[test]
fn joined_and_divided_projections() {
    let mut pair = Pair {
        architecture: "granitemoe",
        config: r#"{"architectures":["GraniteMoeForCausalLM"],"model_type":"granitemoe"}"#,
        ..Pair::default()
    };
    let both = pair.tensor("model.layers.0.block_sparse_moe.input_linear.weight", &[2, 8, 3]);
    let rows = |first: usize| [first, first + 1, first + 2, first + 3];
    pair.file("blk.0.ffn_gate_exps.weight", both.rows(3, &[2, 4, 3], rows(0).into_iter().chain(rows(8))));
    pair.file("blk.0.ffn_up_exps.weight", both.rows(3, &[2, 4, 3], rows(4).into_iter().chain(rows(12))));
    let both = pair.tensor("model.layers.0.shared_mlp.input_linear.weight", &[4, 3]);
    pair.file("blk.0.ffn_gate_shexp.weight", both.rows(3, &[2, 3], [0, 1]));
    pair.file("blk.0.ffn_up_shexp.weight", both.rows(3, &[2, 3], [2, 3]));
    pair.is_equal_but(&[], &[]);

    let mut pair = Pair {
        architecture: "qwen3moe",
        config: r#"{"architectures":["Qwen3MoeForCausalLM"],"model_type":"qwen3_moe"}"#,
        ..Pair::default()
    };
    let mut all = Values { dims: vec![2, 4, 3], data: Vec::new() };
    for expert in 0..2 {
        for part in ["gate", "up"] {
            let name = format!("model.layers.0.mlp.experts.{expert}.{part}_proj.weight");
            all.data.extend(pair.tensor(&name, &[2, 3]).data);
        }
    }
    pair.file("blk.0.ffn_gate_up_exps.weight", all);
    let (_place, store) = pair.is_equal_but(&[], &[]);
    let up = entry(&store, "file", "model.layers.0.mlp.experts.up_proj.weight");
    assert_eq!(up.arrangement, Arrangement::Rows { axis: 1, first: 2, of: 4 });
}

#[test]
fn state_space_of_nemotron() {
    let mut pair = Pair {
        architecture: "nemotron_h",
        config: r#"{"architectures":["NemotronHForCausalLM"],"model_type":"nemotron_h"}"#,
        ..Pair::default()
    };
    let mixer = "backbone.layers.0.mixer";
    let log = pair.tensor(&format!("{mixer}.A_log"), &[4]);
    #[expect(clippy::cast_possible_truncation, reason = "that is what a converter does")]
    let mut decay = log.map(|value| -(f64::from(value).exp() as f32)).shaped(&[4, 1]);
    decay.data[1] = decay.data[1].next_up();
    pair.file("blk.0.ssm_a", decay);
    let skip = pair.tensor(&format!("{mixer}.D"), &[4]);
    pair.file("blk.0.ssm_d", skip.shaped(&[4, 1]));
    pair.same("blk.0.ssm_dt.bias", &format!("{mixer}.dt_bias"), &[4]);
    let norm = pair.tensor(&format!("{mixer}.norm.weight"), &[8]);
    pair.file("blk.0.ssm_norm.weight", norm.shaped(&[2, 4]));
    let convolution = pair.tensor(&format!("{mixer}.conv1d.weight"), &[6, 1, 4]);
    pair.file("blk.0.ssm_conv1d.weight", convolution.shaped(&[6, 4]));
    pair.same("blk.0.ssm_in.weight", &format!("{mixer}.in_proj.weight"), &[3, 2]);
    // No logarithm gives a positive number back.
    pair.file("blk.1.ssm_a", Values { dims: vec![1, 1], data: vec![1.0] });
    let (_place, store) = pair.is_equal_but(&["blk.1.ssm_a"], &[]);
    let log = entry(&store, "file", &format!("{mixer}.A_log"));
    assert_eq!((log.arrangement, log.change), (Arrangement::Reshape, Change::LogNegative));
    assert_eq!(log.ulps.iter().map(|steps| steps.abs()).max(), Some(1), "one value is that of another program");
}

#[test]
fn names_that_clash_are_those_of_the_file() {
    let mut pair = Pair { architecture: "llama", config: LLAMA, ..Pair::default() };
    pair.file("output_norm.weight", Values::of("a", &[2]));
    pair.file("model.norm.weight", Values::of("b", &[3]));
    pair.same("output.weight", "lm_head.weight", &[2, 2]);
    let (_place, store) = pair.import();
    assert_eq!(names(&store, "file"), ["lm_head.weight", "model.norm.weight", "output_norm.weight"]);
}

#[test]
fn an_architecture_without_a_map_keeps_its_names() {
    let mut pair = Pair { architecture: "unheard-of", config: LLAMA, ..Pair::default() };
    pair.file("output_norm.weight", Values::of("a", &[2]));
    pair.same("output.weight", "lm_head.weight", &[2, 2]);
    let (_place, store) = pair.import();
    assert_eq!(names(&store, "file"), ["output.weight", "output_norm.weight"]);
}

/// A file of a llama with two heads and two experts, whose matrices are blocks. Each byte tells its place.
fn blocks() -> Vec<u8> {
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", "llama").expect("it is new");
    metadata.push("llama.attention.head_count", 2_u32).expect("it is new");
    metadata.push("llama.expert_count", 2_u32).expect("it is new");
    let dims = |shape: &[u64]| Dims::from_shape(shape).expect("it is small");
    let tensors = [
        ("blk.0.attn_q.weight", GgmlType::Q8_0, dims(&[8, 64])),
        ("blk.0.attn_output.weight", GgmlType::Q8_0, dims(&[8, 64])),
        ("blk.0.ffn_gate_exps.weight", GgmlType::Q4_0, dims(&[2, 4, 32])),
        ("blk.0.ffn_up_exps.weight", GgmlType::Q4_0, dims(&[2, 4, 32])),
        ("blk.0.ffn_down_exps.weight", GgmlType::Q4_0, dims(&[2, 4, 64])),
    ];
    let layout = Layout::new(metadata, tensors).expect("tests name tensors once");
    let lengths: Vec<u64> = layout.parsed().iter().map(longshore_gguf::TensorInfo::byte_len).collect();
    let mut writer = Writer::new(Vec::new(), layout).expect("a Vec takes it");
    for (seed, len) in (0_u8..).zip(lengths) {
        let data: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).expect("it is below 251") ^ seed).collect();
        writer.write(&data).expect("it is planned");
    }
    writer.finish().expect("everything was written")
}

fn selected(store: &Store, selection: Selection) -> Weights {
    let options = OpenOptions { selection, ..OpenOptions::default() };
    Weights::open(store, &read(store, "m"), &options).expect("it can be met")
}

#[test]
fn blocks_are_moved_by_rows_and_selected_as_others_are() {
    let (dir, place) = (Dir::new(), Dir::new());
    dir.file("x.gguf", blocks());
    let store = store(&place);
    import_as(&store, "m", &open(&dir.join("x.gguf")).expect("it is whole"), "none");
    let (query, output) = ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight");
    let whole = selected(&store, Selection::default());
    // Two blocks of 34 bytes a row.
    let byte = |at: usize| u8::try_from(at % 251).expect("it is below 251");
    let rows = |rows: &[usize]| -> Vec<u8> { rows.iter().flat_map(|row| row * 68..(row + 1) * 68).map(byte).collect() };
    let expected = rows(&[0, 2, 1, 3, 4, 6, 5, 7]);
    assert_eq!(whole.get(query).expect("it is there").weight().data, expected);

    let share = |rank| Selection { tensor_parallel: Some(TensorParallel { rank, of: 2 }), ..Selection::default() };
    let second = selected(&store, share(1));
    assert_eq!(second.get(query).expect("it is there").weight().data, &expected[expected.len() / 2..]);
    let columns: Vec<u8> = (0..8).flat_map(|row| row * 68 + 34..(row + 1) * 68).map(|at| byte(at) ^ 1).collect();
    assert_eq!(second.get(output).expect("it is there").weight().data, columns);

    let model = read(&store, "m");
    let groups = expert_groups(model.config.longshore.as_deref().expect("this program wrote it"));
    let expert = groups[0].expert(1).expect("it is there");
    let blobs: BTreeSet<_> = expert.iter().map(|part| part.blob.digest).collect();
    assert_eq!((groups.len(), expert.len(), blobs.len()), (1, 3, 3), "a range in each of three blobs");
    let one = selected(&store, Selection { experts: Some(vec![1]), ..Selection::default() });
    for tensor in one.iter().filter(|tensor| tensor.name().contains("experts")) {
        let all = whole.get(tensor.name()).expect("it is there").weight().data;
        assert_eq!(tensor.weight().data, &all[all.len() / 2..], "{}", tensor.name());
    }
    let none = Selection { layers: Some(Layers { range: 1..2, others: true }), ..Selection::default() };
    let options = OpenOptions { selection: none, ..OpenOptions::default() };
    assert!(Weights::open(&store, &model, &options).is_err(), "there is one layer");
}

#[test]
fn arranged_blobs_are_built_again() {
    let mut pairs = vec![("blocks", blocks())];
    pairs.push(("floats", llama().file_bytes()));
    for (what, bytes) in pairs {
        let (dir, place) = (Dir::new(), Dir::new());
        dir.file("x.gguf", &bytes);
        let store = store(&place);
        let source = open(&dir.join("x.gguf")).expect("it is whole");
        import_as(&store, "m", &source, "none");
        let mut count = 0;
        for layer in read(&store, "m").manifest.layers {
            let path = store.blob_path(&layer.digest);
            fs::remove_file(&path).expect("the store is ours");
            fs::write(&path, vec![1; usize::try_from(layer.size).expect("it is small")]).expect("the store is ours");
            count += 1;
        }
        let outcome = repair(&store, source, &RepairOptions::default(), &Silent).expect("it can be tried");
        assert!(outcome.left.is_empty(), "{what}: {:?}", outcome.left);
        assert_eq!(outcome.repaired.len(), count, "{what}");
        is_clean(&store);
        comes_back(&store, "m", &place, &[("model.gguf", bytes)]);
    }
}

/// Every float file beside the repository, against the checkpoint that it was made from.
#[test]
fn published_files_have_the_values_of_their_checkpoints() {
    let shared = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    if !shared.join("gguf").is_dir() {
        return;
    }
    for (file, checkpoint, only_file, only_checkpoint) in [
        ("llama-f32", "llama", &[][..], &[][..]),
        ("gemma3-text-bf16", "gemma3-text", &[], &[]),
        ("qwen3-moe-bf16", "qwen3-moe", &[], &[]),
        ("deepseek-v3-bf16", "deepseek-v3", &[], &[]),
        ("nemotron-h-bf16", "nemotron-h", &[], &[]),
        ("gpt-oss-mxfp4", "gpt-oss-mxfp4", &[], &[]),
    ] {
        let place = Dir::new();
        let store = store(&place);
        let path = shared.join(format!("gguf/{file}.gguf"));
        import_as(&store, "file", &open(&path).expect("it is whole"), "none");
        let source = open(&shared.join(format!("models/{checkpoint}"))).expect("it is whole");
        import_as(&store, "checkpoint", &source, "none");
        is_clean(&store);
        let found = compare(&store, "file", "checkpoint");
        assert_eq!(found.differ, BTreeMap::new(), "{file}");
        assert_eq!((found.only_a, found.only_b), (owned(only_file), owned(only_checkpoint)), "{file}");
        comes_back(&store, "file", &place, &[("model.gguf", fs::read(&path).expect("it is there"))]);
    }
}
