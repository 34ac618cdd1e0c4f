//! Golden plans: what a dry run decides about every model that is known, for five requests under each built-in policy.
//!
//! `golden/` has one text for each model and policy, made to be read: a row for each tensor, the decisions side by side. It does not
//! show every member of the document, so that the digest of each document stands at its end. `INSTA_UPDATE=always cargo test` writes
//! them anew.

mod render;

use std::{collections::BTreeSet, fs, path::Path};

use longshore_st_format::fixtures;
use serde_json::Value;

use crate::support::Sandbox;
use render::{Document, render};

/// Requested scheme; nothing first.
const REQUESTS: [Option<&str>; 5] = [None, Some("int4"), Some("int8"), Some("nvfp4"), Some("mxfp8")];
const POLICIES: [&str; 4] = ["default", "uniform", "v0.16", "v0.32"];

fn dry_run(sandbox: &Sandbox, source: &Path, policy: &str, request: Option<&str>) -> Document {
    let source = source.to_str().unwrap();
    let mut args = vec!["import", source, "m", "--policy", policy, "--dry-run", "--json"];
    if let Some(request) = request {
        args.extend(["--quantize", request]);
    }
    let run = sandbox.run(args);
    let notes = sandbox.settled(&run.stderr);
    match run.code {
        0 => Document::Plan { text: run.stdout, notes },
        1 => Document::Refused { notes },
        _ => panic!("{run:?}"),
    }
}

/// The five documents of a model under a policy.
fn documents(sandbox: &Sandbox, source: &Path, policy: &str) -> Vec<(&'static str, Document)> {
    let name = |request: Option<&'static str>| request.unwrap_or("none");
    REQUESTS.iter().map(|request| (name(*request), dry_run(sandbox, source, policy, *request))).collect()
}

fn golden(policy: &str) {
    for model in fixtures::models() {
        let sandbox = Sandbox::new();
        let source = sandbox.checkpoint(model);
        let text = render(&documents(&sandbox, &source, policy));
        insta::with_settings!({
            snapshot_path => "golden",
            omit_expression => true,
            prepend_module_to_snapshot => false,
            description => format!("{model} under the policy {policy}"),
        }, { insta::assert_snapshot!(format!("{model}.{policy}"), text) });
    }
}

#[test]
fn of_the_default_policy() {
    golden("default");
}

#[test]
fn of_the_uniform_policy() {
    golden("uniform");
}

#[test]
fn of_ollama_0_16() {
    golden("v0.16");
}

#[test]
fn of_ollama_0_32() {
    golden("v0.32");
}

/// No golden plan is left of a model or policy that is gone.
#[test]
fn there_are_no_others() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/plans/golden");
    let found = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<_> = found.filter(|name| !name.ends_with(".snap.new")).collect();
    let expected = fixtures::models()
        .flat_map(|model| POLICIES.map(|policy| format!("{model}.{policy}.snap")))
        .collect::<BTreeSet<_>>();
    assert_eq!(found, expected);
}

/// The same names and shapes with the bytes that other programs wrote, where they are at hand: the plan is the same.
#[test]
fn published_bytes_have_the_same_plans() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models");
    for model in fixtures::models() {
        let published = shared.join(model);
        if !published.is_dir() {
            continue;
        }
        let sandbox = Sandbox::new();
        let generated = sandbox.checkpoint(model);
        for request in REQUESTS {
            let blobs = |source: &Path| match dry_run(&sandbox, source, "default", request) {
                Document::Plan { text, .. } => serde_json::from_str::<Value>(&text).unwrap()["blobs"].take(),
                Document::Refused { .. } => Value::Null,
            };
            assert_eq!(blobs(&published.canonicalize().unwrap()), blobs(&generated), "{model} {request:?}");
        }
    }
}
