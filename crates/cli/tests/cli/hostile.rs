//! Words of others that would draw, forge or hide something: on every stream, escaped and not dropped, and of bounded length.

use std::{collections::BTreeMap, ffi::OsString, fs, path::PathBuf};

use longshore_st_format::{Dtype, Shape, fixtures};
use serde_json::Value;

use crate::support::{DEMO, Run, Sandbox, files};

/// Lines that look like ours, ESC, OSC, C1, a direction, a separator, and what is not seen.
pub(crate) const HOSTILE: &str = "X\nerror: forged\nhint: forged\r\u{1b}[2J\u{1b}]0;t\u{7}\u{7f}\u{9b}31m\u{202e}\u{2066}\u{61c}\u{2028}\u{200b}\u{2060}\u{feff}\u{e0041}";
/// The same, as it is shown.
pub(crate) const SHOWN: &str = "X\\nerror: forged\\nhint: forged\\r\\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{7f}\\u{9b}31m\\u{202e}\\u{2066}\\u{61c}\\u{2028}\\u{200b}\\u{2060}\\u{feff}\\u{e0041}";

/// Characters of a line at most, with our label, and of a table's.
const WIDEST: usize = 2100;

/// The styles of ours.
const STYLES: [&str; 7] =
    ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[4m", "\u{1b}[31m", "\u{1b}[33m", "\u{1b}[36m"];

/// Whether a character may not reach anyone as it is; as few of these ranges as tell whether the door was passed.
fn is_hidden(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
        || matches!(letter, '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// Checks what was printed; returns it without styles.
fn checked(args: &[OsString], run: &Run) -> String {
    let mut text = format!("{}{}", run.stdout, run.stderr);
    for style in STYLES {
        text = text.replace(style, "");
    }
    assert!(!text.contains("panicked"), "{args:?}: {text}");
    for line in text.lines() {
        assert!(!line.contains(is_hidden), "{args:?}: {line:?}");
        assert!(!line.starts_with("error: forged") && !line.starts_with("hint: forged"), "{args:?}: {line}");
        // A document is for programs.
        assert!(line.starts_with('{') || line.chars().count() <= WIDEST, "{args:?}: {line}");
    }
    let errors = run.stderr.lines().filter(|line| line.contains("error:\u{1b}[0m ") || line.starts_with("error: "));
    assert!(errors.count() <= usize::from(run.code != 0), "{args:?}: {run:?}");
    text
}

/// Runs it in pipes, with colours and without; returns what was printed.
fn run(sandbox: &Sandbox, code: i32, args: impl IntoIterator<Item = impl Into<OsString>>) -> String {
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let [plain, coloured] = ["never", "always"].map(|colour| {
        let run = sandbox.run(args.iter().cloned().chain(["--color".into(), colour.into()]));
        assert_eq!(run.code, code, "{args:?}: {run:?}");
        assert!(colour == "always" || !format!("{}{}", run.stdout, run.stderr).contains('\u{1b}'), "{run:?}");
        checked(&args, &run)
    });
    // Times differ.
    assert_eq!(plain.lines().count(), coloured.lines().count());
    plain
}

/// Runs it with `--json`, and parses the document.
fn document(sandbox: &Sandbox, args: &[&str]) -> Value {
    let run = sandbox.run(args.iter().copied().chain(["--json"]));
    let args: Vec<OsString> = args.iter().map(Into::into).collect();
    checked(&args, &Run { stderr: String::new(), stdout: run.stdout.clone(), code: 0 });
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"))
}

/// A checkpoint in which `word` is the architecture, a key, a value and part of a tensor's name.
pub(crate) fn checkpoint(sandbox: &Sandbox, name: &str, word: &str) -> PathBuf {
    let dir = sandbox.path().join(name);
    fs::create_dir(&dir).unwrap();
    let config = serde_json::json!({"architectures": [word], "model_type": word});
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    // A name may have so many bytes.
    let end = word.len().min(4000);
    let tensors = [(format!("a.{}.weight", &word[..end]), Dtype::F32, Shape::new([4]))];
    let metadata = BTreeMap::from([(format!("k{word}"), format!("v{word}"))]);
    fixtures::write_file(dir.join("model.safetensors"), &metadata, &tensors).unwrap();
    dir
}

#[test]
fn a_model_says_what_it_says_on_one_line() {
    let sandbox = Sandbox::new();
    checkpoint(&sandbox, "hostile", HOSTILE);
    sandbox.ok(["import", "hostile", "m"]);
    sandbox.ok(["import", DEMO, "n"]);
    for args in [&["inspect", "hostile"][..], &["show", "m", "--tensors"], &["list"]] {
        let text = run(&sandbox, 0, args);
        assert!(text.contains(SHOWN), "{text}");
    }
    for args in [&["import", "hostile", "o", "--dry-run"][..], &["import", "hostile", "o"], &["load", "m"], &["verify"]]
    {
        run(&sandbox, 0, args);
    }
    assert!(run(&sandbox, 1, ["diff", "m", "n"]).contains(&format!("- a.{SHOWN}.weight\n")));

    assert_eq!(document(&sandbox, &["list"])["models"][0]["architecture"], HOSTILE);
    let shown = document(&sandbox, &["show", "m", "--tensors"]);
    assert_eq!(shown["tensors"][0]["name"], format!("a.{HOSTILE}.weight"));
    assert_eq!(document(&sandbox, &["diff", "m", "n"])["only_a"][0], format!("a.{HOSTILE}.weight"));
    assert_eq!(document(&sandbox, &["inspect", "hostile"])["metadata"][format!("k{HOSTILE}")], format!("v{HOSTILE}"));

    // A blob that is not what it was is named by its tensor.
    for (path, bytes) in files(&sandbox.store().join("blobs")).iter().filter(|(_, bytes)| bytes.len() > 8) {
        if String::from_utf8_lossy(bytes).contains("a.X") && bytes[0] != b'{' {
            let path = sandbox.store().join("blobs").join(path);
            fs::remove_file(&path).unwrap();
            let mut bytes = bytes.clone();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    assert!(run(&sandbox, 1, ["verify"]).contains(SHOWN));
    let bad = document(&sandbox, &["verify"]);
    assert!(bad["bad"][0]["names"][0].as_str().unwrap().contains(HOSTILE), "{bad}");
    run(&sandbox, 1, ["verify", "--repair", DEMO]);
    run(&sandbox, 1, ["load", "m", "--verify"]);
}

#[cfg(unix)]
#[test]
fn names_of_files_and_entries_of_an_index_are_words_too() {
    let sandbox = Sandbox::new();
    let dir = checkpoint(&sandbox, "files", "Model");
    fs::write(dir.join(format!("{HOSTILE}.txt")), "").unwrap();
    fs::write(dir.join(format!("{HOSTILE}.bin")), "").unwrap();
    fs::write(dir.join(format!("{HOSTILE}.json")), "{}").unwrap();
    assert!(run(&sandbox, 0, ["inspect", "files"]).contains(SHOWN));
    assert!(run(&sandbox, 0, ["import", "files", "m", "--dry-run"]).contains(SHOWN));

    let index = |shard: &str, tensor: &str| serde_json::json!({"weight_map": {tensor: shard}}).to_string();
    for (name, shard, tensor) in [
        ("shard", &*format!("{HOSTILE}.safetensors"), "a.Model.weight"),
        ("outside", &format!("../{HOSTILE}.safetensors"), "a.Model.weight"),
        ("tensor", "model.safetensors", HOSTILE),
    ] {
        let dir = checkpoint(&sandbox, name, "Model");
        fs::write(dir.join("model.safetensors.index.json"), index(shard, tensor)).unwrap();
        let text = run(&sandbox, 1, ["import", name, "m"]);
        assert!(text.contains("forged"), "{text}");
    }
    let dir = sandbox.path().join(format!("dir{HOSTILE}"));
    checkpoint(&sandbox, &format!("dir{HOSTILE}"), "Model");
    assert!(run(&sandbox, 0, ["inspect".into(), dir.clone().into_os_string()]).contains(SHOWN));
    sandbox.ok(["import".into(), dir.clone().into_os_string(), "n".into()]);
    let out = format!("out{HOSTILE}");
    let text = sandbox.run(["export", "n", &out]);
    assert!(text.stdout.starts_with(&format!("out{SHOWN}: ")), "{text:?}");
    assert_eq!(document(&sandbox, &["inspect", &format!("dir{HOSTILE}")])["path"], format!("dir{HOSTILE}"));
    fs::write(dir.join("config.json"), "{").unwrap();
    assert!(run(&sandbox, 1, ["import".into(), dir.into_os_string(), "n".into()]).contains(SHOWN));
}

#[test]
fn what_was_typed_is_echoed_on_one_line() {
    let sandbox = Sandbox::new();
    sandbox.ok(["import", DEMO, "m"]);
    let (option, equals) = (format!("--{HOSTILE}"), format!("--quantize={HOSTILE}"));
    for (code, args) in [
        (2, &[HOSTILE][..]),
        (2, &["list", &option]),
        (2, &["list", HOSTILE]),
        (2, &["show", HOSTILE]),
        (2, &["import", DEMO, HOSTILE]),
        (2, &["import", DEMO, "n", &equals]),
        (2, &["import", DEMO, "n", "--policy", HOSTILE]),
        (2, &["import", DEMO, "n", "--profile", HOSTILE]),
        (2, &["import", DEMO, "n", "--threads", HOSTILE]),
        (2, &["load", "m", "--device", HOSTILE]),
        (2, &["load", "m", "--device", &format!("cuda:{HOSTILE}")]),
        (2, &["load", "m", "--dtype", HOSTILE]),
        (2, &["load", "m", "--select", &format!("{HOSTILE}[")]),
        (2, &["export", "m", "out", "--format", HOSTILE]),
        (2, &["gc", "--grace", HOSTILE]),
        (2, &["completions", HOSTILE]),
        (2, &["man", HOSTILE]),
        (2, &["policy", HOSTILE]),
        (1, &["import", HOSTILE, "n"]),
        (1, &["inspect", HOSTILE]),
        (1, &["load", "m", "--select", HOSTILE]),
        (1, &["load", "m", "--component", HOSTILE]),
        (1, &["import", DEMO, "n", "--policy", &format!("{HOSTILE}.toml")]),
        (1, &["--store", HOSTILE, "show", "m"]),
    ] {
        let text = run(&sandbox, code, args);
        assert!(text.contains("forged") || args.contains(&"--select") || args.contains(&"--component"), "{text}");
    }
    // No word of it is dropped, nor are spaces.
    let text = run(&sandbox, 2, ["load", "m", "--device", "a  b\n\nc\t"]);
    assert!(text.starts_with("error: invalid value 'a  b\\n\\nc\\t' for '--device <D>': expected host"), "{text}");
    let text = run(&sandbox, 2, ["list", "--a  b\n\nc"]);
    assert!(text.starts_with("error: unexpected argument '--a  b\\n\\nc' found\n"), "{text}");
}

#[test]
fn a_policy_keeps_what_its_strings_say() {
    let sandbox = Sandbox::new();
    let policy = "# \u{9b}31m\u{202e}\n[[rule]]\naction = \"keep\"\nreason = \"no\u{202e}\u{200b}thing\"\n";
    fs::write(sandbox.path().join("mine.toml"), policy).unwrap();
    let text = run(&sandbox, 0, ["policy", "show", "mine.toml"]);
    assert!(text.contains("reason = \"no\\U0000202E\\U0000200Bthing\"\n"), "{text}");
    assert_eq!(document(&sandbox, &["policy", "show", "mine.toml"])["toml"], policy);
    fs::write(sandbox.path().join("again.toml"), text).unwrap();
    let plan = |policy: &str| {
        let plan = document(&sandbox, &["import", DEMO, "m", "--quantize", "int4", "--policy", policy, "--dry-run"]);
        plan["blobs"].clone()
    };
    assert!(plan("mine.toml").to_string().contains("no\u{202e}\u{200b}thing"));
    assert_eq!(plan("mine.toml"), plan("again.toml"));
}

#[test]
fn nothing_is_wider_than_can_be_read() {
    let sandbox = Sandbox::new();
    let word = format!("{}end", "w".repeat(70_000));
    checkpoint(&sandbox, "wide", &word);
    sandbox.ok(["import", "wide", "m"]);
    sandbox.ok(["import", DEMO, "n"]);
    for (code, args) in [
        (0, &["list"][..]),
        (0, &["show", "m", "--tensors"]),
        (0, &["inspect", "wide"]),
        (0, &["import", "wide", "o", "--dry-run"]),
        (1, &["diff", "m", "n"]),
        (2, &["show", &word]),
        (2, &["import", DEMO, "n", "--quantize", &word]),
        (2, &[&word]),
        (2, &["list", &format!("--{word}")]),
        (1, &["inspect", &word]),
    ] {
        let text = run(&sandbox, code, args);
        assert!(text.contains(" characters)…"), "{args:?}: {text}");
    }
    assert_eq!(document(&sandbox, &["list"])["models"][0]["architecture"], word);
    // A long path keeps its end, and the message keeps its reason.
    let path = "d/".repeat(1500) + "here";
    let text = run(&sandbox, 1, ["inspect", &path]);
    assert!(text.lines().next().unwrap().contains("d/d/here"), "{text}");
}

#[test]
fn colours_are_as_asked_for_where_usage_is_wrong_too() {
    let sandbox = Sandbox::new();
    let print = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = sandbox.command(args);
        command.env_remove("NO_COLOR").envs(variables.iter().copied());
        let run = Run::of(&mut command);
        format!("{}{}", run.stdout, run.stderr).contains('\u{1b}')
    };
    let forced = [("CLICOLOR_FORCE", "1")];
    for args in [&["list", "--bogus"][..], &["lst"], &["load", "m", "--device", "tpu"], &["import"], &[], &["--help"]] {
        assert!(print(args, &forced), "{args:?}");
        assert!(!print(args, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), "{args:?}");
        for colour in [&["--color", "never"][..], &["--color=never"]] {
            assert!(!print(&[args, colour].concat(), &forced), "{args:?} {colour:?}");
            assert!(!print(&[colour, args].concat(), &forced), "{colour:?} {args:?}");
        }
        assert!(print(&[args, &["--color", "always"]].concat(), &[]), "{args:?}");
    }
    // What is no choice is none.
    assert!(!print(&["list", "--color", "nevr"], &[]));
}

#[cfg(unix)]
#[test]
fn bytes_that_are_no_text_are_shown() {
    use std::os::unix::ffi::OsStringExt as _;

    let sandbox = Sandbox::new();
    let bad = || OsString::from_vec(b"a\xff\xc3".to_vec());
    for (code, args) in [
        (2, vec![bad()]),
        (2, vec!["show".into(), bad()]),
        (2, vec!["list".into(), bad()]),
        (1, vec!["inspect".into(), bad()]),
        (1, vec!["import".into(), bad(), "m".into()]),
        (1, vec!["--store".into(), bad(), "show".into(), "m".into()]),
    ] {
        let text = run(&sandbox, code, args.clone());
        assert!(text.contains("a\\xff\\xc3"), "{args:?}: {text}");
    }
    // And of an entry of a directory, which no argument names.
    let dir = sandbox.checkpoint("llama");
    std::fs::write(dir.join(bad()), "").unwrap();
    let text = run(&sandbox, 0, [OsString::from("import"), dir.into(), "m".into(), "--dry-run".into()]);
    assert!(text.contains("a\\xff\\xc3 (its name is not UTF-8)"), "{text}");
}
