//! A hub that is killed at fifty instants while a model comes.

use std::{fs, sync::Arc};

use longshore_fake_hosts::{Death, Loop, Mortal};
use longshore_hub::{Hub, PullOptions};
use longshore_manifest::Store;
use longshore_transfer::Client;

use crate::support::{Counted, checkpoint, files, hub_of, imported, options, quantized, try_pull};

const KILLS: usize = 50;

#[test]
fn a_killed_hub_costs_no_pull_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    checkpoint("qwen3-moe", &source);
    let bytes: u64 = files(&source).values().map(|bytes| bytes.len() as u64).sum();
    let host = hub_of(&source);
    *host.cdn.lock().unwrap() = "http://localhost:9999".into();
    let mortal = Arc::new(Mortal::new(host, Death::instants(5, KILLS, bytes / 3)));
    let client = Client::new(Arc::new(Loop(mortal.clone()))).with_clock(Arc::new(Counted::default()));
    let hub = Hub::new(&client, options());
    let asked = [quantized(Some("int4")), PullOptions::default()].map(|asked| (imported(&source, &asked), asked));
    let mut failed = 0;
    for (round, (digest, asked)) in asked.iter().cycle().enumerate() {
        if mortal.left() == 0 {
            break;
        }
        let store = Store::open(dir.path().join(format!("store{round}"))).unwrap();
        loop {
            match try_pull(&hub, &store, asked) {
                Ok(pulled) => break assert_eq!(pulled.outcome.digest, *digest),
                Err(_) => failed += 1,
            }
            assert_eq!(store.names().unwrap(), []);
            assert!(store.pulls().unwrap().len() <= 1);
        }
        assert!(store.pulls().unwrap().is_empty());
        fs::remove_dir_all(store.root()).unwrap();
    }
    assert!(failed > 0, "some outlast a client's attempts");
}
