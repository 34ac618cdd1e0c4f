//! The documents of `--json`: one on stdout, with these fields.

use serde_json::Value;

use crate::support::{DEMO, Sandbox};

fn document(sandbox: &Sandbox, args: &[&str]) -> Value {
    let run = sandbox.run(args.iter().copied().chain(["--json"]));
    assert!(run.stderr.is_empty(), "{run:?}");
    let document: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(document["version"], 1, "{args:?}");
    assert_eq!(run.stdout.lines().count(), 1);
    document
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn of_import() {
    let sandbox = Sandbox::new();
    let plan = document(&sandbox, &["import", DEMO, "m", "--quantize", "int4", "--dry-run"]);
    let fields =
        ["architecture", "blobs", "files", "kind", "policy", "quantize", "source_bytes", "stored_bytes", "version"];
    assert_eq!(keys(&plan), fields);
    assert_eq!(
        (&plan["kind"], &plan["quantize"], &plan["policy"]),
        (&"float".into(), &"int4".into(), &"default".into())
    );
    assert_eq!(plan["architecture"], "Qwen3MoeForCausalLM");
    let blobs = plan["blobs"].as_array().unwrap();
    let down = blobs.iter().find(|blob| blob["name"] == "model.layers.0.mlp.experts.down_proj.weight").unwrap();
    assert_eq!(keys(down), ["metadata", "name", "tensors"]);
    assert_eq!(down["metadata"]["quant_type"], "int8");
    let tensor = &down["tensors"][0];
    assert_eq!(keys(tensor), ["dtype", "name", "reason", "scheme", "shape", "sources", "transform"]);
    assert_eq!(tensor["shape"], serde_json::json!([8, 128, 64]));
    assert_eq!((&tensor["scheme"], &tensor["transform"]), (&"int8".into(), &"stack".into()));
    assert_eq!(tensor["sources"].as_array().unwrap().len(), 8);
    assert_eq!(plan["files"][0], serde_json::json!({"name": "config.json", "size": 976}));

    let as_is = document(&sandbox, &["import", DEMO, "m", "--dry-run"]);
    assert_eq!(as_is["quantize"], Value::Null);
    let group =
        as_is["blobs"].as_array().unwrap().iter().find(|blob| blob["name"] == "model.layers.0.mlp.experts").unwrap();
    assert_eq!((&group["metadata"], group["tensors"].as_array().unwrap().len()), (&Value::Null, 3));
    assert_eq!(group["tensors"][0]["scheme"], Value::Null);

    let done = document(&sandbox, &["import", DEMO, "m", "--quantize", "none"]);
    for field in ["digest", "new_bytes", "reused_bytes", "freed_bytes", "seconds"] {
        assert!(!done[field].is_null(), "{field}");
    }
    assert_eq!(done["quantize"], Value::Null);
}

#[test]
fn of_the_other_verbs() {
    let sandbox = Sandbox::new();
    assert_eq!(document(&sandbox, &["list"])["models"], serde_json::json!([]));
    sandbox.ok(["import", DEMO, "m", "--quantize", "int4"]);

    let list = document(&sandbox, &["list"]);
    assert_eq!(list["models"][0]["name"], "m:latest");
    assert_eq!(list["models"][0]["scheme"], "int4");
    assert_eq!(list["models"][0]["size"], list["models"][0]["unique_size"]);

    let load = document(&sandbox, &["load", "m", "--repeat", "3"]);
    assert_eq!(keys(&load), ["bytes", "device", "limit", "peak_rss", "seconds", "tensors", "version"]);
    assert_eq!((&load["device"], &load["tensors"]), (&"host".into(), &27.into()));
    assert_eq!(load["seconds"].as_array().unwrap().len(), 3);
    assert!(load["limit"]["gb_per_s"].as_f64().unwrap() > 0.0);

    let verify = document(&sandbox, &["verify"]);
    assert_eq!((&verify["blobs"], &verify["bad"]), (&30.into(), &serde_json::json!([])));

    let show = document(&sandbox, &["show", "m", "--tensors"]);
    assert_eq!((&show["experts"], show["tensors"].as_array().unwrap().len()), (&8.into(), 27));
    let said = (&show["norm"]["kind"], &show["router"]["scoring"], &show["attention"]["qk_norm"]);
    assert_eq!(said, (&"rms".into(), &"softmax".into(), &true.into()));
    let diff = document(&sandbox, &["diff", "m", "m"]);
    assert_eq!((&diff["same"], &diff["different"]), (&27.into(), &serde_json::json!([])));
    let values = document(&sandbox, &["diff", "m", "m", "--values"]);
    assert_eq!((&values["same"], &values["values"]), (&27.into(), &serde_json::json!([])));
    let inspect = document(&sandbox, &["inspect", DEMO]);
    assert_eq!((&inspect["kind"], inspect["tensors"].as_array().unwrap().len()), (&"float".into(), 69));
    let known = document(&sandbox, &["inspect", "--architectures"]);
    let known = known["architectures"].as_array().unwrap();
    let qwen = known.iter().find(|row| row["names"][0] == "Qwen3ForCausalLM").unwrap();
    let row = serde_json::json!({"names": ["Qwen3ForCausalLM", "qwen3"], "runtimes": ["ollama", "mlx-lm"], "own_facts": true,
        "transposed_experts": false, "exports": ["hf", "mlx"]});
    assert_eq!(qwen, &row);
    assert_eq!(document(&sandbox, &["export", "m", "out", "--dequantize", "f32"])["tensors"], 69);
    assert_eq!(document(&sandbox, &["copy", "m", "n"])["name"], "n:latest");
    // A name that gets another model gives up what only it had.
    sandbox.ok(["import", DEMO, "other", "--quantize", "int8"]);
    let values = document(&sandbox, &["diff", "m", "other", "--values"]);
    let first = &values["values"][0];
    assert_eq!(first["name"], values["different"][0]);
    assert!(first["largest_difference"].as_f64().unwrap() > 0.0 && first["max_a"].as_f64().unwrap() > 0.0, "{first}");
    assert!(diff.get("values").is_none(), "{diff}");
    let again = document(&sandbox, &["copy", "m", "other"]);
    assert!(again["freed_bytes"].as_u64().unwrap() > 0, "{again}");
    sandbox.ok(["rm", "other"]);
    assert_eq!(document(&sandbox, &["rm", "m"])["freed_bytes"], 0);
    assert_eq!(document(&sandbox, &["rm", "n"])["removed"], serde_json::json!(["n:latest"]));
    assert_eq!(document(&sandbox, &["gc", "--dry-run"])["freed_bytes"], 0);
}
