//! Imports that are killed.
#![cfg(unix)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use longshore_st_format::{Dtype, Shape, fixtures};

use crate::support::Sandbox;

/// Number of imports that are killed.
const KILLS: u32 = 100;

/// The size in bytes of the layers that a killed import has finished and not yet put into the store, going by its lease.
fn finished(store: &Path) -> u64 {
    let mut bytes = 0;
    for import in fs::read_dir(store.join("tmp")).unwrap() {
        let dir = import.unwrap().path();
        let Ok(lease) = fs::read_to_string(dir.join("lease")) else { continue };
        // The last line may be cut.
        for line in lease.lines().map_while(|line| serde_json::from_str::<serde_json::Value>(line).ok()) {
            let is_there = line["file"].as_str().is_some_and(|file| dir.join(file).exists());
            if is_there && line["name"].is_string() {
                bytes += line["size"].as_u64().unwrap();
            }
        }
    }
    bytes
}

/// The blobs of the one model of a store, and those that the store has.
fn named_and_stored(store: &Path) -> [BTreeSet<String>; 2] {
    let only = |dir: &Path| {
        let mut found = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let first = found.next().unwrap();
        assert_eq!(found.next(), None);
        first
    };
    // Host, namespace, model, tag.
    let manifest = (0..4).fold(store.join("manifests"), |dir, _| only(&dir));
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]);
    let named = layers.map(|blob| blob["digest"].as_str().unwrap().replace(':', "-"));
    let stored = fs::read_dir(store.join("blobs")).unwrap();
    [named.collect(), stored.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()]
}

fn digest(sandbox: &Sandbox) -> Option<String> {
    let listed: serde_json::Value = serde_json::from_str(&sandbox.ok(["list", "--json"])).unwrap();
    let models = listed["models"].as_array().unwrap();
    assert!(models.len() <= 1, "{listed}");
    models.first().map(|model| model["digest"].as_str().unwrap().to_owned())
}

/// Imports over one name, killed at instants spread over all that an import does. After each kill the name means what it meant
/// before or what the import made of it, nothing is damaged, and the next import takes over what was finished.
#[test]
fn a_killed_import_leaves_the_old_model_or_the_new() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path().join("checkpoint");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("config.json"), r#"{"architectures":["LlamaForCausalLM"]}"#).unwrap();
    let tensors: Vec<_> = (0..96)
        .map(|at| {
            (format!("model.layers.{at}.mlp.up_proj.weight"), Dtype::BF16, Shape::new([256, 128 + 64 * (at % 3)]))
        })
        .collect();
    fixtures::write_file(dir.join("model.safetensors"), &BTreeMap::new(), &tensors).unwrap();
    // Every version differs from the one before in every tensor.
    let versions = ["int4", "int8", "none"];
    let import = |version| ["import", "checkpoint", "m", "--quantize", version, "--json"];

    let began = Instant::now();
    sandbox.ok(import(versions[0]));
    let whole = began.elapsed();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut killed, mut taken_over) = (0, 0);
    for round in 0..KILLS {
        let before = digest(&sandbox);
        let version = versions[(round as usize + 1) % versions.len()];
        let mut child = sandbox.command(import(version)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        thread::sleep((whole * u32::try_from(random % 1000).unwrap() / 900).min(Duration::from_secs(10)));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());

        sandbox.ok(["verify"]);
        let after = digest(&sandbox);
        let left = finished(&sandbox.store());
        let again: serde_json::Value = serde_json::from_str(&sandbox.ok(import(version))).unwrap();
        let new = again["digest"].as_str().map(ToOwned::to_owned);
        assert!(after == before || after == new, "{before:?} or {new:?}, not {after:?}");
        assert_eq!(again["taken_over_bytes"].as_u64().unwrap(), left, "{again}");
        taken_over += left;
        sandbox.ok(["verify"]);
        assert_eq!(fs::read_dir(sandbox.store().join("tmp")).unwrap().count(), 0);
        // The former blobs of the name are gone, and so are those of killed imports: the next one finds nothing to reuse
        // but what a killed one left.
        let [named, stored] = named_and_stored(&sandbox.store());
        assert_eq!(named, stored);
    }
    assert!(killed > 0 && taken_over > 0, "{killed} killed, {taken_over} bytes taken over");
}
