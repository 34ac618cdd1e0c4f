//! Adapters beside the weights, against the same adapters merged into them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use longshore_gguf::{self as gguf, Dims, GgmlType, Metadata};
use longshore_model::gguf::{Form, Heads, NameMap};
use longshore_packer::{ImportOptions, Plan, PlanOptions, Source as Import, st_format::Limits};
use longshore_run::{
    LoadError, LoadOptions, Model,
    manifest::{
        Digest, Silent, Store,
        st_format::{Dtype, Layout, Shape},
        weights::Source,
    },
};

use crate::checkpoint::{Case, distance, values};

const TOKENS: [u32; 5] = [7, 41, 3, 60, 22];
const LORA: &str = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 3}"#;

/// Writes an adapter of rank 2 for weights of these shapes.
fn write(dir: &Path, weights: &[(&str, [u64; 2])], others: &[(&str, &[u64])]) {
    std::fs::create_dir_all(dir).expect("there is room");
    std::fs::write(dir.join("adapter_config.json"), LORA).expect("there is room");
    let mut tensors = BTreeMap::<String, Vec<u64>>::new();
    for (name, [out, columns]) in weights {
        let module = name.strip_suffix(".weight").expect("it is a weight");
        tensors.insert(format!("base_model.model.{module}.lora_A.weight"), vec![2, *columns]);
        tensors.insert(format!("base_model.model.{module}.lora_B.weight"), vec![*out, 2]);
    }
    tensors.extend(others.iter().map(|(name, shape)| (format!("base_model.model.{name}"), shape.to_vec())));
    let parts = tensors.iter().map(|(name, shape)| (name.as_str(), Dtype::F32, Shape::from(shape.clone())));
    let layout = Layout::new(&BTreeMap::default(), parts).expect("the shapes are small");
    let mut bytes = layout.header().to_vec();
    for part in layout.parts() {
        let values = values(part.name, &tensors[part.name]);
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    std::fs::write(dir.join("adapter_model.safetensors"), bytes).expect("there is room");
}

fn store(store: &Store, name: &str, source: Import) -> Source {
    let plan = Plan::new(source, &PlanOptions::default()).expect("it can be planned");
    let name = name.parse().expect("it is a name");
    plan.import(store, &name, &ImportOptions::default(), &Silent).expect("there is room");
    Source::of_model(store, &store.model(&name).expect("it is stored")).expect("it has a table")
}

fn logits(source: Source, adapter: Option<Source>) -> Result<Vec<f32>, LoadError> {
    let model = Model::open(source, LoadOptions { adapter, ..LoadOptions::default() })?;
    let mut logits = Vec::new();
    model.session().extend_all(&TOKENS, &mut logits).expect("the tokens are fine");
    Ok(logits)
}

/// The weights of the first layer's linear layers that are no experts.
fn linears(case: &Case) -> Vec<(&str, [u64; 2])> {
    let is_linear =
        |name: &str| name.contains("layers.0.") && name.ends_with("_proj.weight") && !name.contains("experts");
    let linears = case.tensors.iter().filter(|(name, _)| is_linear(name));
    linears.map(|(name, shape)| (name.as_str(), [shape[0], shape[1]])).collect()
}

#[test]
fn live_adapters_give_what_merged_ones_do() {
    for name in ["llama", "gemma3", "qwen3-moe"] {
        let case = Case::named(name);
        let (folder, home) = (case.write(), tempfile::tempdir().expect("there is room"));
        let weights = linears(&case);
        assert!(weights.len() >= 4, "{name}: {weights:?}");
        let adapter = home.path().join("adapter");
        write(&adapter, &weights, &[]);
        let limits = Limits::default();
        let open = || Import::open(folder.path(), &limits).expect("it is a checkpoint");
        let in_store = Store::open(home.path().join("store")).expect("there is room");
        let base = store(&in_store, "base", open());
        let merged = open().with_adapter(&adapter, 1.0, &limits).expect("it is an adapter");
        let merged = store(&in_store, "merged", merged);
        let attached = Import::open_attachment(&adapter, Digest::of(b"base"), &limits).expect("it is an adapter");
        let attached = store(&in_store, "attached", attached);
        let plain = logits(base.clone(), None).expect("it can be run");
        let expected = logits(merged, None).expect("it can be run");
        let found = logits(base.clone(), Some(attached)).expect("it can be run");
        let (change, error) = (distance(&plain, &expected), distance(&found, &expected));
        assert!(change > 1e-3, "{name}: the adapter changes nothing: {change}");
        assert!(error < 1e-4 * change.max(1.0), "{name}: off by {error}, of a change of {change}");
    }
}

/// The GGUF file that llama.cpp's converter makes of an adapter for `weights`, of an architecture in which `heads` of queries and of
/// keys alternate.
fn converted(dir: &Path, architecture: &str, weights: &[(&str, [u64; 2])], heads: [u64; 2]) -> PathBuf {
    let map = NameMap::of(architecture).expect("it has a map");
    let mut tensors = Vec::new();
    for (name, [out, columns]) in weights {
        let module = name.strip_suffix(".weight").expect("it is a weight");
        let [found] = &map.to_gguf(name)[..] else { panic!("{name} is one tensor") };
        let [a, b] = ["A", "B"].map(|factor| format!("base_model.model.{module}.lora_{factor}.weight"));
        let rows = values(&b, &[*out, 2]);
        let of = |row: u64| match found.form {
            Form::Rotary(of) => {
                let head = out / if of == Heads::Query { heads[0] } else { heads[1] };
                row - row % head + row % 2 * (head / 2) + row % head / 2
            }
            _ => row,
        };
        let rows = (0..*out).flat_map(|row| {
            let at = usize::try_from(of(row)).expect("it is small") * 2;
            [rows[at], rows[at + 1]]
        });
        tensors.push((format!("{}.lora_a", found.gguf), [2, *columns], values(&a, &[2, *columns])));
        tensors.push((format!("{}.lora_b", found.gguf), [*out, 2], rows.collect()));
    }
    let mut metadata = Metadata::new();
    for (key, text) in [("general.type", "adapter"), ("general.architecture", architecture), ("adapter.type", "lora")] {
        metadata.push(key, text).expect("it is new");
    }
    metadata.push("adapter.lora.alpha", 3.0_f32).expect("it is new");
    let dims = |shape: &[u64]| Dims::from_shape(shape).expect("it is small");
    let list = tensors.iter().map(|(name, shape, _)| (name.as_str(), GgmlType::F32, dims(shape)));
    let layout = gguf::Layout::new(metadata, list).expect("names are unique");
    let mut writer = gguf::Writer::new(Vec::new(), layout).expect("a Vec takes it");
    for (.., values) in &tensors {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        writer.write(&bytes).expect("it is planned");
    }
    let path = dir.join("adapter.gguf");
    std::fs::write(&path, writer.finish().expect("all was written")).expect("there is room");
    path
}

#[test]
fn an_adapter_of_llama_cpp_gives_what_that_of_peft_does() {
    for (name, architecture) in [("llama", "llama"), ("qwen3-moe", "qwen3moe")] {
        let case = Case::named(name);
        let (folder, home) = (case.write(), tempfile::tempdir().expect("there is room"));
        let weights = linears(&case);
        let adapter = home.path().join("adapter");
        write(&adapter, &weights, &[]);
        let of = |member: &str| case.config[member].as_u64().expect("it is stated");
        let file =
            converted(home.path(), architecture, &weights, [of("num_attention_heads"), of("num_key_value_heads")]);
        let limits = Limits::default();
        let in_store = Store::open(home.path().join("store")).expect("there is room");
        let base = store(&in_store, "base", Import::open(folder.path(), &limits).expect("it is a checkpoint"));
        let attached = |name: &str, path: &Path| {
            let attached = Import::open_attachment(path, Digest::of(b"base"), &limits).expect("it is an adapter");
            logits(base.clone(), Some(store(&in_store, name, attached))).expect("it can be applied")
        };
        let (peft, gguf) = (attached("peft", &adapter), attached("gguf", &file));
        let is_same = |a: &[f32], b: &[f32]| a.iter().map(|a| a.to_bits()).eq(b.iter().map(|b| b.to_bits()));
        assert!(is_same(&peft, &gguf), "{name}: off by {}", distance(&peft, &gguf));
        assert!(distance(&peft, &logits(base.clone(), None).expect("it can be run")) > 1e-3, "{name}");
    }
}

#[test]
fn an_adapter_of_llama_cpp_for_another_architecture() {
    let case = Case::named("llama");
    let (folder, home) = (case.write(), tempfile::tempdir().expect("there is room"));
    let file = converted(home.path(), "qwen3", &linears(&case), [1, 1]);
    let in_store = Store::open(home.path().join("store")).expect("there is room");
    let base = store(&in_store, "base", Import::open(folder.path(), &Limits::default()).expect("it is a checkpoint"));
    let attached = Import::open_attachment(&file, Digest::of(b"base"), &Limits::default()).expect("it is an adapter");
    let error = logits(base, Some(store(&in_store, "gguf", attached))).expect_err("it is another's").to_string();
    assert!(error.contains("\"qwen3\" of llama.cpp"), "{error}");
}

#[test]
fn matrices_that_are_turned_take_no_live_adapter() {
    let case = Case::named("gpt2");
    let (folder, home) = (case.write(), tempfile::tempdir().expect("there is room"));
    let in_store = Store::open(home.path().join("store")).expect("there is room");
    let base = store(&in_store, "base", Import::open(folder.path(), &Limits::default()).expect("it is a checkpoint"));
    // The square one would be added without an error, the wrong way round.
    let is_square = |name: &str| name.contains("h.0.") && name.ends_with("attn.c_proj.weight");
    let (name, shape) = case.tensors.iter().find(|(name, _)| is_square(name)).expect("it has one");
    let adapter = home.path().join("adapter");
    write(&adapter, &[(name, [shape[0], shape[1]])], &[]);
    let attached = Import::open_attachment(&adapter, Digest::of(b"base"), &Limits::default());
    let attached = store(&in_store, "attached", attached.expect("it is an adapter"));
    let error = logits(base, Some(attached)).expect_err("it cannot be applied").to_string();
    assert!(error.contains("stored as [in, out]"), "{error}");
}

#[test]
fn adapters_that_cannot_be_applied_live() {
    let case = Case::named("llama");
    let (folder, home) = (case.write(), tempfile::tempdir().expect("there is room"));
    let in_store = Store::open(home.path().join("store")).expect("there is room");
    let base = store(&in_store, "base", Import::open(folder.path(), &Limits::default()).expect("it is a checkpoint"));
    let weight = linears(&case)[0];
    let module = weight.0.strip_suffix(".weight").expect("it is a weight");
    let magnitude = format!("{module}.lora_magnitude_vector");
    let norm = "model.norm.weight";
    let hidden = case.tensors[norm].clone();
    for (weights, others, expected) in [
        (&[weight][..], &[(magnitude.as_str(), &[weight.1[0]][..])][..], "magnitudes (DoRA)"),
        (&[weight], &[(norm, hidden.as_slice())], "it replaces \"model.norm.weight\""),
        (&[("model.layers.99.self_attn.q_proj.weight", weight.1)], &[], "belongs to nothing in the base"),
        (&[(weight.0, [weight.1[0], weight.1[1] + 1])], &[], "inputs"),
    ] {
        let adapter = home.path().join("adapter");
        write(&adapter, weights, others);
        let attached = Import::open_attachment(&adapter, Digest::of(b"base"), &Limits::default());
        let attached = store(&in_store, "attached", attached.expect("it is an adapter"));
        let error = logits(base.clone(), Some(attached)).expect_err("it cannot be applied").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn listed_experts_take_no_live_adapter() {
    // A checkpoint has its experts one by one, and an import stacks them.
    let case = Case::named("mixtral");
    let (folder, home) = (case.write(), tempfile::tempdir().expect("there is room"));
    let in_store = Store::open(home.path().join("store")).expect("there is room");
    let base = Source::open(folder.path()).expect("it is a checkpoint");
    let is_expert = |name: &str| name.contains("layers.0.") && name.ends_with("experts.1.w1.weight");
    let (name, shape) = case.tensors.iter().find(|(name, _)| is_expert(name)).expect("it has one");
    let adapter = home.path().join("adapter");
    write(&adapter, &[(name, [shape[0], shape[1]])], &[]);
    let attached = Import::open_attachment(&adapter, Digest::of(b"base"), &Limits::default());
    let attached = store(&in_store, "attached", attached.expect("it is an adapter"));
    let error = logits(base, Some(attached)).expect_err("it cannot be applied").to_string();
    assert!(error.contains(name.as_str()) && error.contains("nothing can be added beside"), "{error}");
}

#[test]
fn factors_that_are_not_finite_take_no_part() {
    let case = Case::named("llama");
    let (folder, home) = (case.write(), tempfile::tempdir().expect("there is room"));
    let in_store = Store::open(home.path().join("store")).expect("there is room");
    let base = Source::open(folder.path()).expect("it is a checkpoint");
    let weight = linears(&case)[0];
    for (at, (number, alpha, words)) in
        [(f32::NAN, 3.0, "holds a number that is not finite"), (1e38, 64.0, "is not finite")].into_iter().enumerate()
    {
        let adapter = home.path().join(format!("adapter{at}"));
        write(&adapter, &[weight], &[]);
        let config = format!(r#"{{"peft_type": "LORA", "r": 2, "lora_alpha": {alpha:?}}}"#);
        std::fs::write(adapter.join("adapter_config.json"), config).expect("there is room");
        let file = adapter.join("adapter_model.safetensors");
        let mut bytes = std::fs::read(&file).expect("it was written");
        let end = bytes.len() - 4;
        bytes[end..].copy_from_slice(&number.to_le_bytes());
        std::fs::write(&file, bytes).expect("there is room");
        let attached = Import::open_attachment(&adapter, Digest::of(b"base"), &Limits::default());
        let attached = store(&in_store, &format!("attached{at}"), attached.expect("it is an adapter"));
        let error = logits(base.clone(), Some(attached)).expect_err("it cannot be applied").to_string();
        assert!(error.contains(words), "{error}");
    }
}
