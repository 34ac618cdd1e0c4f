//! GGUF files: taken over into MLX's types, quantized again, and exported with other types.

use std::fs;

use longshore_gguf::{Dims, GgmlType, Layout, Metadata, TensorInfo, Writer};

use crate::support::Sandbox;

/// A sandbox with `x.gguf`: matrices of `Q4_0`, `Q4_K` and `Q6_K`, and a norm.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", "unheard-of").unwrap();
    let tensors = [
        ("a.weight", GgmlType::Q4_0, vec![2, 256]),
        ("b.weight", GgmlType::Q4K, vec![2, 256]),
        ("c.weight", GgmlType::Q6K, vec![2, 256]),
        ("n_norm.weight", GgmlType::F32, vec![256]),
    ];
    let planned = tensors.iter().map(|(name, kind, shape)| (*name, *kind, Dims::from_shape(shape).unwrap()));
    let layout = Layout::new(metadata, planned).unwrap();
    let lengths: Vec<_> = layout.parsed().iter().map(TensorInfo::byte_len).collect();
    let mut writer = Writer::new(Vec::new(), layout).unwrap();
    for len in lengths {
        // As F16 a scale, as F32 a number, of no size to speak of.
        writer.write(&vec![0x11; usize::try_from(len).unwrap()]).unwrap();
    }
    fs::write(sandbox.path().join("x.gguf"), writer.finish().unwrap()).unwrap();
    sandbox
}

#[test]
fn blocks_are_taken_over_where_a_type_holds_them() {
    let sandbox = sandbox();
    let plan = sandbox.ok(["import", "x.gguf", "m", "--quantize", "mlx", "--dry-run"]);
    for line in
        [["a.weight", "int4-g32", "Q4_0: taken over without loss"], ["c.weight", "q6_k", "MLX has no groups of 16"]]
    {
        let found = plan.lines().find(|found| found.starts_with(line[0])).unwrap();
        assert!(line.iter().all(|word| found.contains(word)), "{found}");
    }
    let run = sandbox.run(["import", "x.gguf", "m", "--quantize", "mlx"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stderr.contains("2 tensors are taken over"), "{run:?}");
    assert!(run.stderr.contains("needs --type for 1 of them, \"b.weight\" first"), "{run:?}");
    assert!(sandbox.ok(["show", "m"]).contains("mlx"));

    let run = sandbox.run(["export", "m", "out", "--format", "gguf"]);
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("b.weight") && run.stderr.contains("--type"), "{run:?}");
    let run = sandbox.run(["export", "m", "out", "--format", "gguf", "--type", "q8_0"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(sandbox.path().join("out/model.gguf").exists());

    // The same values on the host, whatever the form.
    sandbox.ok(["import", "x.gguf", "raw"]);
    for dtype in ["f32", "f16", "bf16"] {
        sandbox.ok(["load", "raw", "--dtype", dtype]);
    }
}

#[test]
fn what_is_quantized_otherwise_needs_requantize() {
    let sandbox = sandbox();
    let run = sandbox.run(["import", "x.gguf", "m", "--quantize", "int4"]);
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("c.weight (Q6_K)") && !run.stderr.contains("a.weight"), "{run:?}");
    assert!(run.stderr.contains("--requantize"), "{run:?}");
    let plan = |args: &[&str]| {
        let plan =
            sandbox.ok([&["import", "x.gguf", "m", "--requantize", "--policy", "uniform", "--dry-run"], args].concat());
        let scheme = |name: &str| {
            let line = plan.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().find(|word| word.starts_with("int4")).unwrap().to_owned()
        };
        [scheme("a.weight"), scheme("c.weight")]
    };
    assert_eq!(plan(&["--quantize", "int4"]), ["int4-g32", "int4"]);
    assert_eq!(plan(&["--quantize", "int4-g64"]), ["int4", "int4"]);
    sandbox.ok(["import", "x.gguf", "m", "--requantize", "--policy", "uniform", "--quantize", "int4"]);
    sandbox.ok(["verify", "m"]);
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let sandbox = sandbox();
    sandbox.ok(["import", "x.gguf", "m"]);
    // What it was for transformers before it became GGUF is not known; transformers reads the file.
    let run = sandbox.run(["export", "m", "out", "--dequantize", "bf16"]);
    assert!(run.code == 1 && run.stderr.contains("came from GGUF files"), "{run:?}");
    assert!(run.stderr.contains("--format gguf restores the files") && run.stderr.contains("gguf_file="), "{run:?}");
    let run = sandbox.run(["export", "m", "out", "--type", "q8_0"]);
    assert!(run.code != 0 && run.stderr.contains("--format gguf"), "{run:?}");
    let run = sandbox.run(["export", "m", "out", "--format", "gguf", "--type", "q3_k"]);
    assert!(run.code != 0 && run.stderr.contains("q8_0"), "{run:?}");
    let dir = sandbox.checkpoint("llama");
    let run = sandbox.run(["import", dir.to_str().unwrap(), "l", "--quantize", "mlx"]);
    assert!(run.code != 0 && run.stderr.contains("GGUF"), "{run:?}");
}

#[test]
fn a_file_loads_as_its_import_does() {
    let sandbox = sandbox();
    sandbox.ok(["import", "x.gguf", "m"]);
    let load = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&sandbox.ok([&["load", "--json"], args].concat())).unwrap()
    };
    for args in [&[][..], &["--dtype", "bf16"], &["--select", "b.*"]] {
        let (file, stored) = (load(&[&["./x.gguf"], args].concat()), load(&[&["m"], args].concat()));
        for member in ["tensors", "bytes"] {
            assert_eq!(file[member], stored[member], "{args:?}: {file} {stored}");
        }
    }
    assert_eq!(load(&["./x.gguf"])["tensors"], 4);
    // The ending makes it a path, too.
    assert_eq!(load(&["x.gguf"])["tensors"], 4);
    let run = sandbox.run(["load", "./y.gguf"]);
    assert!(run.code != 0 && run.stderr.contains("y.gguf"), "{run:?}");
}
