//! Memory is bounded, however long the decoded or repacked rows are.

use std::{path::Path, process::Command};

use longshore_manifest::Store;
use longshore_packer::{Plan, PlanOptions};
use longshore_st_format::Dtype;

use super::{checkpoint::Checkpoint, numbers::f32_bytes};
use crate::{
    memory::{BOUND, MIB, Peak, private_bytes},
    stores::{name, threads},
    support::{Dir, open, options},
};

/// Environment variable that names the directory for the measured process.
const VARIABLE: &str = "LONGSHORE_TEST_CODED_MEMORY";

/// Runs in a process of its own, so that the memory of other tests does not count.
#[test]
fn long_rows_need_little() {
    if let Some(dir) = std::env::var_os(VARIABLE) {
        return measure(Path::new(&dir));
    }
    if private_bytes().is_none() {
        // Only Linux reports the memory of a process.
        return;
    }
    let dir = Dir::new();
    Checkpoint::new()
        .zeros("m.weight", Dtype::F8E4M3, &[64, 1 << 20])
        .add("m.weight_scale", Dtype::F32, &[64, 1], f32_bytes(&[0.3; 64]))
        .write_to(&dir, "fp8/");
    Checkpoint::new()
        .zeros("m.weight", Dtype::F8E4M3, &[64, 1 << 20])
        .add("m.weight_scale", Dtype::F32, &[64, 1], f32_bytes(&[0.5; 64]))
        .write_to(&dir, "exact/");
    Checkpoint::new()
        .zeros("m.weight", Dtype::U8, &[2, 32 << 20])
        .zeros("m.weight_scale", Dtype::F8E4M3, &[2, 4 << 20])
        .add("m.weight_scale_2", Dtype::F32, &[], f32_bytes(&[1.0]))
        .write_to(&dir, "nvfp4/");
    Checkpoint::new()
        .zeros("m.qweight", Dtype::I32, &[1 << 16, 256])
        .zeros("m.qzeros", Dtype::I32, &[512, 256])
        .zeros("m.scales", Dtype::F16, &[512, 2048])
        .write_to(&dir, "awq/");
    let path = concat!(module_path!(), "::long_rows_need_little");
    let (_, own_name) = path.split_once("::").expect("the crate comes first");
    let output = Command::new(std::env::current_exe().expect("a test runs from a file"))
        .args(["--exact", own_name, "--nocapture"])
        .env(VARIABLE, dir.path())
        .output()
        .expect("the test can be run again");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

fn measure(dir: &Path) {
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    for (checkpoint, scheme, floats, requantize) in [
        ("fp8", "none", true, false),
        ("fp8", "int4", false, false),
        ("exact", "none", false, false),
        ("nvfp4", "none", false, false),
        ("nvfp4", "none", true, true),
        ("nvfp4", "int4", false, true),
        ("awq", "none", false, false),
    ] {
        let source = open(&dir.join(checkpoint)).expect("it is a model");
        let asked = PlanOptions { floats, requantize, ..options(scheme, "uniform") };
        let plan = Plan::new(source.clone(), &asked).expect("it can be imported");
        assert!(plan.blobs[0].source_len() >= 64 * MIB);
        let peak = Peak::new();
        plan.import(&store, &name("m"), &threads(2), &peak).expect("it can be imported");
        assert!(peak.above() < BOUND, "{} bytes to import {checkpoint} as {scheme}", peak.above());
    }
}
