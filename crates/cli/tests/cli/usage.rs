//! Wrong usage: one line, a hint, status 2.

use std::collections::BTreeMap;

use longshore_st_format::{Dtype, Shape, fixtures};

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
        ("usage-no-threads", &["import", DEMO, "m", "--threads", "0"]),
        ("usage-json-man", &["man", "--json"]),
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

#[test]
fn what_a_checkpoint_says_cannot_forge_a_line() {
    let sandbox = Sandbox::new();
    let dir = sandbox.path().join("forged");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("config.json"), r#"{"architectures":["A\u001b[31m\nerror: fake"]}"#).unwrap();
    let tensors = [("a\nerror: fake\u{1b}[31m".to_owned(), Dtype::U8, Shape::new([4]))];
    let metadata = BTreeMap::from([("k".to_owned(), "v\nerror: fake".to_owned())]);
    fixtures::write_file(dir.join("model.safetensors"), &metadata, &tensors).unwrap();
    sandbox.ok(["import", "forged", "m"]);
    for args in [
        &["inspect", "forged"][..],
        &["import", "forged", "n", "--dry-run"],
        &["show", "m", "--tensors"],
        &["list"],
        &["diff", "m", "m"],
    ] {
        let run = sandbox.run(args.iter().copied().chain(["--color", "always"]));
        assert_eq!(run.code, 0, "{run:?}");
        assert!(!run.stdout.lines().any(|line| line.starts_with("error: ")), "{run:?}");
        assert!(!run.stdout.contains("\u{1b}[31m"), "{run:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_utf_8_is_no_reason_to_fail() {
    use std::os::unix::ffi::OsStrExt as _;

    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let target = std::ffi::OsStr::from_bytes(b"out\xff");
    let exported = sandbox.ok([std::ffi::OsStr::new("export"), "m".as_ref(), target, "--json".as_ref()]);
    assert!(exported.contains("out"));
    sandbox.ok([std::ffi::OsStr::new("inspect"), target, "--json".as_ref()]);
}
