//! What is given with a model that is rotated: adapters, drafts and statistics, which belong to the model as it was or as it is.

use std::sync::Arc;

use longshore_packer::{
    HessianFile, ImportError, ImportOptions, ImportanceFile, Plan, PlanError, PlanOptions, Source, SourceError,
};
use longshore_st_format::{Dtype, Layout, Limits, Shape};
use serde_json::json;

use crate::{
    calibrated::{Hessians, gptq},
    rotated::{import, model, rotate},
    stores::{name, store, threads, try_import},
    support::{Dir, chain, open, options},
};

const LAYER: &str = "model.layers.0";

/// An adapter with the factors A and B of these names and shapes.
fn adapter(factors: &[(&str, &[u64])]) -> Dir {
    let dir = Dir::new();
    dir.file("adapter_config.json", r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}"#);
    let tensors: Vec<_> = factors.iter().map(|(name, shape)| (*name, Dtype::F32, *shape)).collect();
    dir.typed_weights("adapter_model.safetensors", &tensors);
    dir
}

fn of_query() -> Dir {
    adapter(&[
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", &[2, 128]),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", &[64, 2]),
    ])
}

fn with(source: Source, adapter: &Dir) -> Source {
    source.with_adapter(adapter.path(), 1.0, &Limits::default()).expect("it is an adapter")
}

#[test]
fn an_adapter_is_merged_before_a_rotation_and_not_after() {
    let (dir, adapter, target) = (model(64, &[]), of_query(), Dir::new());
    let store = store(&target);
    import(&store, "rotated", &rotate(&dir, &PlanOptions::default()).expect("it fits"), 1);
    let stored = open(&store.manifest_path(&name("rotated"))).expect("it is stored");
    let error = Plan::new(with(stored, &adapter), &PlanOptions::default()).expect_err("it is of another stream");
    assert!(matches!(error, PlanError::AdapterRotated { .. }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--adapter DIR --rotate SEED")), "{:?}", error.hint());
    let both = with(dir.open().expect("it is a model"), &adapter).rotated(9).expect("it can be rotated");
    Plan::new(both, &PlanOptions::default()).expect("the adapter is merged first");
}

/// Nobody knows whether a head that was one with the embedding should get what an adapter adds to the embedding.
#[test]
fn an_adapter_of_a_tied_embedding_is_refused_with_a_rotation_too() {
    let adapter = adapter(&[
        ("base_model.model.model.embed_tokens.lora_embedding_A", &[2, 24]),
        ("base_model.model.model.embed_tokens.lora_embedding_B", &[128, 2]),
    ]);
    let dir = model(64, &[]);
    let plain = with(dir.open().expect("it is a model"), &adapter);
    let rotated = plain.clone().rotated(9).expect("it can be rotated");
    for source in [plain, rotated] {
        let error = Plan::new(source, &PlanOptions::default()).expect_err("what it would do is not clear");
        assert!(matches!(error, PlanError::Adapter { .. }), "{error:?}");
    }
}

#[test]
fn a_draft_stands_beside_a_rotated_model_and_is_not_rotated() {
    let (dir, target) = (model(64, &[]), Dir::new());
    let draft = Dir::model(&[("model.embed_tokens.weight", &[24, 8]), ("lm_head.weight", &[24, 8])]);
    let rotated = dir.open().expect("it is a model").rotated(9).expect("it can be rotated");
    let error = rotated.with_draft(draft.open().expect("it is a model")).expect_err("only one model is rotated");
    assert!(matches!(error, SourceError::Draft { .. }) && chain(&error).contains("to be rotated"), "{error:?}");
    // A model of its own proposes tokens, whatever the stream of the other.
    let store = store(&target);
    import(&store, "rotated", &rotate(&dir, &PlanOptions::default()).expect("it fits"), 1);
    let stored = open(&store.manifest_path(&name("rotated"))).expect("it is stored");
    let both = stored.with_draft(draft.open().expect("it is a model")).expect("they fit");
    Plan::new(both, &PlanOptions::default()).expect("it has nothing to do with the stream");
}

/// Mean squares of the inputs of the query, with a record of the rotation if there is one.
fn squares(dir: &Dir, rotated: Option<&str>) -> Arc<ImportanceFile> {
    let metadata = rotated.map(|rotated| ("rotated".to_owned(), rotated.to_owned())).into_iter().collect();
    let part = (format!("{LAYER}.self_attn.q_proj.weight"), Dtype::F32, Shape::new([128]));
    let layout = Layout::new(&metadata, [part]).expect("there is one name");
    let file = format!("squares/{}.safetensors", rotated.unwrap_or("none"));
    dir.file(&file, [layout.header(), &1.0_f32.to_le_bytes().repeat(128)].concat());
    Arc::new(ImportanceFile::open(dir.join(&file)).expect("it is valid"))
}

/// Hessians of weights, by the ends of their names and their inputs.
fn hessians(dir: &Dir, rotated: Option<&str>, of: &[(&str, usize)]) -> Arc<HessianFile> {
    let names: Vec<_> = of.iter().map(|(rest, _)| format!("hessian/{rest}")).collect();
    let identity = |size: usize| (0..size * size).map(|at| if at / size == at % size { 1.0 } else { 0.0 }).collect();
    let arrays = names.iter().zip(of).map(|(name, (_, size))| (&**name, vec![*size as u64; 2], identity(*size)));
    let of_weights: serde_json::Map<String, serde_json::Value> =
        of.iter().zip(&names).map(|((rest, _), name)| (format!("{LAYER}.{rest}.weight"), json!(name))).collect();
    let mut metadata = vec![("hessians".to_owned(), serde_json::Value::from(of_weights).to_string())];
    metadata.extend(rotated.map(|rotated| ("rotated".to_owned(), rotated.to_owned())));
    let file = Hessians { arrays: arrays.collect(), metadata: metadata.into_iter().collect() };
    file.open(dir).expect("it is valid")
}

#[test]
fn statistics_of_another_rotation_are_refused() {
    let (dir, target) = (model(64, &[]), Dir::new());
    let store = store(&target);
    let plan = rotate(&dir, &options("int4", "uniform")).expect("it fits");
    let of = |rotated: Option<&str>| {
        let importance = ImportOptions { importance: Some(squares(&dir, rotated)), ..threads(1) };
        [importance, gptq(&hessians(&dir, rotated, &[("self_attn.q_proj", 128)]), None, 1)]
    };
    for (rotated, words) in [
        (None, "rotated or not, which the file does not state"),
        (Some("false"), "not rotated"),
        (Some("true"), "rotated by a seed that the file does not state"),
        (Some("8"), "rotated by seed 8"),
    ] {
        for options in of(rotated) {
            let error = try_import(&store, "m", &plan, &options).expect_err("they are of other weights");
            let hint = match &error {
                ImportError::Importance(error) => error.hint(),
                ImportError::Hessians(error) => error.hint(),
                error => panic!("{error:?}"),
            };
            assert!(hint.is_some_and(|hint| hint.contains("calibrate a stored model")), "{hint:?}");
            let error = chain(&error);
            assert!(error.contains(&format!("{words}, and the weights are rotated by seed 9")), "{error}");
        }
    }
    for options in of(Some("9")) {
        try_import(&store, "m", &plan, &options).expect("they are of the same weights");
    }
    // A stored model has its basis, which a file without a record may be in.
    import(&store, "floats", &rotate(&dir, &PlanOptions::default()).expect("it fits"), 1);
    let stored = open(&store.manifest_path(&name("floats"))).expect("it is stored");
    let plan = Plan::new(stored, &options("int4", "uniform")).expect("it fits");
    let warnings = squares(&dir, None).check(&plan).expect("it may be of these");
    assert!(warnings.iter().any(|warning| warning.contains("does not say whether")), "{warnings:?}");
    assert!(squares(&dir, Some("8")).check(&plan).is_err());
}

/// Rows of what writes to the stream are made by the rotation, piece by piece, and no Hessian is applied to them.
#[test]
fn hessians_of_writers_are_said_to_be_for_a_stored_model() {
    let (dir, target) = (model(64, &[]), Dir::new());
    let store = store(&target);
    let file = hessians(&dir, Some("9"), &[("self_attn.q_proj", 128), ("self_attn.o_proj", 64)]);
    let plan = rotate(&dir, &options("int4", "uniform")).expect("it fits");
    let found = file.check(&plan).expect("it fits");
    let is_said = |warning: &String| {
        warning.contains("the Hessians of 1 of")
            && warning.contains("o_proj")
            && warning.contains("store the model without")
    };
    assert!(found.iter().any(is_said), "{found:?}");
    import(&store, "floats", &rotate(&dir, &PlanOptions::default()).expect("it fits"), 1);
    let stored = open(&store.manifest_path(&name("floats"))).expect("it is stored");
    let found = file.check(&Plan::new(stored, &options("int4", "uniform")).expect("it fits")).expect("it fits");
    assert!(!found.iter().any(is_said) && found.iter().any(|warning| warning.contains("have no Hessian")), "{found:?}");
}
