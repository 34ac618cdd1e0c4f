//! The README's journey: import, look, load, check, export, remove.

use crate::support::{DEMO, Sandbox, files, snapshot};

#[test]
fn from_a_checkpoint_to_the_store_and_back() {
    let sandbox = Sandbox::new();
    let step = |name: &str, args: &[&str]| {
        let run = sandbox.run(args);
        // Absolute times of files are not part of the contract.
        let transcript = run.transcript(&sandbox).replace(DEMO, "[DEMO]");
        snapshot!(name, transcript);
    };
    step("list-empty", &["list"]);
    step("import-dry-run", &["import", DEMO, "qwen3-moe:int4", "--quantize", "int4", "--dry-run"]);
    step("import-int4", &["import", DEMO, "qwen3-moe:int4", "--quantize", "int4"]);
    step("import-again", &["import", DEMO, "qwen3-moe:again", "--quantize", "int4"]);
    step("import-none", &["import", DEMO, "qwen3-moe"]);
    step("list", &["list"]);
    step("show", &["show", "qwen3-moe:int4"]);
    step("show-tensors", &["show", "qwen3-moe:int4", "--tensors"]);
    step("load", &["load", "qwen3-moe:int4", "--verify"]);
    step("load-select", &["load", "qwen3-moe:int4", "--select", "*.experts.*"]);
    step("diff", &["diff", "qwen3-moe", "qwen3-moe:int4"]);
    step("diff-values", &["diff", "qwen3-moe", "qwen3-moe:int4", "--values"]);
    step("diff-same", &["diff", "qwen3-moe:again", "qwen3-moe:int4"]);
    step("inspect", &["inspect", DEMO]);
    step("export-quantized", &["export", "qwen3-moe:int4", "out"]);
    step("export", &["export", "qwen3-moe", "out"]);
    step("export-not-empty", &["export", "qwen3-moe", "out"]);
    step("export-dequantized", &["export", "qwen3-moe:int4", "decoded", "--dequantize", "bf16"]);
    step("export-mlx", &["export", "qwen3-moe:int4", "for-mlx", "--format", "mlx"]);
    step("export-mlx-dequantized", &["export", "qwen3-moe:int4", "no", "--format", "mlx", "--dequantize", "bf16"]);
    step("copy", &["copy", "qwen3-moe", "mine/qwen3:v1"]);
    step("verify", &["verify"]);
    step("rm-shared", &["rm", "qwen3-moe"]);
    step("rm", &["rm", "mine/qwen3:v1", "qwen3-moe:again"]);
    step("gc", &["gc"]);
    step("verify-one", &["verify", "qwen3-moe:int4"]);
}

#[test]
fn the_second_import_adds_a_manifest_and_nothing_else() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "first", "--quantize", "int8"]);
    let before = files(&sandbox.store());
    sandbox.ok(["import", DEMO, "second", "--quantize", "int8"]);
    let after = files(&sandbox.store());
    let added: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    assert_eq!(added.len(), 1, "{added:?}");
    assert!(added[0].ends_with("second/latest"));
}

#[test]
fn threads_do_not_change_a_byte() {
    let (one, many) = (Sandbox::new(), Sandbox::new());
    one.ok(["import", DEMO, "m", "--quantize", "int4", "--threads", "1"]);
    many.ok(["import", DEMO, "m", "--quantize", "int4", "--threads", "7"]);
    assert_eq!(files(&one.store()), files(&many.store()));
}

#[test]
fn a_hub_snapshot_of_links_imports_like_a_directory() {
    let sandbox = Sandbox::new();
    let (blobs, snapshot) = (sandbox.path().join("hub/blobs"), sandbox.path().join("hub/snapshots/abc"));
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(&snapshot).unwrap();
    for (at, (name, bytes)) in files(DEMO.as_ref()).into_iter().enumerate() {
        std::fs::write(blobs.join(at.to_string()), bytes).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(format!("../../blobs/{at}"), snapshot.join(&name)).unwrap();
        #[cfg(windows)]
        std::fs::copy(blobs.join(at.to_string()), snapshot.join(&name)).unwrap();
    }
    sandbox.ok(["import", snapshot.to_str().unwrap(), "linked"]);
    sandbox.ok(["import", DEMO, "plain"]);
    let digest = |name: &str| sandbox.ok(["show", name]).lines().nth(1).unwrap().to_owned();
    assert_eq!(digest("linked"), digest("plain"));
}
