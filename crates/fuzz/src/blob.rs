//! Tests the blob reader: stores, verifies and loads a blob together with its description in a table.

use std::{fs, path::Path};

use longshore_manifest::{
    Descriptor, Digest, Manifest, Silent, Store, Weights,
    document::{BlobEntry, Role},
    store::{Added, VerifyOptions},
    weights::OpenOptions,
};
use longshore_st_format::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

thread_local! {
    /// Store into which every input of this thread is put, and from which it is removed again.
    static SCRATCH: TempDir = scratch();
}

fn scratch() -> TempDir {
    let dir = tempfile::tempdir().expect("the system has room for temporary files");
    let store = Store::open(dir.path()).expect("an empty directory is a store");
    drop(store.ingest().expect("the scratch store is ours"));
    dir
}

/// Tests one blob. `data` is one line of JSON, the tensors of the blob in a table, followed by the blob.
///
/// The store is built by hand around them, because readers must also handle what an import would never write.
pub(super) fn blob(data: &[u8]) {
    let Some(end) = data.iter().position(|byte| *byte == b'\n') else { return };
    let (line, blob) = (&data[..end], &data[end + 1..]);
    let Ok(tensors) = serde_json::from_slice::<Value>(line) else { return };
    SCRATCH.with(|dir| stored(dir.path(), &tensors, blob));
}

fn stored(root: &Path, tensors: &Value, blob: &[u8]) {
    let store = Store::open(root).expect("the scratch store is ours");
    let digest = Digest::of(blob);
    let name = tensors.get(0).and_then(|tensor| tensor.get("name")).and_then(Value::as_str).map(str::to_owned);
    let config = json!({
        "model_format": "safetensors",
        "longshore": {"version": 1, "facts": {}, "import": {}, "blobs": [{"digest": digest, "tensors": tensors}]},
    });
    let config = config.to_string().into_bytes();
    let added = |bytes: &[u8]| Added::new(Digest::of(bytes), bytes.len() as u64);
    let layer = Descriptor { name, ..Descriptor::tensor("", added(blob)) };
    let manifest = Manifest::new(Descriptor::config(added(&config)), vec![layer]);
    let model = "fuzzed".parse().expect("a name");
    let files = [
        (store.manifest_path(&model), manifest.to_bytes()),
        (store.blob_path(&Digest::of(&config)), config.clone()),
        (store.blob_path(&digest), blob.to_vec()),
    ];
    for (path, bytes) in &files {
        fs::create_dir_all(path.parent().expect("the path lies in the store")).expect("the scratch store is ours");
        fs::write(path, bytes).expect("the scratch store is ours");
    }
    check(&store, &model, blob);
    for (path, _) in &files {
        fs::remove_file(path).expect("the file was written above");
    }
}

fn check(store: &Store, name: &longshore_manifest::ModelName, blob: &[u8]) {
    let found = store.verify(&VerifyOptions::default(), &Silent).expect("a store of one model can be verified");
    let Ok(model) = store.model(name) else {
        assert!(!found.bad.is_empty(), "verify passes a file that cannot be read");
        return;
    };
    let table = model.config.longshore.as_deref().expect("the table was written above");
    let entries: &[BlobEntry] = &table.blobs;
    let Ok(weights) = Weights::open(store, &model, &OpenOptions::default()) else {
        assert!(!found.bad.is_empty(), "verify passes blobs that cannot be opened: {entries:?}");
        return;
    };
    let file = SafeTensors::new(blob);
    for tensor in weights.iter() {
        let arrays = [Role::Weight, Role::Scale, Role::Bias, Role::GlobalScale];
        let arrays = arrays.into_iter().filter_map(|role| match role {
            Role::Weight => Some((role, tensor.weight())),
            _ => tensor.companion(role).map(|array| (role, array)),
        });
        for (role, array) in arrays {
            assert_eq!(array.shape.byte_len(array.dtype), Ok(array.data.len() as u64));
            if found.bad.is_empty() {
                // Every safetensors reader sees the same tensors in a file that verify passes.
                let file = file.as_ref().expect("verify passes only files that can be read");
                let view = file
                    .tensor(&format!("{}{}", tensor.name(), role.suffix()))
                    .expect("verify passes only files with this tensor");
                assert_eq!((view.dtype, view.shape, view.data), (array.dtype, array.shape, array.data));
            }
        }
    }
}
