use longshore_packer::{CompanionKind, MAX_COMPANION_BYTES, MAX_COMPANIONS, SourceError};

use crate::support::Dir;

fn names(dir: &Dir) -> Vec<String> {
    let source = dir.open().expect("it is a model");
    source.companions.iter().map(|file| file.name.to_string()).collect()
}

#[test]
fn what_a_model_needs_is_taken_and_the_rest_is_named() {
    let dir = Dir::model(&[("w.weight", &[2, 2])]);
    let taken = [
        "1_Pooling/config.json",
        "LICENSE",
        "README.md",
        "USE_POLICY.md",
        "a/b/c/deep.json",
        "chat_template.jinja",
        "merges.txt",
        "modeling_own.py",
        "modules.json",
        "qwen.tiktoken",
        "spiece.model",
        "tokenizer.json",
        "tokenizer.model",
        "vocab.txt",
    ];
    for name in taken {
        dir.file(name, name);
    }
    let left = ["pytorch_model.bin", "onnx/model.onnx", "consolidated.safetensors", "notes.txt", "images/a.png"];
    for name in left {
        dir.file(name, "x");
    }
    for name in [".gitattributes", ".git/config.json", ".cache/huggingface/x.json", "a/.hidden.json"] {
        dir.file(name, "x");
    }
    dir.file("a/b/c/d/too-deep.json", "{}");
    dir.file("pytorch_model.bin.index.json", "{}");

    let source = dir.open().expect("it is a model");
    let mut expected: Vec<_> = taken.iter().map(|name| (*name).to_owned()).chain(["config.json".to_owned()]).collect();
    expected.sort();
    assert_eq!(names(&dir), expected);
    for file in &source.companions {
        assert_eq!(file.path, dir.join(file.name.as_str()));
        let is_json = file.path.extension().is_some_and(|extension| extension == "json");
        assert_eq!(file.kind, if is_json { CompanionKind::Json } else { CompanionKind::Other });
        if file.name.as_str() != "config.json" {
            assert_eq!(file.size, file.name.as_str().len() as u64);
        }
    }
    let warnings = source.warnings.join("\n");
    for name in left.iter().chain(&["a/b/c/d (the directory is too deep)", "pytorch_model.bin.index.json"]) {
        assert!(warnings.contains(name), "{name} is in no warning:\n{warnings}");
    }
    assert!(!warnings.contains(".git") && !warnings.contains(".cache"), "{warnings}");
    let unread = "left out entries that are not read: a/b/c/d (the directory is too deep)";
    assert_eq!(source.warnings.len(), 3, "weights, the rest, and what nobody has seen:\n{warnings}");
    assert_eq!(source.warnings[2], unread);
}

#[test]
fn names_that_are_not_portable_are_left_out() {
    if !cfg!(unix) {
        return;
    }
    let dir = Dir::model(&[("w.weight", &[2, 2])]);
    dir.file("back\\slash.json", "{}");
    dir.file("co:lon.json", "{}");
    dir.file("nul.json", "{}");
    dir.file("aux/config.json", "{}");
    dir.file("end./config.json", "{}");
    assert_eq!(names(&dir), ["config.json"]);
    let warnings = dir.open().expect("it is a model").warnings.join("\n");
    for name in ["co:lon.json", "nul.json", "aux/config.json", "end./config.json"] {
        assert!(warnings.contains(&format!("{name:?} (its name is not portable)")), "{warnings}");
    }
    assert!(!warnings.contains("no model needs"), "{warnings}");
}

#[test]
fn more_than_any_model_has_is_refused() {
    let dir = Dir::model(&[("w.weight", &[2, 2])]);
    for at in 0..MAX_COMPANIONS {
        dir.file(&format!("{at}.json"), "");
    }
    assert!(matches!(dir.open(), Err(SourceError::TooManyFiles { limit: MAX_COMPANIONS, .. })));

    let dir = Dir::model(&[("w.weight", &[2, 2])]);
    let file = std::fs::File::create(dir.join("huge.json")).expect("the directory is ours");
    file.set_len(MAX_COMPANION_BYTES + 1).expect("files may be sparse");
    let error = dir.open().expect_err("it is too large");
    assert!(matches!(error, SourceError::TooLarge { found, .. } if found == MAX_COMPANION_BYTES + 1));
    assert!(error.to_string().contains("huge.json"), "{error}");
}

#[cfg(unix)]
mod links {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use super::*;

    #[test]
    fn files_behind_links_are_taken_and_directories_are_not() {
        let dir = Dir::model(&[("w.weight", &[2, 2])]);
        let other = Dir::new();
        dir.file("kept/real", "{}");
        other.file("inside/config.json", "{}");
        symlink(dir.join("kept/real"), dir.join("linked.json")).expect("the directory is ours");
        symlink(other.join("inside"), dir.join("linked-dir")).expect("the directory is ours");
        symlink(dir.path(), dir.join("loop")).expect("the directory is ours");
        symlink("nowhere", dir.join("broken.bin")).expect("the directory is ours");
        assert_eq!(names(&dir), ["config.json", "linked.json"]);
        let warnings = dir.open().expect("it is a model").warnings.join("\n");
        for name in ["linked-dir (links to directories are not followed)", "loop (", "broken.bin (a broken link)"] {
            assert!(warnings.contains(name), "{name}: {warnings}");
        }
    }

    #[test]
    fn what_is_no_file_is_never_opened() {
        let dir = Dir::model(&[("w.weight", &[2, 2])]);
        let _socket = UnixListener::bind(dir.join("socket")).expect("the directory is ours");
        assert_eq!(names(&dir), ["config.json"]);
        let warnings = dir.open().expect("it is a model").warnings;
        assert_eq!(warnings, ["left out entries that are not read: socket (it is not a regular file)"]);

        let _socket = UnixListener::bind(dir.join("tokenizer.json")).expect("the directory is ours");
        let error = dir.open().expect_err("a model without its tokenizer is no model");
        assert!(matches!(&error, SourceError::NotRegular { path } if *path == dir.join("tokenizer.json")), "{error:?}");
    }

    #[test]
    fn a_companion_that_leads_nowhere_is_an_error() {
        let dir = Dir::model(&[("w.weight", &[2, 2])]);
        symlink("nowhere", dir.join("tokenizer.json")).expect("the directory is ours");
        let error = dir.open().expect_err("it cannot be read");
        assert!(matches!(&error, SourceError::Io { path, .. } if path.ends_with("tokenizer.json")), "{error}");
    }
}
