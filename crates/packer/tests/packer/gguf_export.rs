//! GGUF files of models that came from checkpoints.

use std::{collections::BTreeMap, fs, path::PathBuf};

use longshore_gguf::{Gguf, Value};
use longshore_manifest::{Silent, Store, document::Arrangement};
use longshore_packer::{ExportError, ExportFormat, ExportOptions, ImportOptions, Plan, PlanOptions, TakeOver};
use longshore_quant::ggml::{self, GgmlType};
use longshore_st_format::{SafeTensors, fixtures};

use crate::{
    gguf_names::{Compared, compare},
    stores::{export_to, files, import_as, read, store, try_export},
    support::{Dir, open},
};

/// Checkpoints of architectures that llama.cpp has and whose tensors all have a place there.
const MODELS: [&str; 6] = ["llama", "gemma3-text", "qwen3-moe", "deepseek-v3", "mixtral", "nemotron-h"];

fn gguf(asked: Option<GgmlType>) -> ExportOptions {
    ExportOptions { format: ExportFormat::Gguf, gguf_type: asked, ..ExportOptions::default() }
}

/// Imports the generated checkpoint of a model as `name`.
fn import(store: &Store, model: &str, name: &str, scheme: &str) {
    let dir = Dir::new();
    fixtures::model(model).write(dir.join("")).expect("the directory is ours");
    import_as(store, name, &open(&dir.join("")).expect("it is a checkpoint"), scheme);
}

/// Exports `name` as GGUF, imports the file as `back`, and compares the values of both.
fn there_and_back(store: &Store, place: &Dir, name: &str, asked: Option<GgmlType>) -> Compared {
    let out = place.join(&format!("{name}-out"));
    export_to(store, name, &out, &gguf(asked));
    assert!(!out.join("config.json").exists() && !out.join("tokenizer.json").exists());
    import_as(store, "back", &open(&out.join("model.gguf")).expect("it was just written"), "none");
    compare(store, name, "back")
}

#[test]
fn a_checkpoint_becomes_a_file_with_its_values() {
    for model in MODELS {
        let place = Dir::new();
        let store = store(&place);
        import(&store, model, "m", "none");
        let found = there_and_back(&store, &place, "m", None);
        assert_eq!((found.differ, found.only_a), (BTreeMap::new(), Vec::new()), "{model}");
        assert!(
            found.equal > 0 && found.only_b.iter().all(|name| name.starts_with("rope_")),
            "{model}: {:?}",
            found.only_b
        );
    }
}

#[test]
fn codes_that_ggml_has_are_kept_where_rows_change_places() {
    let place = Dir::new();
    let store = store(&place);
    import(&store, "llama", "m", "int4");
    let entry = |name: &str| {
        let model = read(&store, name);
        let table = model.config.longshore.as_deref().expect("this program wrote it");
        let (_, entry) =
            table.tensors().find(|(_, entry)| entry.name.ends_with("0.self_attn.q_proj.weight")).expect("it has one");
        (entry.quantization.clone(), entry.arrangement)
    };
    // Values in int8 have no type in ggml that is exact, and are encoded.
    let found = there_and_back(&store, &place, "m", Some(GgmlType::F32));
    assert_eq!((found.differ, found.only_a), (BTreeMap::new(), Vec::new()));
    let (stored, _) = entry("m");
    let (back, arrangement) = entry("back");
    assert_eq!(stored.expect("it is quantized").quant_type, "int4");
    assert_eq!(back.expect("it has blocks").quant_type, "q4_1");
    assert!(matches!(arrangement, Arrangement::Halves { .. }), "{arrangement:?}");

    let error = try_export(&store, "m", &place.join("refused"), &gguf(None)).expect_err("int8 has no exact type");
    let ExportError::GgufTensors { tensors } = &error else { panic!("{error}") };
    assert!(tensors.iter().any(|(name, _)| name == "output.weight"), "{error}");
}

/// From a checkpoint to GGUF and on to MLX: the codes of every step are the same.
#[test]
fn a_file_of_blocks_goes_on_to_mlx() {
    let place = Dir::new();
    let store = store(&place);
    import(&store, "llama", "m", "int4");
    export_to(&store, "m", &place.join("gguf"), &gguf(Some(GgmlType::F32)));
    let source = open(&place.join("gguf/model.gguf")).expect("it was just written");
    let options = PlanOptions { take_over: TakeOver::Every, ..PlanOptions::default() };
    let plan = Plan::new(source, &options).expect("it can be planned");
    let name = "back".parse().expect("it is a name");
    plan.import(&store, &name, &ImportOptions::default(), &Silent).expect("it can be imported");
    let mlx = ExportOptions { format: ExportFormat::Mlx, ..ExportOptions::default() };
    export_to(&store, "back", &place.join("mlx"), &mlx);
    let found = files(&place.join("mlx"));
    assert!(found.keys().all(|name| !name.starts_with("gguf")), "{:?}", found.keys());
    let config = String::from_utf8(found["config.json"].clone()).expect("it is JSON");
    assert!(config.contains("\"quantization\""), "{config}");
    let weights = SafeTensors::new(&*found["model.safetensors"]).expect("it was just written");
    for part in ["weight", "scales", "biases"] {
        assert!(weights.tensor(&format!("model.layers.0.self_attn.q_proj.{part}")).is_some(), "{part}");
    }
    assert_eq!(compare(&store, "m", "back").differ, BTreeMap::new());
}

#[test]
fn values_are_encoded_where_rows_change_places() {
    let place = Dir::new();
    let store = store(&place);
    import(&store, "llama", "m", "none");
    export_to(&store, "m", &place.join("floats"), &gguf(Some(GgmlType::F32)));
    export_to(&store, "m", &place.join("blocks"), &gguf(Some(GgmlType::Q8_0)));
    let read = |dir: &str| files(&place.join(dir)).remove("model.gguf").expect("it is one file");
    let (floats, blocks) = (read("floats"), read("blocks"));
    let (floats, blocks) = (Gguf::new(&*floats).expect("it is whole"), Gguf::new(&*blocks).expect("it is whole"));
    assert_eq!(blocks.header().metadata().get("general.file_type"), Some(Value::U32(7)));
    assert_eq!(blocks.header().metadata().get("general.quantization_version"), Some(Value::U32(2)));
    let mut encoded = 0;
    for tensor in blocks.iter().filter(|tensor| tensor.ggml_type.name() == "Q8_0") {
        let values = floats.tensor(tensor.name).expect("both have it").data;
        let values: Vec<f32> = values.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        let mut expected = vec![0; tensor.data.len()];
        ggml::encode(GgmlType::Q8_0, &values, &mut expected).expect("whole blocks");
        assert!(tensor.data == expected, "{}", tensor.name);
        encoded += 1;
    }
    assert!(encoded > 10);
}

#[test]
fn what_llama_cpp_has_no_place_for_is_refused_by_name() {
    let place = Dir::new();
    let store = store(&place);
    for model in ["flux", "qwen3-next"] {
        import(&store, model, "m", "none");
        let error = try_export(&store, "m", &place.join("out"), &gguf(None));
        if let Err(error) = error {
            assert!(matches!(error, ExportError::NotFromGguf { .. } | ExportError::GgufMetadata { .. }), "{error}");
            assert!(!place.join("out").exists());
        } else {
            assert_ne!(model, "flux");
        }
    }
}

/// Files beside the repository, made by another program: the same tensors with the same values, and the same keys.
#[test]
fn files_are_like_those_of_other_programs() {
    let shared = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    if !shared.join("gguf").is_dir() {
        return;
    }
    for (model, file, architecture) in [
        ("llama", "llama-f32", "llama"),
        ("gemma3-text", "gemma3-text-bf16", "gemma3"),
        ("qwen3-moe", "qwen3-moe-bf16", "qwen3moe"),
        ("deepseek-v3", "deepseek-v3-bf16", "deepseek2"),
    ] {
        let place = Dir::new();
        let store = store(&place);
        import_as(&store, "m", &open(&shared.join("models").join(model)).expect("it is whole"), "none");
        export_to(&store, "m", &place.join("out"), &gguf(Some(GgmlType::F32)));
        let ours = fs::read(place.join("out").join("model.gguf")).expect("it was written");
        let theirs = fs::read(shared.join("gguf").join(format!("{file}.gguf"))).expect("it is there");
        let (ours, theirs) = (Gguf::new(&*ours).expect("it is whole"), Gguf::new(&*theirs).expect("it is whole"));
        let prefix = format!("{architecture}.");
        for (key, value) in theirs.header().metadata().iter().filter(|(key, _)| key.starts_with(&prefix)) {
            let found = ours.header().metadata().get(key);
            let is_like = match (value, found) {
                (Value::F32(a), Some(Value::F32(b))) => (a - b).abs() <= a.abs() * 1e-6,
                (value, found) => found == Some(value),
            };
            assert!(is_like, "{file}: {key} is {found:?}, expected {value:?}");
        }
        for tensor in theirs.iter() {
            let found = ours.tensor(tensor.name).unwrap_or_else(|| panic!("{file}: there is no {}", tensor.name));
            assert_eq!(found.dims, tensor.dims, "{file}: {}", tensor.name);
            let values = |tensor: &longshore_gguf::TensorView<'_>| {
                let known: GgmlType = tensor.ggml_type.name().parse().expect("both crates name them alike");
                let mut values = vec![0.0; usize::try_from(tensor.dims.elements()).expect("it is small")];
                ggml::decode(known, tensor.data, &mut values).expect("whole blocks");
                values
            };
            assert!(values(&found) == values(&tensor), "{file}: {}", tensor.name);
        }
    }
}
