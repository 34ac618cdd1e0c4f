//! The acceptance list of the reference facts, `spec/import-and-store.md` §11, for directories, pipelines and stores.
//! Rows A6, A7 and B14 to B16 are tests of the policies, B17 and B18 of the programs that run a model, B1 of the
//! schemes.
//!
//! Tests say which rows are overruled. Some rows also concern the client of another program, which has no counterpart
//! here.

use longshore_manifest::{ModelName, document::media_type};
use longshore_packer::{Kind, Plan, Source, SourceError};
use longshore_st_format::Dtype;

use crate::{
    stores::{import_as, read, store, tensors, weights},
    support::{Dir, chain, fixture, options, plan},
};

const ONE: &[(&str, &[u64])] = &[("test_tensor", &[2, 2])];

fn with(files: &[&str], weights: &[&str]) -> Dir {
    let dir = Dir::new();
    for (at, file) in weights.iter().enumerate() {
        dir.weights(file, &[(&format!("w{at}.weight"), &[2, 2])]);
    }
    for file in files {
        dir.file(file, "{}");
    }
    dir
}

/// A1, A2, A4, A11 and B3: directories that are models, and their kinds.
///
/// A1 is overruled if no component has weights: such a pipeline is refused. The empty and missing directories of A4 and
/// A11 are errors here too, with other messages. A2 allows `*.safetensors` of any name; the newer B3 overrules it.
#[test]
fn directories() {
    type Row<'a> = (&'a str, &'a [&'a str], &'a [&'a str], Result<usize, &'a str>);
    let rows: &[Row<'_>] = &[
        ("A2 one file", &["config.json"], &["model.safetensors"], Ok(1)),
        (
            "A2 several",
            &["config.json"],
            &["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            Ok(2),
        ),
        ("A1 A2 only a configuration", &["config.json"], &[], Err("no model weights found in")),
        ("A2 A4 no configuration", &[], &["model.safetensors"], Err("config.json not found in")),
        ("A1 A2 A4 A11 empty", &[], &[], Err("is empty")),
        ("A1 a pipeline without weights", &["model_index.json"], &[], Err("lists no component that has weights")),
        ("B3 consolidated is ignored", &["config.json"], &["model.safetensors", "consolidated.safetensors"], Ok(1)),
        ("B3 only consolidated", &["config.json"], &["consolidated.safetensors"], Err("no model weights found in")),
        (
            "B3 a whole model beside shards",
            &["config.json"],
            &["model.safetensors", "model-00001-of-00001.safetensors"],
            Err("ambiguous source"),
        ),
    ];
    for (row, files, weights, expected) in rows {
        match (with(files, weights).open(), expected) {
            (Ok(source), Ok(count)) => assert_eq!((source.tensors.len(), source.kind), (*count, Kind::Float), "{row}"),
            (Err(error), Err(words)) => assert!(chain(&error).contains(words), "{row}: {}", chain(&error)),
            (found, _) => panic!("{row}: {found:?}"),
        }
    }
    assert!(matches!(crate::support::open(&Dir::new().join("none")), Err(SourceError::NotFound { .. })), "A2 A11");
    assert_eq!(fixture("flux").open().expect("A1").kind, Kind::Pipeline);
}

/// B3: the index names arbitrary files, decides which tensors are taken, and must be right.
#[test]
fn indexes() {
    let dir = with(&["config.json"], &["a.safetensors", "b.safetensors"]);
    dir.weights("a.safetensors", &[("w0.weight", &[2, 3]), ("unlisted", &[1])]);
    dir.index(&[("w0.weight", "a.safetensors"), ("w1.weight", "b.safetensors")]);
    let source = dir.open().expect("B3: an index may name arbitrary files");
    let names: Vec<_> = source.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["w0.weight", "w1.weight"], "B3: what it does not list is dropped");
    let first = &source.tensors[0];
    assert_eq!((first.dtype, first.shape.dims()), (Dtype::BF16, &[2, 3][..]), "B3: names, dtypes, shapes");
    assert_eq!(source.shards[first.shard].name, "a.safetensors", "B3: files");

    for (row, entries, words) in [
        ("B3 missing shard", &[("w0.weight", "a.safetensors"), ("x", "c.safetensors")][..], "incomplete"),
        ("B3 missing tensor", &[("w0.weight", "b.safetensors")], "incomplete"),
        ("B3 outside", &[("w0.weight", "../x.safetensors")], "invalid shard path"),
    ] {
        dir.index(entries);
        let error = dir.open().expect_err(row);
        assert!(chain(&error).contains(words), "{row}: {}", chain(&error));
    }
    let twice = with(&["config.json"], &[]);
    twice.weights("model-00001-of-00002.safetensors", ONE);
    twice.weights("model-00002-of-00002.safetensors", ONE);
    assert!(chain(&twice.open().expect_err("B3 twice")).contains("duplicate tensor"));
}

/// A3, A4, A9 and B10: layers that an import writes.
#[test]
fn layers() {
    let (dir, place) = (with(&["config.json"], &[]), Dir::new());
    dir.weights("model-00001-of-00002.safetensors", ONE);
    dir.weights("model-00002-of-00002.safetensors", &[("proj.weight", &[64, 64])]);
    dir.index(&[
        ("test_tensor", "model-00001-of-00002.safetensors"),
        ("proj.weight", "model-00002-of-00002.safetensors"),
    ]);
    let store = store(&place);
    import_as(&store, "mine", &dir.open().expect("it is a model"), "int8");
    let model = read(&store, "mine");
    assert!(store.manifest_path(&model.name).is_file(), "A3: under the given name");
    let layers: Vec<_> = model
        .manifest
        .layers
        .iter()
        .map(|layer| (layer.media_type.as_str(), layer.name.as_deref().unwrap_or("")))
        .collect();
    // A4: the index is not stored. B10: two tensors and a configuration are three layers.
    assert_eq!(
        layers,
        [(media_type::TENSOR, "proj.weight"), (media_type::TENSOR, "test_tensor"), (media_type::JSON, "config.json")]
    );
    let loaded = weights(&store, "mine");
    assert!(loaded.get("proj.weight").expect("A9").quantization().is_some(), "A9: the request reaches each tensor");
    assert!(loaded.get("test_tensor").expect("A9").quantization().is_none(), "A9: small tensors are stored too");
}

/// A10: pipelines. A directory without `model_index.json` is no pipeline, and the error names the missing file. int8
/// reaches the components.
#[test]
fn pipelines() {
    let (dir, place) = (fixture("flux"), Dir::new());
    let store = store(&place);
    import_as(&store, "flux", &dir.open().expect("A10"), "int8");
    let loaded = weights(&store, "flux");
    assert!(loaded.iter().any(|tensor| tensor.quantization().is_some_and(|found| found.quant_type == "int8")), "A10");
    std::fs::remove_file(dir.join("model_index.json")).expect("it was written");
    let error = dir.open().expect_err("A10");
    assert!(matches!(&error, SourceError::NoConfig { .. }), "{error:?}");
    assert!(error.hint().is_some_and(|hint| hint.contains("transformer")), "{error:?}");
}

/// A5 and A12: the path of a manifest, and the size of a model. `OLLAMA_MODELS` has no counterpart: the root is given.
#[test]
fn places_and_sizes() {
    let place = Dir::new();
    let store = store(&place);
    for (name, path) in [
        ("llama2", "registry.ollama.ai/library/llama2/latest"),
        ("llama2:7b", "registry.ollama.ai/library/llama2/7b"),
        ("myuser/mymodel", "registry.ollama.ai/myuser/mymodel/latest"),
        ("myuser/mymodel:v1", "registry.ollama.ai/myuser/mymodel/v1"),
        ("registry.example.com/namespace/model:tag", "registry.example.com/namespace/model/tag"),
    ] {
        let parsed: ModelName = name.parse().expect("A5");
        assert_eq!(store.manifest_path(&parsed), store.root().join("manifests").join(path), "A5 {name}");
    }
    let dir = Dir::model(&[("a.weight", &[10, 10]), ("b.weight", &[20, 10])]);
    dir.file("tokenizer.json", "[]");
    import_as(&store, "m", &dir.open().expect("it is a model"), "none");
    assert_eq!(weights(&store, "m").bytes(), 2 * (100 + 200), "A12: only tensors count");
}

/// A13: the header of a stored blob, and the loaded values. Loading converts nothing: `Load(bf16)` is left to loaders.
#[test]
fn loading() {
    let (dir, place) = (fixture("llama"), Dir::new());
    let store = store(&place);
    let source = dir.open().expect("it is a model");
    import_as(&store, "m", &source, "none");
    let loaded = weights(&store, "m");
    assert!(!loaded.contains("no.such.tensor"), "A13");
    for (name, (dtype, shape, bytes)) in tensors(&source) {
        let tensor = loaded.get(&name).unwrap_or_else(|| panic!("A13 {name}"));
        assert_eq!((tensor.dtype(), tensor.shape(), tensor.weight().data), (dtype, &shape, &bytes[..]), "A13 {name}");
    }
}

/// Names of the blobs with more than one tensor, for a source with these tensor names. Each tensor has two matrices.
fn groups(names: &[String]) -> Vec<String> {
    let listed: Vec<_> = names.iter().map(|name| (name.as_str(), &[2, 2][..])).collect();
    let source: Source = Dir::model(&listed).open().expect("it is a model");
    let planned =
        Plan::new(source.clone(), &options("none", "default")).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let groups = planned.blobs.iter().filter(|blob| blob.tensors[0].name != blob.name);
    groups.map(|blob| blob.name.clone()).collect()
}

/// A8 and B13: tensors that are the experts of a group.
///
/// A8 and B13 are overruled for shared experts: they are ordinary tensors. `switch_mlp` in B13 is MLX's name for
/// experts that are already stacked, one tensor for each projection.
#[test]
fn expert_groups() {
    for prefix in [
        // A8.
        "model.layers.1.mlp.experts",
        // B13.
        "model.layers.1.moe.experts",
        "model.language_model.layers.1.mlp.experts",
        "language_model.layers.1.mlp.experts",
        "language_model.model.layers.1.mlp.experts",
        "backbone.layers.1.mixer.experts",
        "model.language_model.backbone.layers.1.mixer.experts",
        "language_model.backbone.layers.1.mixer.experts",
        "mtp.layers.1.mlp.experts",
        "layers.1.mlp.experts",
        // Groups have the checkpoint's own names.
        "model.layers.1.block_sparse_moe.experts",
        "model.layers.1.feed_forward.experts",
        "model.layers.1.ffn.experts",
    ] {
        // A8: a group of experts 0 to 63.
        let names: Vec<_> = (0..64).map(|expert| format!("{prefix}.{expert}.down_proj.weight")).collect();
        assert_eq!(groups(&names), [prefix], "{prefix}");
    }
    let switch = Dir::model(&[("model.layers.1.mlp.switch_mlp.down_proj.weight", &[4, 2, 2])]).open().expect("B13");
    assert_eq!(plan(&switch, "none", "default").blobs[0].name, "model.layers.1.mlp.switch_mlp", "B13");
    for plain in [
        "model.layers.1.mlp.shared_experts.down_proj.weight",
        "model.layers.1.mixer.shared_experts.down_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.1.mlp.gate.weight",
        "model.embed_tokens.weight",
        "model.layers.1.self_attn.q_proj.weight",
        "model.norm.weight",
        "lm_head.weight",
    ] {
        assert_eq!(groups(&[plain.to_owned()]), [""; 0], "A8 {plain}");
    }
}
