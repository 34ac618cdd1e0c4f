//! Experts: which belongs where, and what a cache would hit.

use std::fs;

use serde_json::{Value, json};

use crate::support::{DEMO, Sandbox, snapshot};

/// A routing of the demo, which has two layers of eight experts: each token chooses two in each layer.
fn trace(sandbox: &Sandbox) -> &'static str {
    let mut lines = vec!["{\"version\":1,\"layers\":[0,1],\"experts\":8,\"top_k\":2}".to_owned()];
    lines.extend((0..12).map(|token| format!("[[{},{again}],[7,{again}]]", token % 2, again = 3 + token % 4)));
    let text = lines.join("\n") + "\n";
    fs::write(sandbox.path().join("trace.jsonl"), text).unwrap();
    "trace.jsonl"
}

fn json(sandbox: &Sandbox, args: &[&str]) -> Value {
    let run = sandbox.run(args.iter().copied().chain(["--json"]));
    assert!(run.code == 0 && run.stderr.is_empty(), "{run:?}");
    serde_json::from_str(&run.stdout).unwrap()
}

#[test]
fn a_plan_says_what_lies_where() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m", "--quantize", "int4"]);
    let trace = trace(&sandbox);
    snapshot!("experts-plan", sandbox.ok(["experts", "plan", "m"]));
    let budgets = ["--device-budget", "350K", "--host-budget", "60K"];
    snapshot!("experts-plan-layers", sandbox.ok([&["experts", "plan", "m"][..], &budgets].concat()));
    let by_use = [&["experts", "plan", "m", "--stats", trace][..], &budgets].concat();
    snapshot!("experts-plan-uses", sandbox.ok(&by_use));

    let plan = json(&sandbox, &by_use);
    assert_eq!(plan["version"], 1);
    let tiers = plan["tiers"].as_array().unwrap();
    assert_eq!(tiers.iter().map(|tier| &tier["tier"]).collect::<Vec<_>>(), ["device", "host", "disk"]);
    assert_eq!(
        tiers.iter().map(|tier| &tier["budget"]).collect::<Vec<_>>(),
        [&json!(358_400), &json!(61_440), &json!(null)]
    );
    let placement = plan["placement"].as_array().unwrap();
    assert_eq!(placement.len(), 16);
    for tier in tiers {
        let inside: Vec<_> = placement.iter().filter(|placed| placed["tier"] == tier["tier"]).collect();
        assert_eq!(tier["experts"], inside.len());
        assert_eq!(tier["bytes"], inside.iter().map(|placed| placed["bytes"].as_u64().unwrap()).sum::<u64>());
    }
    let shared = plan["shared_bytes"].as_u64().unwrap();
    assert!(shared + tiers[0]["bytes"].as_u64().unwrap() <= 358_400);
    assert!(tiers[1]["bytes"].as_u64().unwrap() <= 61_440);
    assert_eq!(placement.iter().map(|placed| placed["uses"].as_u64().unwrap()).sum::<u64>(), 48);
    // Layer 1 always chooses its last expert.
    assert_eq!((&placement[15]["uses"], &placement[15]["tier"]), (&json!(12), &json!("device")));
    let without = json(&sandbox, &["experts", "plan", "m"]);
    assert_eq!((&without["placement"][0]["uses"], &without["tiers"][0]["budget"]), (&json!(null), &json!(null)));
    assert_eq!(without["shared_bytes"], shared);
}

#[test]
fn a_directory_and_a_stored_model_have_the_same_experts() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let (stored, directory) = (json(&sandbox, &["experts", "plan", "m"]), json(&sandbox, &["experts", "plan", DEMO]));
    assert_eq!(stored, directory);
}

#[test]
fn a_replay_counts_hits() {
    let sandbox = Sandbox::new();
    let trace = trace(&sandbox);
    snapshot!("experts-replay", sandbox.ok(["experts", "replay", trace, "--slots", "6"]));
    let replay = json(&sandbox, &["experts", "replay", trace, "--slots", "6"]);
    let (hits, misses) = (replay["hits"].as_u64().unwrap(), replay["misses"].as_u64().unwrap());
    assert_eq!(replay, json!({"version": 1, "slots": 6, "pinned": 3, "requests": 24, "hits": hits, "misses": misses}));
    assert!(hits + misses == 24 && hits > 0 && misses > 0);
    let whole = json(&sandbox, &["experts", "replay", trace, "--slots", "16", "--pinned", "1", "--warm", "0"]);
    assert_eq!((&whole["requests"], &whole["misses"]), (&json!(48), &json!(0)));
}

#[test]
fn mistakes_say_what_is_wrong() {
    let sandbox = Sandbox::new();
    let trace = trace(&sandbox);
    let llama = sandbox.checkpoint("llama");
    let mixtral = sandbox.checkpoint("mixtral");
    let [llama, mixtral] = [&llama, &mixtral].map(|path| path.to_str().unwrap());
    fs::write(sandbox.path().join("bad.jsonl"), "{\"version\":1,\"layers\":[0],\"experts\":8,\"top_k\":1}\n[[8]]\n")
        .unwrap();
    let cases: [(&str, &[&str]); 6] = [
        ("no-experts", &["experts", "plan", llama]),
        ("small-budget", &["experts", "plan", DEMO, "--host-budget", "1K"]),
        ("other-model", &["experts", "plan", mixtral, "--stats", trace]),
        ("bad-trace", &["experts", "replay", "bad.jsonl", "--slots", "4"]),
        ("missing-trace", &["experts", "replay", "none.jsonl", "--slots", "4"]),
        ("nothing-left", &["experts", "replay", trace, "--slots", "4", "--warm", "1"]),
    ];
    for (name, args) in cases {
        let run = sandbox.run(args);
        assert_eq!((run.code, &*run.stdout), (1, ""), "{run:?}");
        snapshot!(format!("experts-{name}"), run.transcript(&sandbox));
    }
    for args in [
        &["experts", "replay", trace, "--slots", "4", "--pinned", "2"][..],
        &["experts", "plan", DEMO, "--host-budget", "x"],
    ] {
        assert_eq!(sandbox.run(args).code, 2);
    }
}
