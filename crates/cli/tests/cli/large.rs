//! Checkpoints larger than the memory that an import may use.

use std::{collections::BTreeMap, fs, process::Command};

use longshore_st_format::{Dtype, Shape, fixtures};

use crate::support::Sandbox;

/// Writes BF16 layers of three tensors, 64 MiB each, and imports them as they are and as int4 in a process whose private memory
/// is limited.
fn import_limited(layers: u64, limit: u64) {
    let sandbox = Sandbox::new();
    if !cfg!(target_os = "linux") || Command::new("prlimit").arg("--version").output().is_err() {
        // Nothing else limits private memory alone.
        return;
    }
    let dir = sandbox.path().join("large");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("config.json"), r#"{"architectures":["LlamaForCausalLM"]}"#).unwrap();
    for layer in 0..layers {
        let names = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"];
        let tensor = |name| (format!("model.layers.{layer}.{name}.weight"), Dtype::BF16, Shape::new([4096, 8192]));
        let path = dir.join(format!("model-{:05}-of-{layers:05}.safetensors", layer + 1));
        fixtures::write_file(path, &BTreeMap::new(), &names.map(tensor)).unwrap();
    }
    for quantize in ["none", "int4"] {
        let import = sandbox.command(["import", "large", quantize, "--quantize", quantize]);
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--data={limit}")).arg(import.get_program()).args(import.get_args());
        limited.current_dir(sandbox.path()).env("LONGSHORE_STORE", sandbox.store());
        let output = limited.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    sandbox.ok(["verify"]);
}

#[test]
fn import_needs_far_less_memory_than_a_tensor_has() {
    import_limited(1, 48 << 20);
}

/// `cargo test --release -p longshore -- --ignored` runs it; it takes 8 GB of disk.
#[test]
#[ignore = "writes 8 GB"]
fn four_gigabytes_import_in_700_megabytes() {
    import_limited(20, 700_000_000);
}
