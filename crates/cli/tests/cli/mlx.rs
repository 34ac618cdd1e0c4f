//! `load --device mlx`, in a build with MLX and in one without.

use serde_json::Value;

use crate::support::{DEMO, Run, Sandbox};

const IS_BUILT: bool = cfg!(any(target_os = "macos", longshore_mlx));

fn with_model() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m", "--quantize", "int4", "-q"]);
    sandbox
}

#[test]
fn arrays_are_loaded_or_it_says_what_is_missing() {
    let sandbox = with_model();
    let run = sandbox.run(["load", "m", "--device", "mlx", "--repeat", "2", "--json"]);
    if !IS_BUILT {
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{run:?}");
        assert!(run.stderr.starts_with("error: this build has no MLX back end\nhint: "), "{run:?}");
        return;
    }
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let host: Value = serde_json::from_str(&sandbox.ok(["load", "m", "--json"])).unwrap();
    assert_eq!(report["device"], "mlx");
    assert_eq!((&report["tensors"], &report["bytes"]), (&host["tensors"], &host["bytes"]));
    assert_eq!(report["seconds"].as_array().unwrap().len(), 2);
    assert!(report["limit"]["gb_per_s"].as_f64().unwrap() > 0.0);

    let text = sandbox.ok(["load", "m", "--device", "mlx", "--dtype", "f16", "--select", "*.self_attn.*"]);
    assert!(text.contains(" as MLX arrays, ") && text.contains("limit"), "{text}");
}

#[test]
fn what_is_not_there_is_refused_with_mlx_or_without() {
    let sandbox = with_model();
    let refused = |args: &[&str], code: i32, words: &str| {
        let Run { stdout, stderr, code: found } = sandbox.run(args);
        assert_eq!((found, stdout.as_str()), (code, ""), "{stderr}");
        assert!(stderr.contains(words), "{stderr}");
    };
    refused(&["load", "m", "--device", "mlx", "--select", "nothing"], 1, "m:latest: no tensor matches \"nothing\"");
    refused(&["load", "m", "--device", "mlx", "--component", "vae"], 1, "no tensors in the component \"vae\"");
    refused(&["load", "m", "--device", "mlx", "--shard", "1/3"], 1, "rows are not 3 equal shares");
    refused(&["load", "m", "--device", "mlx", "--dtype", "int4"], 2, "expected f32, bf16 or f16");
}
