//! Adapters in llama.cpp's form: equal to the bit to the same adapter as PEFT writes it.

mod files;
mod refused;

use longshore_gguf::GgmlType;
use longshore_manifest::{Descriptor, Digest, Store};
use longshore_packer::{ExportFormat, ExportOptions, PlanOptions, RepairOptions, Source, repair};
use longshore_st_format::{Dtype, Limits};

use self::files::{Adapter, Pair, base, gguf};
use super::import;
use crate::{
    gguf_names::compare,
    stores::{export_to, files as files_of, is_clean, read},
    support::{Dir, chain, open, options},
};

const LLAMA: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","num_attention_heads":4,
    "num_key_value_heads":2,"num_hidden_layers":1,"hidden_size":32,"tie_word_embeddings":false}"#;
const QWEN3: &str = r#"{"architectures":["Qwen3ForCausalLM"],"model_type":"qwen3","num_attention_heads":4,
    "num_key_value_heads":2,"num_hidden_layers":1,"hidden_size":32,"head_dim":8,"tie_word_embeddings":false}"#;

/// Weights of a layer with 4 heads of 8 rows, 2 of keys: ggml's names, those of a checkpoint, shapes, and heads whose rows alternate
/// in llama.
const LINEARS: [(&str, &str, [u64; 2], Option<u64>); 6] = [
    ("blk.0.attn_q", "model.layers.0.self_attn.q_proj", [32, 32], Some(4)),
    ("blk.0.attn_k", "model.layers.0.self_attn.k_proj", [16, 32], Some(2)),
    ("blk.0.attn_v", "model.layers.0.self_attn.v_proj", [16, 32], None),
    ("blk.0.attn_output", "model.layers.0.self_attn.o_proj", [32, 32], None),
    ("blk.0.ffn_down", "model.layers.0.mlp.down_proj", [32, 64], None),
    ("output", "lm_head", [40, 32], None),
];

/// The pairs of the linear layers, of rank 3, as `architecture` has them.
fn linears(architecture: &str) -> Vec<Pair> {
    let heads = |heads: Option<u64>| heads.filter(|_| architecture == "llama");
    LINEARS.iter().map(|(gguf, module, shape, of)| Pair::linear(gguf, module, *shape, 3, heads(*of))).collect()
}

fn opened(base: &Dir, adapter: &std::path::Path, weight: f64) -> Source {
    let source = base.open().expect("the base is a checkpoint");
    source.with_adapter(adapter, weight, &Limits::default()).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

fn layers(store: &Store, model: &str) -> Vec<(Option<String>, Digest)> {
    let layers = read(store, model).manifest.layers.into_iter().filter(Descriptor::is_tensor);
    layers.map(|layer| (layer.name.clone(), layer.digest)).collect()
}

/// Merges the adapter in both forms into floats and codes, and compares what is stored.
fn are_equal(base: &Dir, adapter: &Adapter, scale: f32) {
    let dir = Dir::new();
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    import(&store, "base", base.open().expect("it is one"), &PlanOptions::default(), 1);
    for kind in [GgmlType::F32, GgmlType::F16, GgmlType::BF16] {
        let (peft, file) = adapter.write(&dir, kind);
        for (plan, threads) in [(PlanOptions::default(), 1), (options("int4-g32", "uniform"), 3)] {
            import(&store, "peft", opened(base, &peft, 0.5), &plan, 2);
            import(&store, "gguf", opened(base, &file, 0.5), &plan, threads);
            assert_eq!(layers(&store, "gguf"), layers(&store, "peft"), "{kind}");
            assert_ne!(layers(&store, "gguf"), layers(&store, "base"), "{kind}");
        }
        let changes = read(&store, "gguf").config.changes.expect("the adapter is recorded");
        let [record] = &*changes.adapters else { panic!("it is one: {:?}", changes.adapters) };
        assert_eq!(record.digest, Digest::of(&std::fs::read(&file).expect("it was written")));
        assert!(record.scales.values().all(|scales| *scales == [scale * 0.5]), "{:?}", record.scales);
    }
    is_clean(&store);
}

#[test]
fn rows_that_alternate_within_heads_are_put_back() {
    let adapter = Adapter { pairs: linears("llama"), ..Adapter::new("llama", 6.0) };
    are_equal(&base(LLAMA, &LINEARS), &adapter, 2.0);
}

#[test]
fn other_architectures_have_the_rows_of_a_checkpoint() {
    let adapter = Adapter { pairs: linears("qwen3"), ..Adapter::new("qwen3", 1.5) };
    are_equal(&base(QWEN3, &LINEARS), &adapter, 0.5);
}

/// As llama.cpp, which then multiplies by nothing.
#[test]
fn an_alpha_of_zero_is_none() {
    let adapter = Adapter { pairs: linears("llama"), peft_alpha: 3.0, ..Adapter::new("llama", 0.0) };
    are_equal(&base(LLAMA, &LINEARS), &adapter, 1.0);
}

#[test]
fn embeddings_norms_and_experts() {
    let embedding = ("token_embd", "model.embed_tokens", [40, 32], None);
    let mut linears = vec![embedding, ("output", "lm_head", [40, 32], None)];
    let names: Vec<String> = (0..3).map(|at| format!("model.layers.0.mlp.experts.{at}.up_proj")).collect();
    linears.extend(names.iter().map(|name| ("", name.as_str(), [64, 32], None)));
    let base = base(&QWEN3.replace("Qwen3For", "Qwen3MoeFor").replace("\"qwen3\"", "\"qwen3_moe\""), &linears);
    let pairs = vec![
        Pair::embedding([40, 32], 3),
        Pair::experts("blk.0.ffn_up_exps", "model.layers.0.mlp.experts", "up_proj", [3, 64, 32], 3),
    ];
    let adapter = Adapter { pairs, norms: vec![("output_norm", "model.norm", 32)], ..Adapter::new("qwen3moe", 6.0) };
    are_equal(&base, &adapter, 2.0);
}

/// A base from a GGUF file is stored as the checkpoint is, and takes the adapter as that does.
#[test]
fn a_base_from_a_gguf_file() {
    let (dir, base) = (Dir::new(), base(LLAMA, &LINEARS));
    let adapter = Adapter { pairs: linears("llama"), ..Adapter::new("llama", 6.0) };
    let (_, file) = adapter.write(&dir, GgmlType::F32);
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    import(&store, "checkpoint", opened(&base, &file, 1.0), &PlanOptions::default(), 2);
    dir.file("base.gguf", files::base_file(&base, &LINEARS));
    let source = open(&dir.join("base.gguf")).expect("it is whole");
    let source =
        source.with_adapter(&file, 1.0, &Limits::default()).unwrap_or_else(|error| panic!("{}", chain(&error)));
    import(&store, "file", source, &PlanOptions::default(), 2);
    let found = compare(&store, "file", "checkpoint");
    assert!(found.differ.is_empty() && found.equal == LINEARS.len() + 1, "{found:?}");
}

#[test]
fn the_scale_is_said() {
    let (dir, base) = (Dir::new(), base(LLAMA, &LINEARS));
    let mut adapter = Adapter { pairs: linears("llama"), ..Adapter::new("llama", 6.0) };
    let note = |adapter: &Adapter| {
        let (_, file) = adapter.write(&dir, GgmlType::F32);
        let plan = longshore_packer::Plan::new(opened(&base, &file, 1.0), &PlanOptions::default()).expect("it fits");
        plan.notes.into_iter().find(|note| note.starts_with("adapter")).expect("it is said")
    };
    assert!(note(&adapter).ends_with("6 updates merged, with the scale 2"), "{}", note(&adapter));
    adapter.pairs[2] = Pair::linear("blk.0.attn_v", "model.layers.0.self_attn.v_proj", [16, 32], 2, None);
    assert!(note(&adapter).ends_with("with the scales alpha / rank from 2 to 3"), "{}", note(&adapter));
}

#[test]
fn an_attachment_comes_back_to_the_byte() {
    let adapter = Adapter { pairs: linears("llama"), ..Adapter::new("llama", 6.0) };
    for is_padded in [true, false] {
        let dir = Dir::new();
        let store = Store::open(dir.join("store")).expect("the directory is ours");
        // Tensors of 66 bytes, with padding between them and behind the last.
        let (_, file) = adapter.write(&dir, GgmlType::F16);
        let mut bytes = std::fs::read(&file).expect("it was written");
        if !is_padded {
            let len = bytes.iter().rposition(|byte| *byte != 0).expect("it has numbers") + 1;
            bytes.truncate(len.next_multiple_of(2));
            std::fs::write(&file, &bytes).expect("it is ours");
        }
        let of = Digest::of(b"a base");
        let attachment = || {
            Source::open_attachment(&file, of, &Limits::default()).unwrap_or_else(|error| panic!("{}", chain(&error)))
        };
        import(&store, "attached", attachment(), &PlanOptions::default(), 2);
        for format in [ExportFormat::Hf, ExportFormat::Gguf] {
            let out = dir.join(&format!("{format:?}"));
            export_to(&store, "attached", &out, &ExportOptions { format, ..ExportOptions::default() });
            let found = files_of(&out);
            assert_eq!(found.keys().collect::<Vec<_>>(), ["adapter.gguf"]);
            assert!(found["adapter.gguf"] == bytes, "{is_padded}");
        }
        assert_eq!(read(&store, "attached").config.base.map(|base| base.digest), Some(of));
        // What is made of the header is built again, too.
        let model = read(&store, "attached");
        let (_, layer) =
            model.manifest.files().find(|(name, _)| name.as_str() == "adapter/adapter.gguf.json").expect("it is there");
        std::fs::remove_file(store.blob_path(&layer.digest)).expect("it is ours");
        let outcome = repair(&store, attachment(), &RepairOptions::default(), &longshore_manifest::Silent);
        assert_eq!(outcome.expect("the store can be repaired").repaired.len(), 1);
        is_clean(&store);
    }
}

#[test]
fn an_attachment_may_have_any_tensors_that_an_adapter_has() {
    let mut adapter = Adapter { pairs: linears("llama"), ..Adapter::new("llama", 6.0) };
    adapter.norms = vec![("output_norm", "model.norm", 32)];
    let dir = Dir::new();
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    let (_, file) = adapter.write(&dir, GgmlType::BF16);
    let source = Source::open_attachment(&file, Digest::of(b"a base"), &Limits::default()).expect("it is an adapter");
    import(&store, "attached", source, &PlanOptions::default(), 1);
    export_to(&store, "attached", &dir.join("out"), &ExportOptions::default());
    let found = std::fs::read(dir.join("out/adapter.gguf")).expect("it was exported");
    assert!(found == std::fs::read(&file).expect("it was written"));
}

/// Heads whose lines are read in pieces: several of one head.
#[test]
fn pieces_begin_and_end_within_heads() {
    let linears = [("blk.0.attn_q", "model.layers.0.self_attn.q_proj", [1200, 320], Some(2))];
    let config = LLAMA.replace("\"hidden_size\":32,", "").replace("_heads\":4", "_heads\":2");
    let pairs = linears.iter().map(|(gguf, module, shape, of)| Pair::linear(gguf, module, *shape, 5, *of)).collect();
    are_equal(&base(&config, &linears), &Adapter { pairs, ..Adapter::new("llama", 10.0) }, 2.0);
}

#[test]
fn a_file_of_no_adapter() {
    let dir = Dir::new();
    dir.file("x.gguf", gguf(&[("general.architecture", "llama")], 0.0, &[], &[]));
    let found = opened_error(&dir.join("x.gguf"));
    assert!(found.contains("general.type: no value, expected adapter"), "{found}");
}

fn opened_error(path: &std::path::Path) -> String {
    let base = base(LLAMA, &LINEARS).open().expect("it is a checkpoint");
    chain(&base.with_adapter(path, 1.0, &Limits::default()).expect_err("it is no adapter"))
}

/// Types of the tensors of a base.
const BASE: Dtype = Dtype::BF16;
