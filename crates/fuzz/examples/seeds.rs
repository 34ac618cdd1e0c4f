//! Writes the seeds of the fuzzers, `corpus/<target>/<name>`. The crates under test write their contents.
//!
//!     cargo run -p longshore-fuzz --example seeds

#![expect(clippy::unwrap_used, reason = "a program for developers says what is wrong by failing")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use longshore_gguf::{Dims, GgmlType, Layout as GgufLayout, Metadata, SplitBy, SplitLayout};
use longshore_manifest::{Digest, ModelName, Silent, Store};
use longshore_packer::{ImportOptions, Plan, PlanOptions, Source};
use longshore_quant::policy::Policy;
use longshore_st_format::{Dtype, Limits, Shape, ShardIndex, fixtures::write_file};

fn main() {
    checkpoints();
    index();
    ggufs();
    imports();
    texts();
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Writes the documents and blobs of small imports.
fn checkpoints() {
    for (name, scheme) in [("float", None), ("int4", Some("int4-g32")), ("nvfp4", Some("nvfp4"))] {
        let dir = tempfile::tempdir().unwrap();
        let tensors: &[(&str, &[u64])] = match name {
            "float" => &[("norm.weight", &[3]), ("w.weight", &[2, 2])],
            _ => &[("e.experts.0.up.weight", &[1, 32]), ("e.experts.1.up.weight", &[1, 32]), ("w.weight", &[2, 32])],
        };
        documents(name, scheme, &checkpoint(&dir.path().join("source"), tensors), dir.path());
    }
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    checkpoint(&source.join("vae"), &[("w.weight", &[2, 32])]);
    fs::write(source.join("model_index.json"), r#"{"_class_name": "P", "vae": ["diffusers", "AutoencoderKL"]}"#)
        .unwrap();
    documents("pipeline", Some("mxfp8"), &source, dir.path());
}

fn checkpoint(dir: &Path, tensors: &[(&str, &[u64])]) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), r#"{"architectures": ["T"]}"#).unwrap();
    let tensors: Vec<_> =
        tensors.iter().map(|(name, dims)| ((*name).to_owned(), Dtype::BF16, Shape::from(*dims))).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    write_file(dir.join("model.safetensors"), &metadata, &tensors).unwrap();
    dir.to_path_buf()
}

fn documents(seed_name: &str, scheme: Option<&str>, source: &Path, dir: &Path) {
    let store = Store::open(dir.join("store")).unwrap();
    let name: ModelName = "seed".parse().unwrap();
    let source = Source::open(source, &Limits::default()).unwrap();
    let options = PlanOptions {
        scheme: scheme.map(|scheme| scheme.parse().unwrap()),
        policy: Policy::named("uniform").unwrap(),
        global_scale: scheme == Some("nvfp4"),
        ..PlanOptions::default()
    };
    let plan = Plan::new(source, &options).unwrap();
    plan.import(&store, &name, &ImportOptions::default(), &Silent).unwrap();
    let model = store.model(&name).unwrap();
    seed("manifest", seed_name, &fs::read(store.manifest_path(&name)).unwrap());
    seed("config", seed_name, &fs::read(store.blob_path(&model.manifest.config.digest)).unwrap());
    for (at, entry) in model.config.longshore.as_ref().unwrap().blobs.iter().enumerate() {
        let bytes = fs::read(store.blob_path(&entry.digest)).unwrap();
        let json_len = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
        let mut with_table = serde_json::to_vec(&entry.tensors).unwrap();
        with_table.push(b'\n');
        with_table.extend_from_slice(&bytes);
        seed("blob", &format!("{seed_name}-{at}"), &with_table);
        seed("safetensors", &format!("{seed_name}-{at}"), &bytes);
        seed("header", &format!("{seed_name}-{at}"), bytes[8..8 + json_len].trim_ascii_end());
    }
}

fn index() {
    let entries = [("a.weight", "model-00001-of-00002.safetensors"), ("b.weight", "model-00002-of-00002.safetensors")];
    seed("shard_index", "two", ShardIndex::new(Some(24), entries).unwrap().to_json().as_bytes());
    seed("shard_index", "none", br#"{"weight_map": {}}"#);
    let float = br#"{"metadata": {"total_size": 1.2e1, "x": [{}]}, "weight_map": {"a": "m.safetensors"}, "y": null}"#;
    seed("shard_index", "float_size", float);
}

/// GGUF files with a value and a tensor of many types, and split sets.
fn ggufs() {
    let dims = |shape: &[u64]| Dims::from_shape(shape).unwrap();
    let write = |layout: GgufLayout| {
        let len: u64 = layout.parsed().iter().map(longshore_gguf::TensorInfo::byte_len).sum();
        let mut writer = longshore_gguf::Writer::new(Vec::new(), layout).unwrap();
        writer.write(&vec![7; usize::try_from(len).unwrap()]).unwrap();
        writer.finish().unwrap()
    };
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", "llama").unwrap();
    metadata.push("general.alignment", 64_u32).unwrap();
    metadata.push("a.eps", 1e-5_f32).unwrap();
    metadata.push("a.flag", true).unwrap();
    metadata.push("a.i8", -1_i8).unwrap();
    metadata.push("a.f64", 0.5_f64).unwrap();
    metadata.push_array("tokens", ["<s>", "", "ä"]).unwrap();
    metadata.push_array("flags", [true, false]).unwrap();
    metadata.push_array("scores", [-1.0_f32, 0.0]).unwrap();
    let tensors = [
        ("norm.weight", GgmlType::F32, dims(&[3])),
        ("q.weight", GgmlType::Q8_0, dims(&[2, 32])),
        ("k.weight", GgmlType::Q4K, dims(&[1, 256])),
        ("none", GgmlType::F16, dims(&[0, 4])),
        ("scale", GgmlType::BF16, dims(&[])),
    ];
    let everything = write(GgufLayout::new(metadata.clone(), tensors).unwrap());
    seed("gguf", "everything", &everything);
    seed("gguf", "empty", &write(GgufLayout::new(Metadata::new(), Vec::<(&str, _, _)>::new()).unwrap()));
    let one = write(GgufLayout::new(Metadata::new(), [("w", GgmlType::F32, dims(&[3]))]).unwrap());
    seed("gguf", "one", &one);
    seed("gguf", "unpadded", &one[..one.len() - 20]);
    let mut older = one;
    older[4] = 2;
    seed("gguf", "version_2", &older);
    metadata.retain(|key| key != "general.alignment" && !key.ends_with('s'));
    for (name, most) in [("three", 2), ("one", 9)] {
        let mut by = SplitBy::default();
        by.tensors = Some(most);
        let files = SplitLayout::new("m", &metadata, tensors, &by).unwrap().into_members();
        let mut bytes = vec![u8::try_from(files.len() - 1).unwrap()];
        let last = files.len() - 1;
        for (at, (_, layout)) in files.into_iter().enumerate() {
            let file = write(layout);
            if at < last {
                bytes.extend(u16::try_from(file.len()).unwrap().to_le_bytes());
            }
            bytes.extend(file);
        }
        seed("gguf_split", name, &bytes);
    }
}

/// Choices of quantized checkpoints: one in each form, and some with several weights and overrides.
fn imports() {
    const FORMS: [&str; 10] =
        ["awq", "gptq", "fp8", "modelopt", "compressed_nvfp4", "packed", "blocks", "fp4_bytes", "mlx", "mlx_float"];
    for (form, name) in (0..).zip(FORMS) {
        seed("import", name, &[form, 0, 0, 0, 1, 2, 0]);
    }
    // Two weights whose numbers differ, each described on its own, the second under other wrappers.
    seed("import", "overrides", &[8, 3, 1, 1, 3, 2, 1, 3, 0, 0, 0, 0, 5, 6, 7, 0, 1, 1, 8, 9, 10, 0, 3, 0, 0, 0, 3, 2]);
}

/// Writes seeds that are not documents of a store.
fn texts() {
    seed("header", "empty", b"{}");
    seed("header", "null_metadata", br#"{"__metadata__":null,"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#);
    let holes = br#"{"b":{"data_offsets":[4,6],"dtype":"BOOL","shape":[1,2]},"a\u00e9":{"shape":[2],"dtype":"F16","data_offsets":[0,4]}}"#;
    seed("header", "other_order", holes);
    let small = br#"{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]},"z":{"dtype":"U64","shape":[0,7],"data_offsets":[1,1]}}"#;
    seed("header", "small_types", small);
    for (at, name) in ["qwen3", "qwen3:4b", "me/m", "localhost:5000/me/m:v1.0", "a.b-c_d/E/f:g"].iter().enumerate() {
        seed("model_name", &at.to_string(), name.as_bytes());
    }
    for (at, path) in ["config.json", "1_Pooling/config.json", "a b/ü.jinja", "..x/y"].iter().enumerate() {
        seed("relative_path", &at.to_string(), path.as_bytes());
    }
    let digest = Digest::of(b"");
    seed("digest", "digest", digest.to_string().as_bytes());
    seed("digest", "file", digest.file_name().as_bytes());
    for name in ["uniform", "v0.16"] {
        seed("policy", name, Policy::named(name).unwrap().source().as_bytes());
    }
    seed("policy", "conditions", CONDITIONS.as_bytes());
    let header = r#"{"version":1,"layers":[0,3],"experts":8,"top_k":2}"#;
    seed("trace", "three", format!("{header}\n[[4,1],[0,7]]\n[[4,2],[7,5]]\n[[1,2],[7,0]]\n").as_bytes());
    seed("trace", "none", header.as_bytes());
    seed("trace", "spaces", format!("{}\n[ [4, 1] ,[0,7]] ", header.replace(',', " , ")).as_bytes());
}

/// A policy with every key that the documentation of policies lists.
const CONDITIONS: &str = include_str!("conditions.toml");
