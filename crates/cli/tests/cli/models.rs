//! Every float checkpoint that is known, in every form.

use std::{collections::BTreeMap, path::Path};

use longshore_st_format::{SafeTensors, open};

use crate::support::{FLOAT_MODELS, Sandbox, files};

/// Dtype, shape and bytes of every tensor below a directory.
type Tensors = BTreeMap<String, (String, Vec<u64>, Vec<u8>)>;

fn tensors(dir: &Path) -> Tensors {
    let mut found = BTreeMap::new();
    for path in files(dir).into_keys().filter(|path| path.extension().is_some_and(|kind| kind == "safetensors")) {
        let file: SafeTensors<_> = open(dir.join(path)).unwrap();
        for tensor in file.iter() {
            let value = (tensor.dtype.to_string(), tensor.shape.dims().to_vec(), tensor.data.to_vec());
            assert!(found.insert(tensor.name.to_owned(), value).is_none(), "{}", tensor.name);
        }
    }
    found
}

fn companions(dir: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = files(dir);
    files.retain(|path, _| {
        let name = path.to_string_lossy();
        !name.ends_with(".safetensors") && !name.ends_with(".safetensors.index.json")
    });
    files
}

/// Imports as it is, int4 and int8; exports; compares.
fn round_trip(sandbox: &Sandbox, source: &Path) {
    let from = source.to_str().unwrap();
    sandbox.ok(["import", from, "m:none"]);
    sandbox.ok(["import", from, "m:int4", "--quantize", "int4"]);
    sandbox.ok(["import", from, "m:int8", "--quantize", "int8", "--policy", "uniform"]);
    sandbox.ok(["verify"]);
    let wanted = tensors(source);
    sandbox.ok(["export", "m:none", "none"]);
    assert_eq!(tensors(&sandbox.path().join("none")), wanted, "{from}");
    assert_eq!(companions(&sandbox.path().join("none")), companions(source), "{from}");
    for (name, dir) in [("m:int4", "int4"), ("m:int8", "int8")] {
        sandbox.ok(["export", name, dir, "--dequantize", "bf16"]);
        let decoded = tensors(&sandbox.path().join(dir));
        let shapes = |tensors: &Tensors| -> Vec<_> {
            tensors.iter().map(|(name, (dtype, shape, _))| (name.clone(), dtype.clone(), shape.clone())).collect()
        };
        assert_eq!(shapes(&decoded), shapes(&wanted), "{from}");
    }
}

#[test]
fn generated_checkpoints_make_the_round_trip() {
    for model in FLOAT_MODELS {
        let sandbox = Sandbox::new();
        let source = sandbox.checkpoint(model);
        round_trip(&sandbox, &source);
    }
}

/// The same with what transformers wrote, where it is at hand.
#[test]
fn published_checkpoints_make_the_round_trip() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models");
    for model in FLOAT_MODELS {
        let source = shared.join(model);
        if source.is_dir() {
            round_trip(&Sandbox::new(), &source.canonicalize().unwrap());
        }
    }
}

#[test]
fn quantized_sources_are_imported_and_not_quantized_again() {
    let sandbox = Sandbox::new();
    for model in ["deepseek-v3-fp8", "gpt-oss-mxfp4", "llama-modelopt-nvfp4", "qwen3-mlx-4bit"] {
        let source = sandbox.checkpoint(model);
        let run = sandbox.run(["import", source.to_str().unwrap(), model, "--allow-nonfinite"]);
        assert_eq!(run.code, 0, "{model}: {run:?}");
        if model != "deepseek-v3-fp8" {
            let run = sandbox.run(["import", source.to_str().unwrap(), "again", "--quantize", "int8"]);
            assert_eq!(run.code, 1, "{model}: {run:?}");
            assert!(run.stderr.contains("quantized already") && run.stderr.contains("--requantize"), "{run:?}");
        }
    }
    let run = sandbox.run(["verify"]);
    assert_eq!(run.code, 0, "{run:?}");
}

#[test]
fn a_source_that_cannot_be_read_is_refused_by_what_it_is() {
    let sandbox = Sandbox::new();
    let source = sandbox.checkpoint("mistral-fp8-e5m2");
    let run = sandbox.run(["import", source.to_str().unwrap(), "m"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stderr.starts_with("error: "), "{run:?}");
    assert!(run.stderr.contains("F8_E5M2") && run.stderr.contains("mistral-fp8-e5m2"), "{run:?}");
    assert!(!sandbox.store().exists());
}
