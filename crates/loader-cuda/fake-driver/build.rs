//! Compiles the libraries that replace the driver. They are not a target of the workspace, because cargo puts the
//! directory of its targets on the search path of programs that it runs, where a `libcuda` would replace the real
//! driver everywhere.

use std::{env, fs, path::Path, process::Command};

/// The complete driver, and one driver for each way in which a driver is unusable: a name, and the condition that
/// `driver.rs` is compiled with.
const VARIANTS: &[(&str, &str)] = &[
    ("whole", "whole"),
    ("no-event", "without_event"),
    ("old", "old"),
    ("stub", "stub"),
    ("no-device", "without_device"),
];

fn main() {
    println!("cargo:rerun-if-changed=library/driver.rs");
    println!("cargo:rerun-if-changed=build.rs");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let target = env::var("TARGET").expect("cargo sets it");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    for (directory, condition) in VARIANTS {
        let directory = Path::new(&out).join(directory);
        fs::create_dir_all(&directory).expect("the output directory is writable");
        let status = Command::new(env::var("RUSTC").expect("cargo sets it"))
            .args([
                "--crate-type=cdylib",
                "--crate-name=fake_driver",
                "--edition=2024",
                "-Copt-level=2",
                "-Cpanic=abort",
            ])
            .args(["--target", &target, "--cfg", condition])
            // The name inside the library is one of the names that are looked for. A program that looks for the driver
            // after this one was opened by its path therefore finds this one.
            .args(["-C", "link-arg=-Wl,-soname,libcuda.so", "-o"])
            .arg(directory.join("libcuda.so.1"))
            .arg("library/driver.rs")
            .status()
            .expect("the compiler runs");
        assert!(status.success(), "library/driver.rs does not compile as {condition}");
    }
}
