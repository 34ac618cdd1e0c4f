//! Documents that somebody else wrote.

use longshore_registry::{RegistryError, WireError};
use serde_json::{Value, json};

use crate::support::{files, import, registry, store, try_pull, try_push};

/// Pushes a model, lets `change` rewrite the artifact's manifest and the index, and pulls the result.
fn changed(change: impl Fn(&mut Value, &mut Value)) -> Result<(), RegistryError> {
    let dir = tempfile::tempdir().unwrap();
    let (here, there, host) = (store(&dir.path().join("here")), store(&dir.path().join("there")), registry());
    import(
        &here,
        "m:1",
        &[("model.layers.0.a".into(), 1, 40), ("model.layers.0.b".into(), 2, 60), ("c".into(), 3, 2 << 20)],
    );
    try_push(&host, &here, "m:1", "a/m:1").unwrap();
    let mut artifact: Value = serde_json::from_slice(&host.manifest("a/m", "1").unwrap()).unwrap();
    let index = host.blob("a/m", artifact["config"]["digest"].as_str().unwrap()).unwrap();
    let mut index: Value = serde_json::from_slice(&index).unwrap();
    change(&mut artifact, &mut index);
    let bytes = index.to_string().into_bytes();
    artifact["config"]["digest"] = json!(host.put_blob("a/m", &bytes));
    artifact["config"]["size"] = json!(bytes.len());
    host.put_manifest("a/m", "1", artifact.to_string().as_bytes());
    longshore_fake_hosts::Host::take_log(&*host);
    let pulled = try_pull(&host, &there, "a/m:1", "m:1").map(drop);
    if pulled.is_err() {
        assert_eq!(files(&there.root().join("manifests")), [""; 0]);
    }
    // Nothing but documents is asked for before all is checked.
    let asked = longshore_fake_hosts::Host::take_log(&*host).len();
    assert!(pulled.is_ok() || asked <= 3, "{asked}");
    pulled
}

#[test]
fn unchanged_documents_are_taken() {
    changed(|_, _| {}).unwrap();
    // Another order, and no digests of chunks, say the same.
    changed(|_, index| index["blobs"].as_array_mut().unwrap().reverse()).unwrap();
}

#[test]
fn documents_that_contradict_each_other_are_refused() {
    type Change = fn(&mut Value, &mut Value);
    let changes: [(&str, Change); 14] = [
        ("a later version", |_, index| index["version"] = json!(2)),
        ("no blobs", |_, index| index["blobs"] = json!([])),
        ("a blob less", |_, index| drop(index["blobs"].as_array_mut().unwrap().pop())),
        ("a blob twice", |_, index| {
            let blob = index["blobs"][0].clone();
            index["blobs"].as_array_mut().unwrap().push(blob);
        }),
        ("another size", |_, index| index["blobs"][1]["size"] = json!(41)),
        ("a place outside", |_, index| index["blobs"][1]["at"][0][1] = json!(1_u64 << 40)),
        ("a place that overflows", |_, index| index["blobs"][1]["at"][0][1] = json!(u64::MAX)),
        ("the manifest's layer", |_, index| index["blobs"][1]["at"][0][0] = json!(0)),
        ("no such layer", |_, index| index["blobs"][1]["at"][0][0] = json!(99)),
        ("two blobs in one place", |_, index| index["blobs"][1]["at"] = index["blobs"][2]["at"].clone()),
        ("a piece too short", |_, index| index["blobs"][1]["at"][0][2] = json!(1)),
        ("a layer that nobody uses", |artifact, _| {
            let layer = artifact["layers"][1].clone();
            artifact["layers"].as_array_mut().unwrap().push(layer);
        }),
        ("a longer layer", |artifact, _| artifact["layers"][1]["size"] = json!(1 << 30)),
        ("digests of chunks that there are not", |_, index| {
            index["blobs"][1]["chunks"] = json!([format!("sha256:{}", "0".repeat(64))]);
        }),
    ];
    for (what, change) in changes {
        let error = changed(change).expect_err(what);
        assert!(matches!(error, RegistryError::Wire { .. }), "{what}: {error:?}");
    }
}

#[test]
fn other_artifacts_are_named() {
    for change in [
        (|artifact: &mut Value, _: &mut Value| artifact["artifactType"] = json!("application/vnd.other"))
            as fn(&mut Value, &mut Value),
        |artifact, _| drop(artifact.as_object_mut().unwrap().remove("artifactType")),
    ] {
        let error = changed(change).unwrap_err();
        assert!(matches!(error, RegistryError::Wire { source: WireError::Kind { .. }, .. }), "{error:?}");
    }
    assert!(changed(|artifact, _| artifact["layers"] = json!([])).is_err());
    assert!(changed(|artifact, _| artifact["layers"][0]["size"] = json!(u64::MAX)).is_err());
    assert!(changed(|artifact, _| artifact["layers"][0]["digest"] = json!("sha256:../../x")).is_err());
}

#[test]
fn sizes_and_numbers_have_bounds() {
    for change in [
        (|artifact: &mut Value, _: &mut Value| artifact["layers"][1]["size"] = json!((1_u64 << 48) + 1))
            as fn(&mut Value, &mut Value),
        |artifact, _| {
            let layer = artifact["layers"][1].clone();
            artifact["layers"].as_array_mut().unwrap().extend(std::iter::repeat_n(layer, 10_000));
        },
    ] {
        match changed(change).unwrap_err() {
            RegistryError::Wire { source: WireError::Inconsistent { problem }, .. } => {
                assert!(problem.contains("at most"), "{problem}");
            }
            error => panic!("{error:?}"),
        }
    }
}
