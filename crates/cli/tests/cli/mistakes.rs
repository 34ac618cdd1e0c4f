//! The likeliest mistakes, and what is said to whoever makes them: one error line, then what to do next.
//!
//! A full disk and a store that may not be written are in `disk`.

use std::fs;

use crate::support::{DEMO, Sandbox, files, snapshot};

/// A copy of the demo checkpoint that may be damaged.
fn copy(sandbox: &Sandbox, name: &str) -> std::path::PathBuf {
    let dir = sandbox.path().join(name);
    fs::create_dir(&dir).unwrap();
    for (path, bytes) in files(DEMO.as_ref()) {
        fs::write(dir.join(path), bytes).unwrap();
    }
    dir
}

fn answers(sandbox: &Sandbox, name: &str, code: i32, args: &[&str]) {
    let run = sandbox.run(args);
    assert_eq!(run.code, code, "{name}: {run:?}");
    let mut lines = run.stderr.lines();
    assert!(lines.next().unwrap().starts_with("error: "), "{name}: {run:?}");
    assert!(lines.next().is_some_and(|line| line.starts_with("hint: ")), "{name}: {run:?}");
    snapshot!(format!("mistake-{name}"), run.transcript(sandbox).replace(DEMO, "[DEMO]"));
}

#[test]
fn a_source_that_is_not_there() {
    let sandbox = Sandbox::new();
    answers(&sandbox, "wrong-path", 1, &["import", "./Qwen3-4B", "m"]);
    answers(&sandbox, "hub-name", 1, &["import", "Qwen/Qwen3-4B", "m"]);
    answers(&sandbox, "quoted-home", 1, &["import", "~/Qwen3-4B", "m"]);
    fs::create_dir(sandbox.path().join("photos")).unwrap();
    answers(&sandbox, "empty-directory", 1, &["import", "photos", "m"]);
    fs::write(sandbox.path().join("photos/sea.jpg"), "").unwrap();
    answers(&sandbox, "no-checkpoint", 1, &["import", "photos", "m"]);
}

#[test]
fn a_model_that_is_not_there() {
    let sandbox = Sandbox::new();
    answers(&sandbox, "no-models", 1, &["show", "qwen3-moe"]);
    sandbox.ok(["import", DEMO, "qwen3-moe:int4", "--quantize", "int4"]);
    answers(&sandbox, "other-tag", 1, &["show", "qwen3-moe"]);
    answers(&sandbox, "mistyped-model", 1, &["load", "qwen3-meo:int4"]);
    answers(&sandbox, "beginning-of-a-model", 1, &["load", "qwen"]);
}

#[test]
fn weights_of_another_format() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path().join("model.gguf"), "GGUF").unwrap();
    answers(&sandbox, "gguf", 1, &["import", "model.gguf", "m"]);
    let dir = sandbox.path().join("pickled");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("config.json"), "{}").unwrap();
    fs::write(dir.join("pytorch_model.bin"), [0; 16]).unwrap();
    answers(&sandbox, "pickled", 1, &["import", "pickled", "m"]);
}

#[test]
fn a_download_that_is_not_whole() {
    let sandbox = Sandbox::new();
    let shard = "model-00002-of-00004.safetensors";
    fs::remove_file(copy(&sandbox, "missing").join(shard)).unwrap();
    answers(&sandbox, "missing-shard", 1, &["import", "missing", "m"]);
    let file = fs::OpenOptions::new().write(true).open(copy(&sandbox, "short").join(shard)).unwrap();
    file.set_len(100_000).unwrap();
    answers(&sandbox, "truncated", 1, &["import", "short", "m"]);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 365896\n";
    fs::write(copy(&sandbox, "pointers").join(shard), pointer).unwrap();
    answers(&sandbox, "lfs-pointer", 1, &["import", "pointers", "m"]);
}

#[test]
fn arguments_that_are_nearly_right() {
    let sandbox = Sandbox::new();
    for (name, args) in [
        ("type", &["import", DEMO, "m", "--quantize", "int7"][..]),
        ("type-of-gguf", &["import", DEMO, "m", "--quantize", "q4_k_m"]),
        ("policy", &["import", DEMO, "m", "--policy", "defualt"]),
        ("profile", &["import", DEMO, "m", "--profile", "pluss"]),
        ("name", &["import", DEMO, "my model!"]),
        ("no-name", &["import", DEMO]),
        ("verb", &["inport", DEMO, "m"]),
        ("verb-of-another", &["pull", "qwen3"]),
    ] {
        answers(&sandbox, name, 2, args);
    }
}

#[test]
fn a_place_that_is_taken() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m", "--quantize", "int4"]);
    copy(&sandbox, "out");
    answers(&sandbox, "output-exists", 1, &["export", "m", "out", "--dequantize", "bf16"]);
    answers(&sandbox, "quantized-export", 1, &["export", "m", "new"]);
    fs::create_dir_all(sandbox.path().join("theirs/manifests")).unwrap();
    fs::create_dir_all(sandbox.path().join("theirs/blobs")).unwrap();
    answers(&sandbox, "store-of-another", 1, &["--store", "theirs", "import", DEMO, "m"]);
}

#[test]
fn a_configuration_that_is_wrong() {
    let sandbox = Sandbox::new();
    let config = copy(&sandbox, "wrong").join("config.json");
    let right = fs::read_to_string(&config).unwrap();
    let with = |from: &str, to: &str| {
        assert!(right.contains(from), "{right}");
        fs::write(&config, right.replace(from, to)).unwrap();
    };
    with("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3");
    answers(&sandbox, "contradiction", 1, &["import", "wrong", "m"]);
    with("\"hidden_size\": 128", "\"hidden_size\": 64");
    answers(&sandbox, "other-shape", 1, &["import", "wrong", "m"]);
}
