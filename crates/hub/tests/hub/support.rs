//! A hub with a checkpoint of made-up tensors, and stores.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use longshore_fake_hosts::{FakeHub, Loop};
use longshore_hub::{Hub, HubError, HubOptions, PullOptions, Pulled, Selection, pull};
use longshore_manifest::{Digest, Silent, Store};
use longshore_packer::{ImportOptions, Plan, PlanOptions, Source};
use longshore_st_format::fixtures::model;
use longshore_transfer::{Client, Clock, Secret};

#[derive(Default)]
pub(crate) struct Counted(Mutex<Duration>);

impl Clock for Counted {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

/// Files of a directory, by their paths.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            found.insert(name, std::fs::read(&path).unwrap());
        }
    }
    found
}

/// A checkpoint of that name in a directory.
pub(crate) fn checkpoint(name: &str, dir: &Path) {
    model(name).write(dir).unwrap();
}

pub(crate) fn hub_of(dir: &Path) -> Arc<FakeHub> {
    Arc::new(FakeHub::new("acme/tiny", files(dir)))
}

pub(crate) fn client(host: &Arc<FakeHub>) -> Client {
    *host.cdn.lock().unwrap() = "http://localhost:9999".into();
    Client::new(Arc::new(Loop(host.clone()))).with_clock(Arc::new(Counted::default()))
}

pub(crate) fn options() -> HubOptions {
    HubOptions { endpoint: "http://127.0.0.1:8000".parse().unwrap(), token: None, cache: None, offline: false }
}

pub(crate) fn hub(host: &Arc<FakeHub>) -> Hub {
    Hub::new(&client(host), options())
}

pub(crate) fn hub_with_token(host: &Arc<FakeHub>, token: &str) -> Hub {
    Hub::new(&client(host), HubOptions { token: Some(Secret::new(token)), ..options() })
}

pub(crate) fn quantized(scheme: Option<&str>) -> PullOptions {
    let scheme = scheme.map(|scheme| scheme.parse().unwrap());
    PullOptions { plan: PlanOptions { scheme, ..PlanOptions::default() }, ..PullOptions::default() }
}

pub(crate) fn including(globs: &[&str]) -> PullOptions {
    let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
    PullOptions { selection: Selection::new(&globs, &[]).unwrap(), ..PullOptions::default() }
}

pub(crate) fn try_pull(hub: &Hub, store: &Store, options: &PullOptions) -> Result<Pulled, HubError> {
    pull(hub, &"hf:acme/tiny".parse().unwrap(), store, &"tiny:1".parse().unwrap(), options, &Silent)
}

/// The digest of an ordinary import of the same directory.
pub(crate) fn imported(dir: &Path, options: &PullOptions) -> Digest {
    let store = tempfile::tempdir().unwrap();
    let source = Source::open(dir, &longshore_packer::st_format::Limits::default()).unwrap();
    let plan = Plan::new(source, &options.plan).unwrap();
    let store = Store::open(store.path().join("store")).unwrap();
    plan.import(&store, &"x:1".parse().unwrap(), &ImportOptions::default(), &Silent).unwrap().digest
}
