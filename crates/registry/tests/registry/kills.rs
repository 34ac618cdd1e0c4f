//! A registry that is killed at fifty instants while a model comes or goes.

use std::{fs, sync::Arc};

use longshore_fake_hosts::{Death, FakeRegistry, Loop, Mortal, sha256};
use longshore_manifest::Silent;
use longshore_registry::{PullOptions, Registry, pull, push};
use longshore_transfer::Client;

use crate::support::{Counted, import, layers, name, reference, registry, store, try_push, verify};

const KILLS: usize = 50;

fn client(host: &Arc<Mortal>) -> Client {
    Client::new(Arc::new(Loop(host.clone()))).with_clock(Arc::new(Counted::default()))
}

#[test]
fn a_killed_registry_costs_no_pull_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let (here, host) = (store(&dir.path().join("here")), registry());
    let digest = import(&here, "m:1", &layers(1));
    let bytes = try_push(&host, &here, "m:1", "a/m:1").unwrap().bytes;
    let mortal = Arc::new(Mortal::new(host, Death::instants(7, KILLS, bytes / 5)));
    let (mut failed, mut round) = (0, 0);
    while mortal.left() > 0 {
        round += 1;
        let there = store(&dir.path().join(format!("there{round}")));
        let from = Registry::new(client(&mortal), reference("a/m:1"), None);
        loop {
            match pull(&from, &there, &name("m:1"), &PullOptions::default(), &Silent) {
                Ok(pulled) => break assert_eq!(pulled.digest, digest),
                Err(_) => failed += 1,
            }
            assert_eq!(there.names().unwrap(), []);
            assert!(there.pulls().unwrap().len() <= 1);
        }
        verify(&there);
        assert!(there.pulls().unwrap().is_empty());
        fs::remove_dir_all(there.root()).unwrap();
    }
    assert!(failed > 0, "some outlast a client's attempts");
}

/// Checks that every manifest of the registry has its blobs.
fn is_whole(host: &FakeRegistry, repository: &str) -> bool {
    let Some(manifest) = host.manifest(repository, "1") else { return false };
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    for layer in manifest["layers"].as_array().unwrap().iter().chain([&manifest["config"]]) {
        let digest = layer["digest"].as_str().unwrap();
        let blob = host.blob(repository, digest).unwrap();
        assert_eq!(format!("sha256:{}", sha256(&blob)), digest);
    }
    true
}

#[test]
fn a_killed_registry_has_no_tag_of_half_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let (here, host) = (store(&dir.path().join("here")), registry());
    let digest = import(&here, "m:1", &layers(1));
    let bytes = try_push(&registry(), &here, "m:1", "a/m:1").unwrap().bytes;
    let mortal = Arc::new(Mortal::new(host.clone(), Death::instants(11, KILLS, bytes / 5)));
    let (mut failed, mut round) = (0, 0);
    while mortal.left() > 0 {
        round += 1;
        let repository = format!("a/m{round}");
        // Without it nothing would move to another repository.
        fs::remove_dir_all(here.root().join("origins")).unwrap_or_default();
        let to = Registry::for_push(client(&mortal), reference(&format!("{repository}:1")), None);
        loop {
            match push(&to, &here, &name("m:1"), &Silent) {
                Ok(pushed) => break assert_eq!(pushed.digest, digest),
                Err(_) => failed += 1,
            }
            // The answer to the manifest may have been lost, and not the manifest.
            is_whole(&host, &repository);
        }
        assert!(is_whole(&host, &repository));
    }
    assert!(failed > 0, "some outlast a client's attempts");
}
