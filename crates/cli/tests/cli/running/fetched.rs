//! Models that are run by their references: pulled first, where they are not there.

use std::{fs, process::Command, sync::Arc};

use longshore_fake_hosts::{FakeRegistry, Host as _, serve};
use longshore_manifest::{Digest, Store};
use serde_json::json;

use super::{
    automaton::{Automaton, TEMPLATE},
    terminal::OnTerminal,
};
use crate::{
    net::{command, hub_of},
    support::{Run, Sandbox},
};

/// A model that writes ` one, TW3` after a colon, and ends.
fn model(sandbox: &Sandbox) -> std::path::PathBuf {
    Automaton::new().text(": one,TW3").template(TEMPLATE).write(sandbox, "m");
    sandbox.path().join("m")
}

#[test]
fn a_model_of_a_hub_is_pulled_once_and_run() {
    let (publisher, sandbox) = (Sandbox::new(), Sandbox::new());
    let (host, served) = hub_of(&model(&publisher));
    let with = |args: &[&str]| {
        let mut command: Command = command(&sandbox, args);
        command.env("HF_ENDPOINT", format!("http://{}", served.authority()));
        Run::of(&mut command)
    };
    let first = with(&["run", "hf:acme/tiny", "count:"]);
    assert_eq!((first.code, first.stdout.as_str()), (0, " one,TW3"), "{first:?}");
    assert!(first.stderr.contains("pulling hf:acme/tiny@main as acme/tiny:latest: "), "{first:?}");
    host.take_log();
    let again = with(&["run", "hf:acme/tiny", "count:"]);
    assert_eq!((again.code, again.stdout.as_str(), again.stderr.as_str()), (0, " one,TW3", ""), "{again:?}");
    assert!(host.take_log().is_empty(), "what is there is not asked for");
    // A short name, in a document of JSON alone, and another verb.
    assert_eq!(with(&["aliases", "short", "hf:acme/tiny"]).code, 0);
    let document = with(&["run", "short", "count:", "--json"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&document.stdout).unwrap()["model"], "acme/tiny:latest");
    fs::write(sandbox.path().join("text"), "count: one, count: two, count: three, ".repeat(40)).unwrap();
    let other = Sandbox::new();
    let mut measured = command(&other, &["perplexity", "hf:acme/tiny", "--text", "text", "--window", "32", "--json"]);
    fs::copy(sandbox.path().join("text"), other.path().join("text")).unwrap();
    let measured = Run::of(measured.env("HF_ENDPOINT", format!("http://{}", served.authority())));
    assert_eq!(measured.code, 0, "{measured:?}");
    // Without a host that answers nothing is named.
    let nobody = Sandbox::new();
    let mut offline = command(&nobody, &["chat", "hf:acme/other"]);
    let offline = Run::of(offline.env("HF_ENDPOINT", format!("http://{}", served.authority())));
    assert_eq!(offline.code, 1, "{offline:?}");
    assert!(!nobody.store().join("manifests").exists(), "{offline:?}");
}

#[test]
fn models_of_registries_are_pulled_and_run() {
    let (publisher, sandbox) = (Sandbox::new(), Sandbox::new());
    model(&publisher);
    let host = Arc::new(FakeRegistry::default());
    let served = serve(host.clone()).unwrap();
    publisher.ok(["import", "./m", "tiny:1", "-q"]);
    let reference = format!("oci:{}/me/tiny:1", served.authority());
    assert_eq!(Run::of(&mut command(&publisher, &["push", "tiny:1", &reference])).code, 0);
    let ran = Run::of(&mut command(&sandbox, &["run", &reference, "count:", "-q"]));
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, " one,TW3", ""), "{ran:?}");

    // The same registry answers as Ollama's.
    let store = Store::open(publisher.store()).unwrap();
    let name = "tiny:1".parse().unwrap();
    let (_, manifest) = store.manifest(&name).unwrap();
    for blob in manifest.blobs() {
        host.put_blob("library/tiny", &fs::read(store.blob_path(&blob.digest)).unwrap());
    }
    host.put_manifest("library/tiny", "1", &store.manifest_document(&name).unwrap());
    let reference = format!("ollama:{}/library/tiny:1", served.authority());
    let plan = Run::of(&mut command(&sandbox, &["pull", &reference, "--dry-run", "--json"]));
    let plan: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["files"].as_array().unwrap().len(), manifest.blobs().count(), "{plan}");
    assert!(plan["bytes"].as_u64() > Some(1000) && plan["bytes"] == plan["missing_bytes"], "{plan}");
    let shown = Run::of(&mut command(&sandbox, &["pull", &reference, "--dry-run"]));
    assert!(shown.stdout.contains("would fetch ") && shown.stdout.contains("of manifest sha256:"), "{shown:?}");
    let ran = Run::of(&mut command(&sandbox, &["run", &reference, "count:"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (0, " one,TW3"), "{ran:?}");
    assert!(ran.stderr.contains("pulling ollama:"), "{ran:?}");
}

/// An artifact that says that it has a blob of two gigabytes.
fn huge(host: &FakeRegistry) {
    let put = |bytes: &[u8]| {
        host.put_blob("me/huge", bytes);
        Digest::of(bytes)
    };
    let (large, small, size) = (Digest::of(b"large"), put(b"{}"), 2_000_000_000_u64);
    let layer = |kind: &str, digest: Digest, size: u64| json!({"mediaType": kind, "digest": digest, "size": size});
    let document = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": layer("application/vnd.docker.container.image.v1+json", small, 2),
        "layers": [{"mediaType": "application/vnd.ollama.image.tensor", "digest": large, "size": size, "name": "w"}],
    }));
    let document = document.unwrap();
    let index = serde_json::to_vec(&json!({"version": 1, "blobs": [
        {"digest": small, "size": 2, "at": [[1, 0, 2]]}, {"digest": large, "size": size, "at": [[2, 0, size]]}]}));
    let index = index.unwrap();
    let artifact = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.longshore.model.v1+json",
        "config": layer("application/vnd.longshore.model.index.v1+json", put(&index), index.len() as u64),
        "layers": [
            layer("application/vnd.longshore.model.manifest.v1+json", put(&document), document.len() as u64),
            layer("application/vnd.longshore.model.pack.v1", small, 2),
            layer("application/vnd.longshore.model.blob.v1", large, size),
        ],
    });
    host.put_manifest("me/huge", "1", &serde_json::to_vec(&artifact).unwrap());
}

#[test]
fn a_large_model_is_asked_about_at_a_terminal_and_only_there() {
    let host = Arc::new(FakeRegistry::default());
    huge(&host);
    let served = serve(host.clone()).unwrap();
    let reference = format!("oci:{}/me/huge:1", served.authority());
    for answer in ["n\n", "\n", "yess\n"] {
        let sandbox = Sandbox::new();
        let mut terminal = OnTerminal::start(&sandbox, &["run", &reference, "count:"]);
        terminal.until("pulling oci:");
        terminal.until("Fetch 1.86 GiB? [y/N] ");
        terminal.type_in(answer);
        terminal.until("was not fetched");
        assert_eq!(terminal.child.wait().unwrap().code(), Some(1));
        assert!(!sandbox.store().join("pulls").exists());
    }
    // In a pipe the size is said, and nobody is asked.
    let sandbox = Sandbox::new();
    let piped = Run::of(&mut command(&sandbox, &["run", &reference, "count:"]));
    assert!(piped.stderr.contains(": 1.86 GiB") && !piped.stderr.contains("[y/N]"), "{piped:?}");
    assert_ne!(piped.code, 0);
    assert!(host.take_log().iter().any(|seen| format!("{seen:?}").contains(&Digest::of(b"large").to_string())));
}
