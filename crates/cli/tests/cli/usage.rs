//! Wrong usage: one line, a hint, status 2.

use crate::support::{DEMO, Sandbox, snapshot};

#[test]
fn wrong_arguments_say_what_was_expected() {
    let sandbox = Sandbox::new();
    for (name, args) in [
        ("usage-no-verb", &[][..]),
        ("usage-unknown-verb", &["imprt"]),
        ("usage-missing-name", &["import", DEMO]),
        ("usage-unknown-option", &["import", DEMO, "m", "--quantise", "int4"]),
        ("usage-unknown-scheme", &["import", DEMO, "m", "--quantize", "int7"]),
        ("usage-unknown-policy", &["import", DEMO, "m", "--policy", "best"]),
        ("usage-unknown-profile", &["import", DEMO, "m", "--profile", "fast"]),
        ("usage-bad-name", &["import", DEMO, "../m"]),
        ("usage-bad-name-case", &["show", "a/b/c/d:e"]),
        ("usage-bad-device", &["load", "m", "--device", "tpu"]),
        ("usage-bad-glob", &["load", "m", "--select", "[a"]),
        ("usage-cuda", &["load", "m", "--device", "cuda"]),
    ] {
        if name == "usage-bad-glob" {
            sandbox.ok(["import", DEMO, "m"]);
        }
        let run = sandbox.run(args);
        assert_eq!(run.code, 2, "{name}: {run:?}");
        assert!(name == "usage-no-verb" || run.stderr.lines().next().unwrap().starts_with("error: "), "{run:?}");
        snapshot!(name, run.transcript(&sandbox).replace(DEMO, "[DEMO]"));
    }
}

#[test]
fn global_options_stand_anywhere() {
    let sandbox = Sandbox::new();
    sandbox.ok(["--store", "elsewhere", "import", DEMO, "m"]);
    assert!(sandbox.ok(["list", "--store", "elsewhere", "-q"]).contains("m:latest"));
    assert!(sandbox.ok(["list", "-q"]).is_empty());
}

#[test]
fn an_unknown_model_is_the_inputs_fault() {
    let sandbox = Sandbox::new();
    for args in [
        &["show", "m"][..],
        &["load", "m"],
        &["verify", "m"],
        &["export", "m", "out"],
        &["copy", "m", "n"],
        &["rm", "m"],
        &["diff", "m", "n"],
    ] {
        let run = sandbox.run(args);
        assert_eq!(run.code, 1, "{run:?}");
        assert!(run.stderr.contains("no model m:latest"), "{run:?}");
        assert!(run.stderr.contains("hint: "), "{run:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let mut child = sandbox.command(["show", "m", "--tensors"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
