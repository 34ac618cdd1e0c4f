//! Adapters beside the weights, against the same adapters merged into them.

use std::{collections::BTreeMap, path::Path};

use longshore_packer::{ImportOptions, Plan, PlanOptions, Source as Import, st_format::Limits};
use longshore_run::{
    LoadError, LoadOptions, Model,
    manifest::{
        Digest, Silent, Store,
        st_format::{Dtype, Layout, Shape},
        weights::Source,
    },
};

use crate::checkpoint::{Case, values};

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

fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
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
