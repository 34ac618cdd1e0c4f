//! Pipes and links in circles where files are expected.
#![cfg(unix)]

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use crate::support::{DEMO, Run, Sandbox};

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// A copy of the demo checkpoint in which `name` is something else.
fn checkpoint_with(sandbox: &Sandbox, name: &str, make: impl Fn(&Path)) {
    let dir = sandbox.path().join("checkpoint");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    for entry in fs::read_dir(DEMO).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != name) {
        fs::copy(entry.path(), dir.join(entry.file_name())).unwrap();
    }
    make(&dir.join(name));
}

fn refused(run: &Run) {
    assert_eq!(run.code, 1, "{run:?}");
    let reasons = ["not a regular file", "expected a regular file", "levels of symbolic links"];
    assert!(reasons.iter().any(|reason| run.stderr.contains(reason)), "{run:?}");
}

#[test]
fn a_pipe_or_a_circle_in_a_source_is_refused_and_not_waited_for() {
    let sandbox = Sandbox::new();
    let circle = |path: &Path| symlink(path.file_name().unwrap(), path).unwrap();
    for name in ["config.json", "tokenizer.json", "model-00001-of-00004.safetensors", "extra.json"] {
        checkpoint_with(&sandbox, name, pipe);
        refused(&sandbox.run(["import", "checkpoint", "m"]));
        checkpoint_with(&sandbox, name, circle);
        refused(&sandbox.run(["import", "checkpoint", "m"]));
    }
    pipe(&sandbox.path().join("pipe.toml"));
    refused(&sandbox.run(["import", DEMO, "m", "--quantize", "int4", "--policy", "./pipe.toml"]));
    refused(&sandbox.run([
        "import",
        DEMO,
        "m",
        "--quantize",
        "int4",
        "--profile",
        "best",
        "--importance",
        "pipe.toml",
    ]));
    refused(&sandbox.run(["policy", "show", "./pipe.toml"]));
    assert!(!sandbox.store().join("manifests").exists());
}

#[test]
fn a_pipe_in_place_of_a_blob_is_damage_and_not_waited_for() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let blobs = sandbox.store().join("blobs");
    let size = |path: &Path| path.metadata().unwrap().len();
    let mut all: Vec<_> = fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort_by_key(|path| size(path));
    // The largest is one of weights.
    let blob = all.pop().unwrap();
    fs::remove_file(&blob).unwrap();
    pipe(&blob);
    for args in [
        &["load", "m"][..],
        &["load", "m", "--verify"],
        &["export", "m", "out"],
        &["diff", "m", "m"],
        &["verify"],
        &["import", "store/manifests/registry.ollama.ai/library/m/latest", "again", "--store", "other"],
    ] {
        let run = sandbox.run(args);
        assert_eq!(run.code, 1, "{args:?}: {run:?}");
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("it is not a regular file"), "{args:?}: {run:?}");
    }
    assert!(!sandbox.path().join("out").exists());
    // These do not need what it held.
    sandbox.ok(["list"]);
    sandbox.ok(["show", "m"]);
    sandbox.ok(["gc", "--grace", "0s"]);
    sandbox.ok(["verify", "m", "--repair", DEMO]);
    sandbox.ok(["verify"]);
}
