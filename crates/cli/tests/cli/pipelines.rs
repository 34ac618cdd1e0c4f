//! Pipelines and draft models, end to end.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::Sandbox;

fn json(sandbox: &Sandbox, args: &[&str]) -> Value {
    let run = sandbox.run(args.iter().copied().chain(["--json"]));
    assert!(run.code == 0 || args[0] == "diff", "{run:?}");
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {run:?}"))
}

fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).into_iter().map(|file| format!("{name}/{file}")));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

#[test]
fn every_verb_knows_pipelines() {
    let sandbox = Sandbox::new();
    let source = sandbox.checkpoint("flux");
    let source = source.to_str().unwrap();

    let inspected = json(&sandbox, &["inspect", source]);
    assert_eq!((&inspected["kind"], &inspected["architecture"]), (&"pipeline".into(), &"FluxPipeline".into()));
    let components = inspected["components"].as_array().unwrap();
    let names: Vec<_> = components.iter().map(|component| component["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["text_encoder", "text_encoder_2", "transformer", "vae"]);
    assert_eq!(components[3]["architecture"], "AutoencoderKL");
    let text = sandbox.run(["inspect", source]).stdout;
    assert!(text.contains("text_encoder_2: T5EncoderModel, float, "), "{text}");
    assert!(text.contains("transformer/diffusion_pytorch_model-00001-of-00009.safetensors"), "{text}");

    let planned = json(&sandbox, &["import", source, "flux", "--quantize", "int4", "--dry-run"]);
    let blob = planned["blobs"].as_array().unwrap().iter().find(|blob| blob["component"] == "vae").unwrap();
    assert!(blob["name"].as_str().unwrap().starts_with("vae/"), "{blob}");
    let imported = sandbox.run(["import", source, "flux:int4", "--quantize", "int4"]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert_eq!(sandbox.run(["import", source, "flux"]).code, 0);

    let listed = json(&sandbox, &["list"]);
    assert!(listed["models"].as_array().unwrap().iter().all(|model| model["architecture"] == "FluxPipeline"));
    let shown = json(&sandbox, &["show", "flux:int4", "--tensors"]);
    assert_eq!(shown["components"]["transformer"], "FluxTransformer2DModel");
    assert_eq!(shown["capabilities"], serde_json::json!(["image"]));
    let of_vae: Vec<_> =
        shown["tensors"].as_array().unwrap().iter().filter(|tensor| tensor["component"] == "vae").collect();
    assert!(!of_vae.is_empty() && of_vae.iter().all(|tensor| tensor["scheme"].is_null()));
    let slashed = sandbox.run(["load", "flux:int4", "--select", "vae/*"]);
    assert!(slashed.code == 1 && slashed.stderr.contains("--component vae --select '*'"), "{slashed:?}");
    let text = sandbox.run(["show", "flux:int4"]).stdout;
    assert!(text.contains("text_encoder: CLIPTextModel"), "{text}");

    let loaded = json(&sandbox, &["load", "flux", "--component", "text_encoder_2"]);
    let expected = components[1]["tensors"].as_u64();
    assert_eq!(loaded["tensors"].as_u64(), expected);
    let missing = sandbox.run(["load", "flux", "--component", "unet"]);
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("text_encoder_2"), "{missing:?}");

    let differ = json(&sandbox, &["diff", "flux", "flux:int4"]);
    let different: Vec<_> = differ["different"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(different.iter().any(|name| name.starts_with("transformer/")), "{different:?}");
    assert!(!different.iter().any(|name| name.starts_with("vae/")), "{different:?}");
    assert_eq!(differ["only_a"], serde_json::json!([]));
    assert_eq!(json(&sandbox, &["verify"])["bad"], serde_json::json!([]));

    let out = sandbox.path().join("out");
    let exported = sandbox.run(["export", "flux", out.to_str().unwrap()]);
    assert_eq!(exported.code, 0, "{exported:?}");
    assert_eq!(sandbox.run(["import", out.to_str().unwrap(), "again"]).code, 0);
    assert_eq!(sandbox.run(["diff", "flux", "again"]).code, 0);
    let is_weight = |name: &String| !name.contains(".safetensors");
    let [before, after] =
        [Path::new(source), &out].map(|dir| files(dir).into_iter().filter(is_weight).collect::<Vec<_>>());
    assert_eq!(before, after);
    let decoded = sandbox.path().join("decoded");
    let exported = sandbox.run(["export", "flux:int4", decoded.to_str().unwrap(), "--dequantize", "bf16"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    assert!(decoded.join("vae/diffusion_pytorch_model.safetensors").is_file());
}

#[test]
fn a_draft_beside_its_target() {
    let sandbox = Sandbox::new();
    let (target, draft) = (sandbox.checkpoint("qwen3-moe"), sandbox.checkpoint("llama"));
    let [target, draft] = [&target, &draft].map(|path| path.to_str().unwrap());
    let run = sandbox.run(["import", target, "both", "--draft", draft, "--quantize", "int4"]);
    assert_eq!(run.code, 0, "{run:?}");
    let shown = json(&sandbox, &["show", "both"]);
    assert_eq!(
        (&shown["architecture"], &shown["draft"]["architecture"]),
        (&"Qwen3MoeForCausalLM".into(), &"LlamaForCausalLM".into())
    );
    assert_eq!(shown["capabilities"], serde_json::json!(["completion", "tools"]));
    assert_eq!((&shown["renderer"], &shown["parser"]), (&"qwen3-coder".into(), &"qwen3".into()));
    let out = sandbox.path().join("out");
    let exported = sandbox.run(["export", "both", out.to_str().unwrap(), "--dequantize", "bf16"]);
    assert_eq!(exported.code, 0, "{exported:?}");
    assert_eq!(json(&sandbox, &["inspect", out.join("draft").to_str().unwrap()])["architecture"], "LlamaForCausalLM");
    assert_eq!(json(&sandbox, &["verify"])["bad"], serde_json::json!([]));

    let pipeline = sandbox.checkpoint("flux");
    let empty = sandbox.path().join("empty");
    fs::create_dir(&empty).unwrap();
    for (path, words) in [(&pipeline, "cannot be the draft model"), (&empty, "is empty")] {
        let run = sandbox.run(["import", target, "m", "--draft", path.to_str().unwrap()]);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains(words) && run.stderr.contains(path.to_str().unwrap()), "{run:?}");
    }
}

#[test]
fn an_architecture_that_nothing_runs_is_a_warning() {
    let sandbox = Sandbox::new();
    let source = sandbox.checkpoint("llama");
    let config = fs::read_to_string(source.join("config.json")).unwrap();
    fs::write(
        source.join("config.json"),
        config.replace("LlamaForCausalLM", "OwnForCausalLM").replace("\"llama\"", "\"own\""),
    )
    .unwrap();
    let run = sandbox.run(["import", source.to_str().unwrap(), "m"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("no runtime known to read this store runs OwnForCausalLM"), "{run:?}");
}
