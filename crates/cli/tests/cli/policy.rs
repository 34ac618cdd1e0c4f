//! Policies: the built-in ones listed and shown, a file checked and used.

use std::fs;

use serde_json::Value;

use crate::support::{DEMO, FLOAT_MODELS, Sandbox, snapshot};

const MINE: &str = "\
description = \"Experts alone\"

[[rule]]
stacked = true
action = \"request\"
reason = \"an expert\"
";

fn dry_run(sandbox: &Sandbox, policy: &str) -> Value {
    let args = ["import", DEMO, "m", "--quantize", "int4", "--policy", policy, "--dry-run", "--json"];
    serde_json::from_str(&sandbox.ok(args)).unwrap()
}

fn reasons(plan: &Value) -> Vec<String> {
    let blobs = plan["blobs"].as_array().unwrap();
    let tensors = blobs.iter().flat_map(|blob| blob["tensors"].as_array().unwrap());
    tensors.map(|tensor| tensor["reason"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_list_and_what_is_on_it() {
    let sandbox = Sandbox::new();
    snapshot!("policy-list", sandbox.ok(["policy", "list"]));
    let list: Value = serde_json::from_str(&sandbox.ok(["policy", "list", "--json"])).unwrap();
    assert_eq!(list["version"], 1);
    let policies = list["policies"].as_array().unwrap();
    let names: Vec<_> = policies.iter().map(|policy| policy["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["default", "uniform", "v0.16", "v0.32"]);
    for name in names {
        let toml = sandbox.ok(["policy", "show", name]);
        let shown: Value = serde_json::from_str(&sandbox.ok(["policy", "show", name, "--json"])).unwrap();
        assert_eq!((shown["version"].as_u64(), shown["name"].as_str()), (Some(1), Some(name)));
        assert_eq!(shown["toml"].as_str(), Some(&*toml));
        // The printed text is a policy, and decides the same under another name.
        fs::write(sandbox.path().join("mine.toml"), &toml).unwrap();
        assert_eq!(sandbox.ok(["policy", "show", "mine.toml"]), toml);
        let (mine, built_in) = (dry_run(&sandbox, "mine.toml"), dry_run(&sandbox, name));
        assert_eq!((mine["policy"].as_str(), built_in["policy"].as_str()), (Some("mine"), Some(name)));
        assert_eq!(mine["blobs"], built_in["blobs"], "{name}");
    }
}

#[test]
fn a_file_decides() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.path().join("mine"), MINE).unwrap();
    let plan = dry_run(&sandbox, "mine");
    let reasons = reasons(&plan);
    assert!(reasons.iter().any(|reason| reason == "an expert"), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason == "no rule matches: kept"), "{reasons:?}");
    sandbox.ok(["import", DEMO, "m", "--quantize", "int4", "--policy", "mine"]);
    assert!(sandbox.ok(["show", "m"]).contains("--policy mine"));
    // A built-in policy goes before a file of its name.
    fs::write(sandbox.path().join("default"), MINE).unwrap();
    assert_eq!(dry_run(&sandbox, "default")["policy"], "default");
}

/// The facts of `config.json` reach the rules: the architecture's own, and the layers by their position.
#[test]
fn rules_for_single_architectures() {
    let sandbox = Sandbox::new();
    let model = sandbox.checkpoint("nemotron-h");
    let model = model.to_str().unwrap();
    for policy in ["default", "v0.32"] {
        let args = ["import", model, "m", "--quantize", "nvfp4", "--policy", policy, "--dry-run", "--json"];
        let reasons = reasons(&serde_json::from_str(&sandbox.ok(args)).unwrap());
        let has = |reason: &str| reasons.iter().any(|found| found == reason);
        assert!(has("attention: 8-bit"), "{policy}: {reasons:?}");
        // Its config.json does not state the number of layers, without which ollama 0.32 has no sensitive ones.
        let sensitive = has("output or down projection of a sensitive layer: 8-bit");
        assert_eq!(sensitive, policy == "default", "{policy}: {reasons:?}");
    }
}

#[test]
fn every_policy_plans_every_model() {
    let sandbox = Sandbox::new();
    for model in FLOAT_MODELS {
        let dir = sandbox.checkpoint(model);
        for policy in ["default", "uniform", "v0.16", "v0.32"] {
            let args = ["import", dir.to_str().unwrap(), "m", "--quantize", "mxfp4", "--policy", policy, "--dry-run"];
            assert!(sandbox.ok(args).contains("mxfp4"), "{model} {policy}");
        }
    }
}

#[test]
fn mistakes_name_the_file_and_the_line() {
    let sandbox = Sandbox::new();
    let files: [(&str, &[u8]); 4] = [
        ("action.toml", b"[[rule]]\nname = \"*.weight\"\naction = \"int7\"\n"),
        ("key.toml", b"[[rule]]\nnmae = \"*.weight\"\naction = \"request\"\n"),
        ("default.toml", MINE.as_bytes()),
        ("bytes.toml", b"# one\n# \xff\n"),
    ];
    for (file, text) in files {
        fs::write(sandbox.path().join(file), text).unwrap();
        for args in [&["policy", "show", file][..], &["import", DEMO, "m", "--policy", file]] {
            let run = sandbox.run(args);
            assert_eq!((run.code, &*run.stdout), (1, ""), "{run:?}");
            snapshot!(format!("policy-{}", file.trim_end_matches(".toml")), run.transcript(&sandbox));
        }
    }
    fs::write(sandbox.path().join("long.toml"), "#".repeat(300_000)).unwrap();
    let run = sandbox.run(["policy", "show", "long.toml"]);
    assert!(run.code == 1 && run.stderr.contains("at most 262144 bytes in a policy, found 262145"), "{run:?}");
    let run = sandbox.run(["policy", "show", "missing.toml"]);
    assert!(run.code == 1 && run.stderr.contains("cannot read the policy missing.toml"), "{run:?}");
}
