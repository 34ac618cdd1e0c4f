//! `load` of names and paths, of parts of a model, and with conversion.

use std::fs;

use serde_json::Value;

use crate::support::{DEMO, Sandbox};

fn json(sandbox: &Sandbox, args: &[&str]) -> Value {
    serde_json::from_str(&sandbox.ok([&["load", "--json"], args].concat())).unwrap()
}

/// A sandbox with the demo checkpoint in `m`, beside a stored model of that name.
fn with_both() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m", "-q"]);
    let dir = sandbox.path().join("m");
    fs::create_dir(&dir).unwrap();
    for entry in fs::read_dir(DEMO).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
    }
    sandbox
}

#[test]
fn a_path_is_told_from_a_name() {
    let sandbox = with_both();
    let (stored, dir) = (json(&sandbox, &["m"]), json(&sandbox, &["./m"]));
    // Import stacks experts, and changes no byte.
    assert!(stored["tensors"].as_u64() < dir["tensors"].as_u64());
    assert_eq!(stored["bytes"], dir["bytes"]);
    let absolute = sandbox.path().join("m").display().to_string();
    assert_eq!(json(&sandbox, &[&absolute])["tensors"], dir["tensors"]);
    let files: Vec<_> = (1..=4).map(|at| format!("m/model-0000{at}-of-00004.safetensors")).collect();
    let files: Vec<_> = files.iter().map(String::as_str).collect();
    assert_eq!(json(&sandbox, &files)["tensors"], dir["tensors"]);
    assert!(json(&sandbox, &files[..1])["tensors"].as_u64() < dir["tensors"].as_u64());
    // Nothing of it needs a store, or is stored.
    let elsewhere = json(&sandbox, &["./m", "--store", "nowhere"]);
    assert_eq!(elsewhere["tensors"], dir["tensors"]);
    assert!(!sandbox.path().join("nowhere").exists());
    assert!(sandbox.ok(["load", "./m"]).contains("tables of 4 files"));
    assert!(sandbox.ok(["load", "--help"]).contains("`./` before a name makes it a path"));
}

#[test]
fn parts_of_a_model_are_loaded() {
    let sandbox = Sandbox::new();
    let whole = json(&sandbox, &[DEMO])["bytes"].as_u64().unwrap();
    let shares =
        (1..=4).map(|share| json(&sandbox, &[DEMO, "--shard", &format!("{share}/4")])["bytes"].as_u64().unwrap());
    for share in shares {
        assert!(share * 100 <= whole * 26, "{share} of {whole}");
    }
    let layer = json(&sandbox, &[DEMO, "--layers", "0..1"]);
    let both = json(&sandbox, &[DEMO, "--layers", "0..2"]);
    assert_eq!(layer["tensors"].as_u64().map(|count| 2 * count), both["tensors"].as_u64());
    let some = json(&sandbox, &[DEMO, "--layers", "0..1", "--experts", "0..2", "--select", "*.experts.*"]);
    assert_eq!(some["tensors"], 6);
}

#[test]
fn values_are_converted_on_the_host() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m:int4", "--quantize", "int4", "-q"]);
    let plain = json(&sandbox, &[DEMO]);
    let wide = json(&sandbox, &[DEMO, "--dtype", "f32"]);
    assert_eq!(wide["bytes"].as_u64(), plain["bytes"].as_u64().map(|bytes| 2 * bytes));
    assert!(wide["made_bytes"].as_u64() >= wide["bytes"].as_u64() && plain["made_bytes"].is_null());
    let decoded = json(&sandbox, &["m:int4", "--dtype", "bf16"]);
    assert_eq!(decoded["bytes"], plain["bytes"]);
    let run = sandbox.run(["load", "m:int4", "--dtype", "bf16"]);
    assert!(run.stderr.contains("of memory for copies and conversions"), "{run:?}");
    assert!(run.stdout.contains("mapped and not copied but for"), "{run:?}");

    sandbox.checkpoint("mistral-fp8-e5m2");
    let run = sandbox.run(["load", "./mistral-fp8-e5m2", "--dtype", "bf16"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("is F8_E5M2, which cannot be converted to BF16"), "{run:?}");
    let run = sandbox.run(["load", "./mistral-fp8-e5m2"]);
    assert!(run.code == 0 && run.stderr.contains("no scale is applied"), "{run:?}");
}

#[test]
fn what_cannot_be_loaded_says_why() {
    let sandbox = with_both();
    let refused = |args: &[&str], code: i32, words: &str| {
        let run = sandbox.run([&["load"], args].concat());
        assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{args:?}: {run:?}");
        assert!(run.stderr.contains(words), "{args:?}: {run:?}");
    };
    refused(&["./missing"], 1, "missing");
    refused(&["./store"], 1, "no weights in");
    refused(&["m", "m"], 2, "only one model can be loaded");
    refused(&["./m", "./m"], 2, "expected it alone, or files");
    refused(&["./missing.gguf"], 1, "missing.gguf");
    refused(&["./a.gguf", "./b.gguf"], 2, "a.gguf is a GGUF file: expected it alone");
    refused(&["./m", "--verify"], 2, "files outside of a store have none");
    refused(&["./m", "--shard", "1/3"], 1, "rows are not 3 equal shares");
    refused(&["./m", "--shard", "0/4"], 2, "expected K/N");
    refused(&["./m", "--shard", "5/4"], 2, "expected K/N");
    refused(&["./m", "--layers", "4..2"], 2, "expected A..B");
    refused(&["./m", "--layers", "7..9"], 1, "the model has the layers 0..2");
    refused(&["./m", "--experts", "0..99999999"], 2, "expected at most");
    refused(&["./m", "--experts", "7..9"], 1, "no tensor belongs to expert 8");
    refused(&["m", "--experts", "7..9"], 1, "has no expert 8");
    refused(&["./m", "--select", "*.q_prj.*"], 1, "self_attn.q_proj.weight");
    refused(&["./m", "--component", "vae"], 1, "no tensors in the component \"vae\"");
    fs::remove_file(sandbox.path().join("m/model-00003-of-00004.safetensors")).unwrap();
    refused(&["./m"], 1, "model-00003-of-00004.safetensors is missing");
}

#[test]
fn a_directory_that_is_taken_for_a_name_is_hinted_at() {
    let sandbox = with_both();
    sandbox.ok(["rm", "m"]);
    let said = |name: &str| {
        let run = sandbox.run(["load", name]);
        assert_eq!(run.code, 1, "{run:?}");
        run.stderr
    };
    let error = said("m");
    assert!(error.contains("hint: there is a directory of that name: longshore load ./m opens it"), "{error}");
    assert!(!said("other").contains("directory of that name"));
    assert!(!said("owner/m").contains("directory of that name"));
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_as_by_an_import() {
    let sandbox = with_both();
    let path = sandbox.path().join("m/config.json");
    let config = fs::read_to_string(&path).unwrap();
    let hidden: Value = serde_json::from_str(&config).unwrap();
    let hidden = hidden["hidden_size"].as_u64().unwrap();
    let (stated, other) = (format!("\"hidden_size\": {hidden}"), format!("\"hidden_size\": {}", 2 * hidden));
    fs::write(&path, config.replace(&stated, &other)).unwrap();
    let run = sandbox.run(["load", "./m"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains(&format!("hidden_size = {} contradicts ", 2 * hidden)), "{run:?}");
    assert!(run.stderr.contains("hint: correct config.json"), "{run:?}");
    // The files alone have no configuration.
    sandbox.ok(["load", "m/model-00001-of-00004.safetensors"]);
}
