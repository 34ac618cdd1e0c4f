//! A machine that refuses threads, memory, files or room.
#![cfg(target_os = "linux")]

use std::process::Command;

use crate::support::{DEMO, Run, Sandbox};

/// The verbs of a session, in their order.
const VERBS: &[&[&str]] = &[
    &["import", DEMO, "m:int4", "--quantize", "int4"],
    &["import", DEMO, "m:int8", "--quantize", "int8"],
    &["copy", "m:int4", "again"],
    &["list"],
    &["show", "m:int4", "--tensors"],
    &["load", "m:int4", "--verify"],
    &["diff", "m:int4", "again"],
    &["verify"],
    &["verify", "--repair", DEMO],
    &["export", "m:int4", "out", "--dequantize", "bf16"],
    &["rm", "again"],
    &["gc", "--grace", "0s"],
];

/// A command that is run by a shell with a limit of its own.
fn limited(sandbox: &Sandbox, limit: &str, args: &[&str]) -> Command {
    let command = sandbox.command(args);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit {limit} && exec \"$0\" \"$@\"")).arg(command.get_program()).args(args);
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell.current_dir(sandbox.path()).stdin(std::process::Stdio::null());
    shell
}

/// The answer is an error and status 2, and no panic.
fn failed(run: &Run) {
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.stderr.starts_with("error: ") && !run.stderr.contains("panicked"), "{run:?}");
}

#[test]
fn without_a_thread_to_be_had_every_verb_does_its_work_alone() {
    let sandbox = Sandbox::new();
    for args in VERBS {
        // Every thread is to have a stack that is larger than all memory that the process may have.
        let mut command = limited(&sandbox, "-v 4000000", args);
        let run = Run::of(command.env("RUST_MIN_STACK", "8000000000"));
        assert_eq!(run.code, 0, "{args:?}: {run:?}");
    }
    sandbox.ok(["verify"]);
}

#[test]
fn a_file_that_may_not_get_so_large_is_an_error_that_leaves_nothing() {
    let sandbox = Sandbox::new();
    // Of 512 bytes each.
    let run = Run::of(&mut limited(&sandbox, "-f 16", &["import", DEMO, "m"]));
    failed(&run);
    assert!(run.stderr.contains("File too large"), "{run:?}");
    assert!(sandbox.ok(["list", "--json"]).contains("\"models\":[]"));
    sandbox.ok(["import", DEMO, "m"]);
    let run = Run::of(&mut limited(&sandbox, "-f 16", &["export", "m", "out"]));
    failed(&run);
    assert!(!sandbox.path().join("out").exists());
}

#[test]
fn the_limit_of_open_files_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let mut refused = 0;
    for args in [&["verify"][..], &["load", "m", "--verify"], &["export", "m", "out"], &["import", DEMO, "n"]] {
        for limit in 4..8 {
            let run = Run::of(&mut limited(&sandbox, &format!("-n {limit}"), args));
            if run.code == 0 {
                break;
            }
            failed(&run);
            refused += 1;
        }
    }
    assert!(refused > 4, "{refused}");
    sandbox.ok(["verify"]);
}
