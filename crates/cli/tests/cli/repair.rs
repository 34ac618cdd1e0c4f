//! `verify --repair` and `load --verify`.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::support::{DEMO, Sandbox, files, snapshot};

/// The file of the blob of a layer.
fn blob(sandbox: &Sandbox, layer: &str) -> PathBuf {
    let manifest = sandbox.store().join("manifests/registry.ollama.ai/library/m/latest");
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let layer = layers.iter().find(|found| found["name"] == layer).unwrap();
    sandbox.store().join("blobs").join(layer["digest"].as_str().unwrap().replace(':', "-"))
}

fn replace(path: &PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

const ONE: &str = "model.layers.0.self_attn.q_proj.weight";
const GROUP: &str = "model.layers.0.mlp.experts.down_proj.weight";

#[test]
fn damage_is_repaired_from_the_source() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m", "--quantize", "int4"]);
    let before = files(&sandbox.store());
    fs::remove_file(blob(&sandbox, "config.json")).unwrap();
    replace(&blob(&sandbox, ONE), |bytes| bytes.truncate(1000));
    replace(&blob(&sandbox, GROUP), |bytes| *bytes.last_mut().unwrap() ^= 1);
    let transcript = |args: &[&str]| sandbox.run(args).transcript(&sandbox).replace(DEMO, "[DEMO]");
    snapshot!("verify-bad", transcript(&["verify"]));
    snapshot!("load-short", transcript(&["load", "m"]));
    snapshot!("repair", transcript(&["verify", "m", "--repair", DEMO]));
    assert!(files(&sandbox.store()) == before);
    snapshot!("repair-nothing", transcript(&["verify", "--repair", DEMO]));

    replace(&blob(&sandbox, GROUP), |bytes| *bytes.last_mut().unwrap() ^= 1);
    snapshot!("load-corrupt", transcript(&["load", "m", "--verify"]));
    // Unloaded blobs are not hashed.
    sandbox.ok(["load", "m", "--verify", "--select", ONE]);
    let run = sandbox.run(["verify", "--repair", DEMO, "--json"]);
    assert_eq!(run.code, 0, "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["bad"], serde_json::json!([]));
    assert_eq!(report["repaired"][0]["names"], serde_json::json!([GROUP]));
    assert_eq!(report["repaired"][0]["models"], serde_json::json!(["m:latest"]));
    assert!(files(&sandbox.store()) == before);
}

#[test]
fn what_another_source_cannot_repair() {
    let sandbox = Sandbox::new();
    let other = sandbox.checkpoint("llama");
    sandbox.ok(["import", DEMO, "m", "--quantize", "int4"]);
    replace(&blob(&sandbox, GROUP), |bytes| bytes.truncate(9));
    let run = sandbox.run(["verify", "m", "--repair", other.to_str().unwrap(), "--json"]);
    assert_eq!(run.code, 1, "{run:?}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["repaired"], serde_json::json!([]));
    assert_eq!(report["bad"][0]["not_repaired"], format!("the source gives no {GROUP:?}"));
    let run = sandbox.run(["verify", "m", "--repair", other.to_str().unwrap()]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("hint: "), "{run:?}");

    for wrong in [&["verify", "m", "--draft", "x"][..], &["verify", "m", "--repair", "no such source"]] {
        assert_ne!(sandbox.run(wrong).code, 0);
    }
    fs::remove_file(sandbox.store().join("longshore.json")).unwrap();
    let run = sandbox.run(["verify", "m", "--repair", DEMO]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("another program") && run.stderr.contains("hint: --store"), "{run:?}");
}
