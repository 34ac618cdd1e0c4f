//! Stores with models, and a registry that needs no socket.

use std::{path::Path, sync::Arc};

use longshore_fake_hosts::{FakeRegistry, Loop};
use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, ModelName, RelativePath, Silent, Store,
    document::{Facts, Import, TensorTable},
    store::VerifyOptions,
};
use longshore_registry::{PullOptions, Pulled, Pushed, Reference, Registry, RegistryError, pull, push};
use longshore_transfer::{Client, Clock};

/// Time that passes only while someone sleeps.
#[derive(Default)]
pub(crate) struct Counted(std::sync::Mutex<std::time::Duration>);

impl Clock for Counted {
    fn now(&self) -> std::time::Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, time: std::time::Duration) {
        *self.0.lock().unwrap() += time;
    }
}

pub(crate) fn registry() -> Arc<FakeRegistry> {
    Arc::new(FakeRegistry::default())
}

pub(crate) fn client(host: &Arc<FakeRegistry>) -> Client {
    Client::new(Arc::new(Loop(host.clone()))).with_clock(Arc::new(Counted::default()))
}

pub(crate) fn reference(text: &str) -> Reference {
    format!("oci:localhost:5000/{text}").parse().unwrap()
}

pub(crate) fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

pub(crate) fn store(dir: &Path) -> Store {
    Store::open(dir).unwrap()
}

pub(crate) fn try_push(
    host: &Arc<FakeRegistry>,
    store: &Store,
    model: &str,
    to: &str,
) -> Result<Pushed, RegistryError> {
    push(&Registry::for_push(client(host), reference(to), None), store, &name(model), &Silent)
}

pub(crate) fn try_pull(
    host: &Arc<FakeRegistry>,
    store: &Store,
    from: &str,
    model: &str,
) -> Result<Pulled, RegistryError> {
    pull(&Registry::new(client(host), reference(from), None), store, &name(model), &PullOptions::default(), &Silent)
}

/// Bytes that are the same for the same seed.
pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Stores a model of files with these names, seeds and lengths. The names are those of tensors' blobs, or of files where they have a slash or an
/// ending of a file.
pub(crate) fn import(store: &Store, model: &str, layers: &[(String, u64, usize)]) -> Digest {
    let ingest = store.ingest().unwrap();
    let config =
        ingest.add(&Config::new(TensorTable::new(Facts::default(), Import::default(), Vec::new())).to_bytes()).unwrap();
    let mut descriptors = Vec::new();
    for (name, seed, len) in layers {
        let added = ingest.add(&bytes(*seed, *len)).unwrap();
        let is_file = matches!(name.rsplit_once('.'), Some((_, "json" | "txt")));
        descriptors.push(if is_file {
            Descriptor::file(&RelativePath::parse(name).unwrap(), added)
        } else {
            Descriptor::tensor(name.as_str(), added)
        });
    }
    ingest.commit(&name(model), &Manifest::new(Descriptor::config(config), descriptors)).unwrap().digest
}

/// A model of two decoder layers with large and small blobs, and of files. `seed` makes its values.
pub(crate) fn layers(seed: u64) -> Vec<(String, u64, usize)> {
    let mut layers = vec![("model.embed_tokens.weight".to_owned(), 1, 3 << 20)];
    for layer in 0..2 {
        let prefix = format!("model.layers.{layer}");
        layers.push((format!("{prefix}.mlp.experts"), seed * 100 + layer, 2 << 20));
        layers.push((format!("{prefix}.self_attn.q_proj.weight"), 40 + layer, (1 << 20) + 7));
        for small in 0..5 {
            layers.push((
                format!("{prefix}.norm{small}.weight"),
                seed * 1000 + layer * 10 + small,
                3000 + 100 * usize::try_from(layer).unwrap(),
            ));
        }
    }
    layers.push(("config.json".to_owned(), 7, 900));
    layers.push(("empty.txt".to_owned(), 0, 0));
    layers
}

/// Checks that every blob is good, and every model whole.
pub(crate) fn verify(store: &Store) {
    for name in store.names().unwrap() {
        let (_, manifest) = store.manifest(&name).unwrap();
        for blob in manifest.blobs() {
            let path = store.blob_path(&blob.digest);
            assert_eq!(Digest::of(&std::fs::read(path).unwrap()), blob.digest, "{name}");
        }
    }
    let _ = VerifyOptions::default();
}

/// Files below a directory.
pub(crate) fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}
