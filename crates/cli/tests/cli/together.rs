//! Several processes in one store at once.

use std::{
    fs,
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::support::{DEMO, Sandbox};

/// Number of times that each process of a test does its part.
const ROUNDS: usize = 8;

fn spawn(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Runs `beside` over and over while `main` runs, and returns how often it ran.
fn while_running(main: impl FnOnce() + Send, beside: impl Fn(usize) + Sync) -> usize {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let main = scope.spawn(|| {
            // Also when it panics.
            struct Done<'d>(&'d AtomicBool);
            impl Drop for Done<'_> {
                fn drop(&mut self) {
                    self.0.store(true, Ordering::Release);
                }
            }
            let _done = Done(&done);
            main();
        });
        let mut rounds = 0;
        while !done.load(Ordering::Acquire) {
            beside(rounds);
            rounds += 1;
        }
        main.join().unwrap();
        rounds
    })
}

/// Nothing is damaged, nothing is left over, and a collection that spares nothing finds nothing.
fn clean(sandbox: &Sandbox) {
    sandbox.ok(["verify"]);
    assert_eq!(fs::read_dir(sandbox.store().join("tmp")).unwrap().count(), 0);
    let blobs = || fs::read_dir(sandbox.store().join("blobs")).unwrap().count();
    sandbox.ok(["gc", "--grace", "0s"]);
    let before = blobs();
    sandbox.ok(["gc", "--grace", "0s"]);
    assert_eq!(blobs(), before);
    sandbox.ok(["verify"]);
}

#[test]
fn imports_of_one_model_all_succeed() {
    let sandbox = Sandbox::new();
    for round in 0..ROUNDS {
        // Half of them find the blobs of the round before, the others make new ones.
        let scheme = ["int4", "int8", "mxfp4", "int5"][round % 4];
        let imports: Vec<_> =
            (0..4).map(|_| spawn(sandbox.command(["import", DEMO, "m", "--quantize", scheme]))).collect();
        for import in imports {
            succeeded(&import.wait_with_output().unwrap());
        }
        assert_eq!(sandbox.ok(["list"]).lines().count(), 2);
        sandbox.ok(["verify", "m"]);
    }
    clean(&sandbox);
}

#[test]
fn a_collection_beside_imports_loses_nothing() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "seed:int4", "--quantize", "int4"]);
    let imports = || {
        for round in 0..ROUNDS {
            // The next round removes and makes again the files of the round before: blobs that are about to be deleted are about to be used.
            let scheme = ["int4", "int8"][round % 2];
            let names = ["a:1", "b:1"];
            let both = names.map(|name| spawn(sandbox.command(["import", DEMO, name, "--quantize", scheme])));
            for import in both {
                succeeded(&import.wait_with_output().unwrap());
            }
            sandbox.ok(["verify", "a:1", "b:1"]);
            sandbox.ok(["rm", names[round % 2]]);
        }
    };
    let rounds = while_running(imports, |_| {
        let two = [(); 2].map(|()| spawn(sandbox.command(["gc", "--grace", "0s"])));
        for gc in two {
            succeeded(&gc.wait_with_output().unwrap());
        }
    });
    assert!(rounds > 0);
    clean(&sandbox);
}

#[test]
fn a_collection_beside_loads_takes_nothing_from_them() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "kept", "--quantize", "int4"]);
    let churn = || {
        for _ in 0..ROUNDS {
            sandbox.ok(["import", DEMO, "gone", "--quantize", "int8"]);
            sandbox.ok(["rm", "gone"]);
            sandbox.ok(["gc", "--grace", "0s"]);
        }
    };
    let rounds = while_running(churn, |_| {
        sandbox.ok(["load", "kept", "--verify"]);
        sandbox.ok(["copy", "kept", "again"]);
        sandbox.ok(["load", "again"]);
    });
    assert!(rounds > 0);
    clean(&sandbox);
}

#[test]
fn a_list_beside_removals_shows_what_is_there() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "kept", "--quantize", "int4"]);
    let churn = || {
        for _ in 0..ROUNDS {
            sandbox.ok(["copy", "kept", "gone:1"]);
            sandbox.ok(["copy", "kept", "gone:2"]);
            sandbox.ok(["rm", "gone:1", "gone:2"]);
        }
    };
    while_running(churn, |_| {
        let listed = sandbox.ok(["list", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let models = listed["models"].as_array().unwrap();
        assert!(models.iter().any(|model| model["name"] == "kept:latest"), "{listed}");
        // A name that goes away while it is listed is left out rather than an error.
        assert!(models.iter().all(|model| model["digest"].is_string()), "{listed}");
    });
    clean(&sandbox);
}

/// Reads a model over and over beside a process that replaces it.
fn readers(rounds: usize) -> usize {
    let sandbox = Sandbox::new();
    let import = |round: usize| {
        let scheme = ["int4", "int8", "int4", "mxfp4"][round % 4];
        sandbox.ok(["import", DEMO, "m", "--quantize", scheme]);
    };
    import(3);
    sandbox.ok(["copy", "m", "other"]);
    let read = |round: usize| {
        sandbox.ok(["load", "m", "--verify"]);
        sandbox.ok(["show", "m", "--tensors"]);
        let out = format!("out-{round}");
        sandbox.ok(["export", "m", &out, "--dequantize", "bf16"]);
        fs::remove_dir_all(sandbox.path().join(out)).unwrap();
        // They differ or not; nothing else is said.
        let diff = sandbox.run(["diff", "m", "other"]);
        assert!(matches!(diff.code, 0 | 1) && diff.stderr.is_empty(), "{diff:?}");
    };
    let replaced = while_running(|| (0..rounds).for_each(read), import);
    clean(&sandbox);
    replaced
}

#[test]
fn readers_beside_a_replacer_go_on_with_the_new_model() {
    assert!(readers(2 * ROUNDS) > 0);
}

/// Number of reads that no rare fault survives.
#[test]
#[ignore = "10,000 reads take minutes"]
fn ten_thousand_readers_beside_a_replacer() {
    assert!(readers(2500) > 0);
}

#[test]
fn a_model_beside_its_replacer_never_differs_from_itself() {
    let sandbox = Sandbox::new();
    for (name, scheme) in [("four", "int4"), ("eight", "int8"), ("m", "mxfp4")] {
        sandbox.ok(["import", DEMO, name, "--quantize", scheme]);
    }
    let replaced = while_running(
        || {
            for _ in 0..50 * ROUNDS {
                let same = sandbox.ok(["diff", "m", "m:latest"]);
                assert!(same.contains(" 0 different (~), 0 only in m"), "{same}");
            }
        },
        |round| {
            sandbox.ok(["copy", ["four", "eight"][round % 2], "m"]);
        },
    );
    assert!(replaced > 0);
    clean(&sandbox);
}

#[test]
fn imports_of_a_stored_model_beside_its_replacer_take_the_new_one() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m", "--quantize", "mxfp4"]);
    let source = "store/manifests/registry.ollama.ai/library/m/latest";
    let replaced = while_running(
        || {
            for _ in 0..6 * ROUNDS {
                sandbox.ok(["import", source, "again"]);
                sandbox.ok(["verify", "again"]);
                sandbox.ok(["inspect", source]);
            }
        },
        |round| {
            sandbox.ok(["import", DEMO, "m", "--quantize", ["int4", "int8"][round % 2]]);
        },
    );
    assert!(replaced > 0);
    clean(&sandbox);
}
