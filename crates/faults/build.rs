//! Compiles the library that is loaded before a program. Not a target of the workspace: nothing links it, and whoever loads it needs to
//! know where it lies.

use std::{env, path::Path, process::Command};

fn main() {
    for watched in ["build.rs", "library", "src/class.rs", "src/fault.rs"] {
        println!("cargo:rerun-if-changed={watched}");
    }
    let surroundings = |name: &str| env::var(name).expect("cargo sets it");
    let machine = env::var("CARGO_CFG_TARGET_ARCH");
    let is_known = matches!(machine.as_deref(), Ok("x86_64" | "aarch64"));
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") || !is_known {
        return;
    }
    let status = Command::new(surroundings("RUSTC"))
        .args(["--crate-type=cdylib", "--crate-name=faults", "--edition=2024", "-Copt-level=2", "-Cpanic=abort"])
        .args(["--target", &surroundings("TARGET"), "-o"])
        .arg(Path::new(&surroundings("OUT_DIR")).join("libfaults.so"))
        .arg("library/lib.rs")
        .status()
        .expect("the compiler runs");
    assert!(status.success(), "library/lib.rs does not compile");
}
