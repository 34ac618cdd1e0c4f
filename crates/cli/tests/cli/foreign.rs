//! Stores of other programs at the terminal: read, never written, and a source for import.

use std::{fs, path::Path};

use longshore_manifest::{Descriptor, Digest, Manifest, document::media_type};

use crate::support::{DEMO, Sandbox, files, snapshot};

const INT4: &str = "model.layers.0.mlp.up_proj.weight";
const CONFIG: &str = r#"{"architectures":["Qwen3ForCausalLM"],"model_type":"qwen3","num_hidden_layers":1}"#;

fn put(root: &Path, kind: &str, name: Option<&str>, bytes: &[u8]) -> Descriptor {
    let digest = Digest::of(bytes);
    fs::create_dir_all(root.join("blobs")).unwrap();
    fs::write(root.join("blobs").join(digest.file_name()), bytes).unwrap();
    Descriptor { media_type: kind.into(), digest, size: bytes.len() as u64, name: name.map(Into::into) }
}

fn blob(header: &str, data: usize) -> Vec<u8> {
    let data = (0..data).map(|at| u8::try_from(at % 120).unwrap());
    (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(data).collect()
}

fn model(root: &Path, path: &str, config: &str, layers: Vec<Descriptor>) {
    let manifest = Manifest::new(put(root, media_type::CONFIG, None, config.as_bytes()), layers);
    let path = root.join("manifests/registry.ollama.ai/library").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, manifest.to_bytes()).unwrap();
}

/// `~/.ollama/models` with a model of MLX's blobs and one that is GGUF.
fn ollama(sandbox: &Sandbox) -> std::path::PathBuf {
    let root = sandbox.path().join("ollama");
    let int4 = format!(
        "{{\"__metadata__\":{{\"group_size\":\"64\",\"quant_type\":\"int4\"}},\
         \"{INT4}\":{{\"data_offsets\":[512,4608],\"dtype\":\"U32\",\"shape\":[64,16]}},\
         \"{INT4}.bias\":{{\"data_offsets\":[256,512],\"dtype\":\"BF16\",\"shape\":[64,2]}},\
         \"{INT4}.scale\":{{\"data_offsets\":[0,256],\"dtype\":\"BF16\",\"shape\":[64,2]}}}}"
    );
    let norm = r#"{"data":{"dtype":"BF16","shape":[64],"data_offsets":[0,128]}}"#;
    let layers = vec![
        put(&root, media_type::TENSOR, Some(INT4), &blob(&int4, 4608)),
        put(&root, media_type::TENSOR, Some("model.norm.weight"), &blob(norm, 128)),
        put(&root, media_type::JSON, Some("config.json"), CONFIG.as_bytes()),
    ];
    let config = r#"{"model_format":"safetensors","file_type":"int4","capabilities":["completion"]}"#;
    model(&root, "qwen3/4b", config, layers);
    let gguf = vec![put(&root, media_type::GGUF, None, b"GGUF\x03\0\0\0 and its tensors")];
    let config = r#"{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"8.0B","file_type":"Q4_K_M"}"#;
    model(&root, "llama3/latest", config, gguf);
    root
}

#[test]
fn its_models_are_read() {
    let sandbox = Sandbox::new();
    let root = ollama(&sandbox);
    let before = files(&root);
    let run = |args: &[&str]| sandbox.run(["--store", "ollama"].iter().chain(args)).transcript(&sandbox);
    snapshot!("foreign_list", run(&["list"]));
    let listed: serde_json::Value = serde_json::from_str(&sandbox.ok(["--store", "ollama", "list", "--json"])).unwrap();
    assert_eq!(
        (&listed["models"][0]["format"], &listed["models"][1]["format"]),
        (&"gguf".into(), &serde_json::Value::Null)
    );
    snapshot!("foreign_show", run(&["show", "qwen3:4b", "--tensors"]));
    snapshot!("foreign_show_gguf", run(&["show", "llama3"]));
    snapshot!("foreign_verify", run(&["verify"]));
    let loaded: serde_json::Value =
        serde_json::from_str(&sandbox.ok(["--store", "ollama", "load", "qwen3:4b", "--verify", "--json"])).unwrap();
    assert_eq!((&loaded["tensors"], &loaded["bytes"]), (&2.into(), &(4608 + 128).into()));
    snapshot!(
        "foreign_refused",
        [
            run(&["load", "llama3"]),
            run(&["export", "llama3", "out"]),
            run(&["show", "llama3", "--tensors"]),
            run(&["rm", "qwen3:4b"]),
            run(&["gc"]),
            run(&["copy", "qwen3:4b", "mine"]),
            run(&["import", DEMO, "mine"]).replace(DEMO, "[DEMO]"),
            run(&["show", "Qwen3:4B"]),
        ]
        .join("\n")
    );
    sandbox.ok(["--store", "ollama", "export", "qwen3:4b", "out", "--dequantize", "bf16"]);
    assert_eq!(files(&root), before);
}

#[test]
fn its_models_are_imported() {
    let sandbox = Sandbox::new();
    let root = ollama(&sandbox);
    let manifest = root.join("manifests/registry.ollama.ai/library/qwen3/4b");
    sandbox.ok([manifest.as_os_str(), "mine".as_ref()].iter().fold(vec!["import".as_ref()], |mut args, arg| {
        args.push(*arg);
        args
    }));
    let shown: serde_json::Value = serde_json::from_str(&sandbox.ok(["show", "mine", "--tensors", "--json"])).unwrap();
    assert_eq!(shown["tensors"][0]["scheme"], "int4-g64");
    assert!(sandbox.ok(["verify"]).contains("all good"));
    let run = |source: &str| sandbox.run(["import", source, "other"]).transcript(&sandbox);
    snapshot!(
        "foreign_sources",
        [
            run("ollama"),
            run("ollama/manifests/registry.ollama.ai/library/qwen3"),
            run("ollama/manifests/registry.ollama.ai/library/llama3/latest")
        ]
        .join("\n")
    );
}

#[test]
fn other_directories_are_no_stores() {
    let sandbox = Sandbox::new();
    for file in ["home/letter", "hub/models--org--m/snapshots/abc/config.json", "hub/models--org--m/refs/main"] {
        let path = sandbox.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    let before = files(sandbox.path());
    let run = |store: &str, args: &[&str]| {
        sandbox.run(["--store", store].iter().chain(args)).transcript(&sandbox).replace(DEMO, "[DEMO]")
    };
    snapshot!(
        "foreign_directories",
        [
            run("home", &["import", DEMO, "m"]),
            run("home", &["list"]),
            run("hub", &["import", DEMO, "m"]),
            run("hub", &["list"])
        ]
        .join("\n")
    );
    assert_eq!(files(sandbox.path()), before);
}
