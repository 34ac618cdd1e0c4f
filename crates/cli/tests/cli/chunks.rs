//! Large blobs: where they are damaged, and what is checked by the digests of their chunks alone.

use std::{collections::BTreeMap, fs, path::PathBuf};

use longshore_st_format::{Dtype, Shape, fixtures};
use serde_json::{Value, json};

use crate::support::{Sandbox, files};

/// Imports a checkpoint of one tensor of 40 MiB and one of 2 KiB as `m`, and returns the files of the config and of the large blob.
fn import(sandbox: &Sandbox) -> [PathBuf; 2] {
    let dir = sandbox.path().join("large");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("config.json"), r#"{"architectures":["LlamaForCausalLM"]}"#).unwrap();
    let tensor = |name: &str, shape: [u64; 2]| (format!("model.layers.0.{name}.weight"), Dtype::F32, Shape::new(shape));
    let tensors = [tensor("mlp.up_proj", [2560, 4096]), tensor("mlp.down_proj", [16, 32])];
    fixtures::write_file(dir.join("model.safetensors"), &BTreeMap::new(), &tensors).unwrap();
    sandbox.ok(["import", "./large", "m"]);
    let manifest = fs::read(sandbox.store().join("manifests/registry.ollama.ai/library/m/latest")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let file = |layer: &Value| sandbox.store().join("blobs").join(layer["digest"].as_str().unwrap().replace(':', "-"));
    let layers = manifest["layers"].as_array().unwrap();
    [file(&manifest["config"]), file(layers.iter().max_by_key(|layer| layer["size"].as_u64()).unwrap())]
}

fn damage(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_is_located_and_a_fast_check_says_that_it_is_one() {
    let sandbox = Sandbox::new();
    let [config, large] = import(&sandbox);
    let table: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    let blobs = table["longshore"]["blobs"].as_array().unwrap();
    let chunks: Vec<usize> =
        blobs.iter().map(|blob| blob["chunks"]["digests"].as_array().map_or(0, Vec::len)).collect();
    assert_eq!((chunks.iter().max(), chunks.iter().min()), (Some(&3), Some(&0)));
    let fast = sandbox.ok(["verify", "--fast"]);
    assert!(fast.contains("(1 of them by the digests of their chunks alone)") && fast.contains("all good"), "{fast}");
    let fast: Value = serde_json::from_str(&sandbox.ok(["verify", "m", "--fast", "--json"])).unwrap();
    assert_eq!((&fast["by_chunks"], &fast["bad"]), (&json!(1), &json!([])));
    assert!(!sandbox.ok(["verify"]).contains("chunks"));
    let loaded = sandbox.ok(["load", "m", "--verify"]);
    assert!(loaded.contains("1 of them by the digests of their chunks alone"), "{loaded}");

    damage(&large, 33 << 20);
    let end = large.metadata().unwrap().len();
    for args in [&["verify", "--json"][..], &["verify", "--json", "--fast"]] {
        let run = sandbox.run(args);
        assert_eq!(run.code, 1, "{run:?}");
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(report["bad"][0]["ranges"], json!([[32 << 20, end]]), "{report}");
    }
    let shown = sandbox.run(["verify"]);
    assert!(shown.stdout.contains(&format!("corrupt in bytes 33554432 to {}", end - 1)), "{shown:?}");
    let load = sandbox.run(["load", "m", "--verify"]);
    assert!(load.code == 1 && load.stderr.contains("from byte 33554432 to "), "{load:?}");
}

#[test]
fn a_lost_config_is_made_again_with_its_digests_of_chunks() {
    let sandbox = Sandbox::new();
    let [config, large] = import(&sandbox);
    let before = files(&sandbox.store());
    fs::remove_file(&config).unwrap();
    sandbox.ok(["verify", "--repair", "./large"]);
    assert!(files(&sandbox.store()) == before);
    damage(&large, 5 << 20);
    sandbox.ok(["verify", "--repair", "./large"]);
    assert!(files(&sandbox.store()) == before);
}
