//! `load --device cuda`, with a driver without a device in the place of the real one.
#![cfg(target_os = "linux")]

use longshore_fake_cuda_driver::{Variant, directory};
use serde_json::Value;

use crate::support::{DEMO, Run, Sandbox, snapshot};

fn run(sandbox: &Sandbox, variant: Variant, memory: Option<&str>, args: &[&str]) -> Run {
    let mut command = sandbox.command(args);
    // Nothing of the machine's own driver is found before it.
    command.env("LD_LIBRARY_PATH", directory(variant));
    if let Some(memory) = memory {
        command.env("FAKE_CUDA_MEMORY", memory);
    }
    Run::of(&mut command)
}

#[test]
fn a_machine_without_a_device_is_no_use() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    for (name, variant, device) in [
        ("cuda-no-device", Variant::NoDevice, "cuda"),
        ("cuda-old-driver", Variant::Old, "cuda:0"),
        ("cuda-ordinal", Variant::Whole, "cuda:2"),
    ] {
        let run = run(&sandbox, variant, None, &["load", "m", "--device", device]);
        assert_eq!(run.code, 2, "{run:?}");
        let directory = directory(variant).display().to_string();
        snapshot!(name, run.transcript(&sandbox).replace(&directory, "[DRIVER]"));
    }
}

#[test]
fn a_model_is_loaded_and_measured() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m", "--quantize", "int4"]);
    let host: Value = serde_json::from_str(&sandbox.ok(["load", "m", "--json"])).unwrap();
    let load =
        |args: &[&str]| run(&sandbox, Variant::Whole, None, &[&["load", "m", "--device", "cuda:1"], args].concat());

    let found = load(&["--json", "--repeat", "3", "--verify"]);
    assert_eq!((found.code, found.stderr.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!((&found["version"], &found["device"]), (&1.into(), &"cuda:1".into()));
    assert_eq!((&found["tensors"], &found["bytes"]), (&host["tensors"], &host["bytes"]));
    assert_eq!(found["seconds"].as_array().unwrap().len(), 3);
    assert!(found["limit"]["gb_per_s"].as_f64().unwrap() > 0.0 && found["steady_seconds"].is_number());
    assert_eq!(found["verified"]["partly_read"], 0);

    let found = load(&["--select", "*.self_attn.*", "--dtype", "f32", "--repeat", "2"]);
    assert_eq!(found.code, 0, "{found:?}");
    for line in ["on cuda:1 (Fake device)", "  context ", "  first ", "  steady ", "  limit "] {
        assert!(found.stdout.contains(line), "{}", found.stdout);
    }
    assert_eq!(load(&["--select", "nothing"]).code, 1);
    assert_eq!(load(&["--select", "["]).code, 2);
    assert_eq!(load(&["--component", "vae"]).code, 1);
}

#[test]
fn memory_that_is_used_up_is_the_machines_fault() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let run = run(&sandbox, Variant::Whole, Some("100000"), &["load", "m", "--device", "cuda"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.starts_with("error: cannot allocate ") && run.stderr.contains("hint: --select"), "{run:?}");
}

#[test]
fn a_share_of_a_directory_is_loaded_and_converted() {
    let sandbox = Sandbox::new();
    let load = |args: &[&str]| run(&sandbox, Variant::Whole, None, &[&["load", DEMO, "--json"], args].concat());
    for args in [&["--shard", "2/4"][..], &["--layers", "0..1", "--experts", "0..2"], &["--dtype", "f32"]] {
        let found = load(&[&["--device", "cuda"], args].concat());
        assert_eq!(found.code, 0, "{found:?}");
        let [found, host] = [found, load(args)].map(|run| serde_json::from_str::<Value>(&run.stdout).unwrap());
        assert_eq!((&found["tensors"], &found["bytes"]), (&host["tensors"], &host["bytes"]));
    }
    let refused = load(&["--device", "cuda", "--shard", "1/3"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("rows are not 3 equal shares"), "{refused:?}");
}
