//! Adapters: merged by an import, or stored as models of their own.

use std::fs;

use longshore_gguf::{Dims, GgmlType, Layout, Metadata, Writer};

use crate::support::{DEMO, Sandbox, files};

const MODULE: &str = "base_model.model.model.layers.0.self_attn.q_proj";

/// Writes an adapter of rank 2 for the first layer's query, of `inputs` and `outputs`.
pub(crate) fn adapter(sandbox: &Sandbox, inputs: usize, outputs: usize) {
    let (a, b) = (2 * inputs * 4, 2 * outputs * 4);
    let header = format!(
        r#"{{"{MODULE}.lora_A.weight":{{"dtype":"F32","shape":[2,{inputs}],"data_offsets":[0,{a}]}},"{MODULE}.lora_B.weight":{{"dtype":"F32","shape":[{outputs},2],"data_offsets":[{a},{}]}}}}"#,
        a + b
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.extend(0.25_f32.to_le_bytes().repeat((a + b) / 4));
    let dir = sandbox.path().join("adapter");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("adapter_model.safetensors"), bytes).unwrap();
    fs::write(dir.join("adapter_config.json"), r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4}"#).unwrap();
}

/// Rows and columns of the weight that the adapter is for.
pub(crate) fn shape(sandbox: &Sandbox) -> (usize, usize) {
    let shown: serde_json::Value = serde_json::from_str(&sandbox.ok(["show", "base", "--tensors", "--json"])).unwrap();
    let tensors = shown["tensors"].as_array().unwrap();
    let found = tensors.iter().find(|tensor| tensor["name"] == "model.layers.0.self_attn.q_proj.weight").unwrap();
    let extent = |at: usize| usize::try_from(found["shape"][at].as_u64().unwrap()).unwrap();
    (extent(0), extent(1))
}

#[test]
fn an_adapter_is_merged() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "base"]);
    let (outputs, inputs) = shape(&sandbox);
    adapter(&sandbox, inputs, outputs);
    sandbox.ok(["import", DEMO, "merged", "--adapter", "adapter=0.5"]);
    let run = sandbox.run(["diff", "base", "merged", "--values"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("model.layers.0.self_attn.q_proj.weight"), "{run:?}");
    assert!(sandbox.ok(["show", "merged"]).contains("times 0.5, merged into 1 tensor"));
    let plan: serde_json::Value =
        serde_json::from_str(&sandbox.ok(["import", DEMO, "x", "--adapter", "adapter", "--dry-run", "--json"]))
            .unwrap();
    let blobs = plan["blobs"].as_array().unwrap();
    let merged = blobs
        .iter()
        .flat_map(|blob| blob["tensors"].as_array().unwrap())
        .filter(|tensor| tensor["transform"] == "merge");
    assert_eq!(merged.count(), 1);
    adapter(&sandbox, inputs, outputs + 2);
    let run = sandbox.run(["import", DEMO, "wrong", "--adapter", "adapter"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.contains("lora_B.weight") && run.stderr.contains("outputs"), "{run:?}");
    let run = sandbox.run(["import", DEMO, "wrong", "--adapter", "adapter=much"]);
    assert_eq!(run.code, 2, "{run:?}");
}

/// Writes `adapter.gguf` of rank 2 for the first layer's query, as llama.cpp has it.
fn file(sandbox: &Sandbox, inputs: usize, outputs: usize) {
    let mut metadata = Metadata::new();
    for (key, text) in [("general.type", "adapter"), ("general.architecture", "qwen3moe"), ("adapter.type", "lora")] {
        metadata.push(key, text).unwrap();
    }
    metadata.push("adapter.lora.alpha", 4.0_f32).unwrap();
    let tensors = [("blk.0.attn_q.weight.lora_a", [2, inputs]), ("blk.0.attn_q.weight.lora_b", [outputs, 2])];
    let dims = |shape: [usize; 2]| Dims::from_shape(&shape.map(|extent| extent as u64)).unwrap();
    let list = tensors.map(|(name, shape)| (name, GgmlType::F32, dims(shape)));
    let mut writer = Writer::new(Vec::new(), Layout::new(metadata, list).unwrap()).unwrap();
    writer.write(&0.25_f32.to_le_bytes().repeat(2 * (inputs + outputs))).unwrap();
    fs::write(sandbox.path().join("adapter.gguf"), writer.finish().unwrap()).unwrap();
}

#[test]
fn an_adapter_of_llama_cpp() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "base"]);
    let (outputs, inputs) = shape(&sandbox);
    adapter(&sandbox, inputs, outputs);
    file(&sandbox, inputs, outputs);
    // All numbers of a factor are one, so that rows may lie in any order.
    sandbox.ok(["import", DEMO, "of-peft", "--adapter", "adapter=0.5"]);
    let run = sandbox.run(["import", DEMO, "of-gguf", "--adapter", "adapter.gguf=0.5"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("1 updates merged, times 0.5, with the scale 2"), "{run:?}");
    assert_eq!(sandbox.run(["diff", "of-peft", "of-gguf", "--values"]).code, 0);
    sandbox.ok(["import", "adapter.gguf", "lora", "--adapter-of", "base"]);
    sandbox.ok(["verify"]);
    sandbox.ok(["verify", "lora", "--repair", "adapter.gguf"]);
    sandbox.ok(["export", "lora", "out"]);
    let read = |name: &str| fs::read(sandbox.path().join(name)).unwrap();
    assert!(read("out/adapter.gguf") == read("adapter.gguf"));
    let run = sandbox.run(["import", "adapter.gguf", "alone"]);
    assert!(run.stderr.contains("--adapter FILE") && run.stderr.contains("--adapter-of BASE"), "{run:?}");
    file(&sandbox, inputs, outputs + 2);
    let run = sandbox.run(["import", "adapter.gguf", "other", "--adapter-of", "base"]);
    assert!(run.code == 1 && run.stderr.contains("blk.0.attn_q.weight.lora_b"), "{run:?}");
}

#[test]
fn an_adapter_is_a_model_of_its_own() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "base"]);
    let (outputs, inputs) = shape(&sandbox);
    adapter(&sandbox, inputs, outputs);
    sandbox.ok(["import", "adapter", "lora", "--adapter-of", "base"]);
    sandbox.ok(["verify"]);
    assert!(sandbox.ok(["show", "lora"]).contains("its adapter"));
    sandbox.ok(["export", "lora", "out"]);
    assert_eq!(files(&sandbox.path().join("out")), files(&sandbox.path().join("adapter")));
    let blobs = fs::read_dir(sandbox.path().join("store/blobs")).unwrap().map(|entry| entry.unwrap().path());
    let is_of_adapter = |path: &std::path::PathBuf| fs::read(path).unwrap().ends_with(&0.25_f32.to_le_bytes());
    fs::remove_file(blobs.into_iter().find(is_of_adapter).unwrap()).unwrap();
    let run = sandbox.run(["verify", "lora", "--repair", DEMO]);
    assert!(run.code == 1 && run.stderr.contains("give the adapter's directory"), "{run:?}");
    sandbox.ok(["verify", "lora", "--repair", "adapter"]);
    sandbox.ok(["export", "lora", "again"]);
    let run = sandbox.run(["import", "adapter", "alone"]);
    assert!(run.stderr.contains("--adapter DIR") && run.stderr.contains("--adapter-of BASE"), "{run:?}");
    adapter(&sandbox, inputs, outputs + 2);
    let run = sandbox.run(["import", "adapter", "other", "--adapter-of", "base"]);
    assert_eq!(run.code, 1, "{run:?}");
    let run = sandbox.run(["rm", "base"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("attachments of base") && run.stderr.contains("lora"), "{run:?}");
    sandbox.ok(["verify"]);
}
