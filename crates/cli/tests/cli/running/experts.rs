//! Experts of a mixture: how they come into memory, and which tokens choose.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{automaton::Automaton, fed};
use crate::support::Sandbox;

/// A mixture that writes ` one` after a colon, and ends.
fn mixture(sandbox: &Sandbox) {
    Automaton::new().text(": one").experts().write(sandbox, "m");
    sandbox.ok(["import", "./m", "stored:x", "-q"]);
}

#[test]
fn a_trace_names_the_experts_of_the_prompt_and_of_the_answer() {
    let sandbox = Sandbox::new();
    mixture(&sandbox);
    assert_eq!(sandbox.ok(["run", "stored:x", "a:", "--trace", "t.jsonl"]), " one");
    let trace = fs::read_to_string(sandbox.path().join("t.jsonl")).unwrap();
    let mut lines = trace.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.next(), Some(json!({"version": 1, "layers": [0], "experts": 4, "top_k": 2})));
    // BOS, the prompt and the answer; its end is not read.
    let expected = [256, 97, 58, 32, 111, 110, 101].map(|token| json!([[token % 4, (token + 1) % 4]]));
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    let replayed =
        sandbox.ok(["experts", "replay", "t.jsonl", "--slots", "4", "--pinned", "0", "--warm", "0", "--json"]);
    let replayed: Value = serde_json::from_str(&replayed).unwrap();
    assert_eq!((&replayed["requests"], &replayed["misses"]), (&json!(14), &json!(4)));
    let plan: Value =
        serde_json::from_str(&sandbox.ok(["experts", "plan", "stored:x", "--stats", "t.jsonl", "--json"])).unwrap();
    let uses: u64 = plan["placement"].as_array().unwrap().iter().map(|placed| placed["uses"].as_u64().unwrap()).sum();
    assert_eq!(uses, 14);
}

#[test]
fn a_trace_that_cannot_be_made_leaves_no_file() {
    let sandbox = Sandbox::new();
    mixture(&sandbox);
    Automaton::new().text(": one").write(&sandbox, "dense");
    Automaton::new().text(": one").experts().broken(b'o').write(&sandbox, "broken");
    fs::write(sandbox.path().join("there.jsonl"), "mine").unwrap();
    for (args, code, said) in [
        (["run", "./dense", ":", "--trace", "t.jsonl"], 1, "./dense has no experts"),
        (["run", "./m", ":", "--trace", "there.jsonl"], 2, "there.jsonl exists: expected a new file"),
        (["run", "./m", ":", "--trace", "no/t.jsonl"], 1, "cannot write the trace no/t.jsonl"),
        (["run", "./broken", ":", "--trace", "t.jsonl"], 1, "not finite"),
    ] {
        let run = sandbox.run(args);
        assert_eq!(run.code, code, "{run:?}");
        assert!(run.stderr.contains(said), "{run:?}");
        assert!(!sandbox.path().join("t.jsonl").exists(), "{args:?}");
    }
    assert_eq!(fs::read_to_string(sandbox.path().join("there.jsonl")).unwrap(), "mine");
    let run = sandbox.run(["run", "./m", ":", "--trace", "t.jsonl", "--draft", "./m"]);
    assert_eq!(run.code, 2, "{run:?}");
}

#[test]
fn experts_come_into_memory_as_they_are_asked_to() {
    let sandbox = Sandbox::new();
    mixture(&sandbox);
    for model in ["./m", "stored:x"] {
        for how in ["auto", "map", "ahead", "1M", "200K"] {
            assert_eq!(sandbox.ok(["run", model, "a:", "--experts", how, "-q"]), " one", "{model} {how}");
        }
    }
    let run = sandbox.run(["run", "stored:x", "a:", "--experts", "1M"]);
    assert!(run.stderr.contains("experts: 8 hits, 0 late, 4 misses, 0 wasted; "), "{run:?}");
    let document: Value =
        serde_json::from_str(&sandbox.ok(["run", "stored:x", "a:", "--experts", "1M", "--json"])).unwrap();
    let experts = &document["experts"];
    assert_eq!((&experts["hits"], &experts["misses"], &experts["late"]), (&json!(8), &json!(4), &json!(0)));
    assert_eq!(experts["read_bytes"], 4 * 3 * 32 * 320 * 4);
    let without: Value = serde_json::from_str(&sandbox.ok(["run", "stored:x", "a:", "--json"])).unwrap();
    assert_eq!(without.get("experts"), None);
}

#[test]
fn ways_that_are_none_say_what_to_do() {
    let sandbox = Sandbox::new();
    mixture(&sandbox);
    Automaton::new().text(": one").write(&sandbox, "dense");
    for (args, code, said) in [
        (["run", "./dense", ":", "--experts", "ahead"], 1, "it has none"),
        (["run", "./m", ":", "--experts", "1K"], 2, "expected at least the 122880 of the largest"),
        (["run", "./m", ":", "--experts", "most"], 2, "expected auto, map, ahead, or a size such as 4G"),
    ] {
        let run = sandbox.run(args);
        assert_eq!(run.code, code, "{run:?}");
        assert!(run.stderr.contains(said), "{run:?}");
    }
    let run = sandbox.run(["run", "./m", ":", "--experts", "ahead", "--no-mmap"]);
    assert!(run.code == 1 && run.stderr.contains("hint: leave out --experts"), "{run:?}");
}

/// A control group whose memory is bounded.
#[cfg(target_os = "linux")]
struct Group(PathBuf);

#[cfg(target_os = "linux")]
impl Group {
    /// Makes a group of either version, or says why there is none.
    #[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("longshore-test-{}", std::process::id());
        let mut failed = String::new();
        for (root, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let group = Self(Path::new(root).join(&name));
            let made = fs::create_dir(&group.0).and_then(|()| fs::write(group.0.join(limit), bytes.to_string()));
            match made {
                Ok(()) => return Some(group),
                Err(error) => failed = format!("{}: {error}", group.0.display()),
            }
        }
        eprintln!("skipped: no control group can be made here: {failed}");
        None
    }

    /// A command that begins within the group.
    fn command(&self, inner: &Command) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        command.arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
        if let Some(dir) = inner.get_current_dir() {
            command.current_dir(dir);
        }
        command
    }
}

#[cfg(target_os = "linux")]
impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn experts_beyond_the_memory_give_the_same_numbers() {
    let sandbox = Sandbox::new();
    // 64 experts of 960 KiB.
    Automaton::new().text(": one").experts_of(64, 256).write(&sandbox, "m");
    let text: String = (0..60_u8).map(|at| char::from(b' ' + at)).collect();
    fs::write(sandbox.path().join("t.txt"), text).unwrap();
    let args = |how: &str| {
        let args =
            ["perplexity", "./m", "--text", "t.txt", "--window", "20", "--json", "--threads", "2", "--experts", how];
        args.map(str::to_owned)
    };
    let expected = sandbox.ok(args("map"));
    let found: Value = serde_json::from_str(&expected).unwrap();
    assert!(found["models"][0]["perplexity"].as_f64().unwrap() > 1.0, "{found}");
    let Some(group) = Group::new(48 << 20) else { return };
    for how in ["auto", "ahead", "8M", "map"] {
        // No page of the model is in memory that the group does not pay for.
        let file = fs::File::open(sandbox.path().join("m/model.safetensors")).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let run = fed(&mut group.command(&sandbox.command(args(how))), b"");
        assert_eq!((run.code, &run.stdout), (0, &expected), "{how}: {run:?}");
    }
    let run = fed(&mut group.command(&sandbox.command(["run", "./m", "a:", "--max-tokens", "1"])), b"");
    assert!(run.code == 0 && run.stderr.contains("whole experts are asked for before they are computed"), "{run:?}");
}
