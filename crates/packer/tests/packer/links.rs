//! Sources of which files are symbolic links: snapshots of a hub cache, and directories that reach outside.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use longshore_manifest::Digest;
use longshore_packer::{ImportError, ImportOptions, ReadError, Source, SourceError, SourceOptions};

use crate::{
    stores::{files, import_as, store, threads, try_import},
    support::{Dir, chain, fixture, open, plan},
};

fn names(source: &Source) -> Vec<&str> {
    source.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

fn following(path: &Path) -> Result<Source, SourceError> {
    Source::open_with(path, &SourceOptions { follow_links: true, ..SourceOptions::default() })
}

/// A hub cache in the layout of `huggingface_hub`: `blobs` by hash, and `snapshots/<commit>` with links to them.
fn hub_cache() -> (Dir, PathBuf) {
    let cache = Dir::new();
    cache.file("blobs/c0", r#"{"model_type": "llama"}"#);
    cache.weights("blobs/a0", &[("a.weight", &[2, 2])]);
    cache.weights("blobs/b0", &[("b.weight", &[2, 2])]);
    cache.file("blobs/p0", "{}");
    let snapshot = cache.join("snapshots/0123");
    fs::create_dir_all(snapshot.join("1_Pooling")).expect("the directory is ours");
    for (name, target) in [
        ("config.json", "../../blobs/c0"),
        ("model-00001-of-00002.safetensors", "../../blobs/a0"),
        ("model-00002-of-00002.safetensors", "../../blobs/b0"),
        ("1_Pooling/config.json", "../../../blobs/p0"),
    ] {
        symlink(target, snapshot.join(name)).expect("the directory is ours");
    }
    (cache, snapshot)
}

#[test]
fn a_snapshot_of_a_hub_cache() {
    let (cache, snapshot) = hub_cache();
    let source = open(&snapshot).expect("it is a model");
    assert_eq!(names(&source), ["a.weight", "b.weight"]);
    let files: Vec<_> = source.companions.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(files, ["1_Pooling/config.json", "config.json"]);
    assert!(source.warnings.is_empty(), "{:?}", source.warnings);

    let file = open(&snapshot.join("model-00001-of-00002.safetensors")).expect("a link is a file");
    assert_eq!(names(&file), ["a.weight"]);

    let error = cache.open().expect_err("it is no snapshot");
    assert!(matches!(error, SourceError::NoConfig { .. }), "{error}");
    assert!(error.hint().expect("there is one").contains("snapshots/0123"));
}

#[test]
fn a_download_that_did_not_finish() {
    let (cache, snapshot) = hub_cache();
    let refused = |is: fn(&SourceError) -> bool, words: &[&str]| {
        let error = open(&snapshot).expect_err("it is no source");
        assert!(is(&error) && words.iter().all(|word| chain(&error).contains(word)), "{}", chain(&error));
    };
    fs::remove_file(cache.join("blobs/b0")).expect("the directory is ours");
    refused(|e| matches!(e, SourceError::Weights { .. }), &["model-00002-of-00002.safetensors"]);
    let index = r#"{"weight_map": {"b.weight": "model-00002-of-00002.safetensors"}}"#;
    fs::write(snapshot.join("model.safetensors.index.json"), index).expect("the directory is ours");
    let words = ["incomplete", "model-00002-of-00002.safetensors", "\"b.weight\""];
    refused(|e| matches!(e, SourceError::MissingShard { .. }), &words);
    fs::remove_file(cache.join("blobs/c0")).expect("the directory is ours");
    refused(|e| matches!(e, SourceError::Io { .. }), &["config.json"]);
}

/// Moves the files of a directory into the blobs of a hub cache, each under the SHA-256 of its bytes, and links to them
/// from a snapshot.
fn into_hub_cache(dir: &Dir) -> (Dir, PathBuf) {
    let cache = Dir::new();
    let snapshot = cache.join("models--o--m/snapshots/0123");
    for (name, bytes) in files(dir.path()) {
        let blob = Digest::of(&bytes).file_name().replace("sha256-", "");
        cache.file(&format!("models--o--m/blobs/{blob}"), &bytes);
        let link = snapshot.join(&name);
        fs::create_dir_all(link.parent().expect("it has one")).expect("the directory is ours");
        let up = "../".repeat(2 + name.matches('/').count());
        symlink(format!("{up}blobs/{blob}"), link).expect("the directory is ours");
    }
    (cache, snapshot)
}

/// A file of a hub cache whose name there is its SHA-256 is hashed while it is read, weights and all.
#[test]
fn a_damaged_blob_of_a_hub_cache_is_refused() {
    for (name, config) in [("qwen3-moe", "config.json"), ("flux", "model_index.json")] {
        let (_cache, snapshot) = into_hub_cache(&fixture(name));
        let target = Dir::new();
        let target = store(&target);
        let whole = open(&snapshot).unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
        import_as(&target, "other", &whole, "int4");
        let before = files(target.root());
        let shards = whole.shards.iter().map(|shard| &shard.path);
        for link in shards.chain(whole.companions.iter().map(|file| &file.path)) {
            let blob = fs::canonicalize(link).expect("it is there");
            let bytes = fs::read(&blob).expect("it is there");
            for at in [bytes.len() / 2, bytes.len() - 1] {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1;
                fs::write(&blob, &damaged).expect("the directory is ours");
                for options in [threads(1), ImportOptions::default()] {
                    let error = match open(&snapshot) {
                        Ok(source) => {
                            let plan = plan(&source, "none", "default");
                            let error = try_import(&target, "m", &plan, &options).expect_err("it is damaged");
                            assert!(matches!(error, ImportError::Read(ReadError::Damaged { .. })), "{}", chain(&error));
                            chain(&error)
                        }
                        Err(error) => {
                            assert!(link.ends_with(config) || link.ends_with("config.json"), "{}", chain(&error));
                            assert!(matches!(error, SourceError::Damaged { .. }), "{}", chain(&error));
                            chain(&error)
                        }
                    };
                    assert!(error.contains(&*link.to_string_lossy()), "{error}");
                    assert_eq!(files(target.root()), before, "{error}");
                }
            }
            fs::write(&blob, &bytes).expect("the directory is ours");
        }
        import_as(&target, "m", &open(&snapshot).expect("it is whole"), "none");
    }
}

/// One file by its own path is checked, too.
#[test]
fn one_damaged_file_of_a_hub_cache_is_refused() {
    let (_cache, snapshot) = into_hub_cache(&Dir::model(&[("a.weight", &[64, 64]), ("b.weight", &[64, 64])]));
    let link = snapshot.join("model.safetensors");
    let blob = fs::canonicalize(&link).expect("it is there");
    let mut bytes = fs::read(&blob).expect("it is there");
    *bytes.last_mut().expect("it has bytes") ^= 1;
    fs::write(&blob, bytes).expect("the directory is ours");
    let target = Dir::new();
    let plan = plan(&open(&link).expect("its header is whole"), "none", "default");
    let error = try_import(&store(&target), "m", &plan, &threads(2)).expect_err("it is damaged");
    assert!(matches!(error, ImportError::Read(ReadError::Damaged { .. })), "{}", chain(&error));
}

/// Every file that a model needs may be a link, and none may leave the source.
#[test]
fn links_out_of_the_source_are_refused() {
    let elsewhere = Dir::new();
    let secret = elsewhere.join("secret");
    for name in [
        "config.json",
        "hf_quant_config.json",
        "tokenizer.json",
        "1_Pooling/config.json",
        "LICENSE",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ] {
        let dir = Dir::new();
        dir.file("config.json", r#"{"architectures": ["TestForCausalLM"]}"#);
        dir.file("hf_quant_config.json", "{}");
        dir.file("tokenizer.json", "{}");
        dir.file("1_Pooling/config.json", "{}");
        dir.file("LICENSE", "free");
        dir.weights("model-00001-of-00002.safetensors", &[("a.weight", &[2, 2])]);
        dir.weights("model-00002-of-00002.safetensors", &[("b.weight", &[2, 2])]);
        dir.index(&[
            ("a.weight", "model-00001-of-00002.safetensors"),
            ("b.weight", "model-00002-of-00002.safetensors"),
        ]);
        assert!(dir.open().is_ok());
        let link = dir.join(name);
        fs::rename(&link, &secret).expect("the directories are ours");
        symlink(&secret, &link).expect("the directory is ours");
        let error = dir.open().expect_err("it leads elsewhere");
        assert!(matches!(error, SourceError::Link { .. }), "{name}: {}", chain(&error));
        let hint = error.hint().expect("there is one");
        assert!(hint.contains(&*link.to_string_lossy()) && hint.contains("--follow-links"), "{hint}");
        following(dir.path()).unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));

        // Within the source a link may lead anywhere.
        fs::remove_file(&link).expect("the directory is ours");
        fs::rename(&secret, dir.join("moved")).expect("the directories are ours");
        symlink(dir.join("moved"), &link).expect("the directory is ours");
        dir.open().unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
    }
}

/// Neither can an index name a link that no list of the directory shows, nor a pipeline one of its documents.
#[test]
fn links_that_are_hidden_or_in_a_pipeline() {
    let elsewhere = Dir::new();
    elsewhere.weights("secret", &[("w.weight", &[2, 2])]);
    let dir = Dir::model(&[("w.weight", &[2, 2])]);
    symlink(elsewhere.join("secret"), dir.join(".hidden.safetensors")).expect("the directory is ours");
    dir.index(&[("w.weight", ".hidden.safetensors")]);
    let error = dir.open().expect_err("it leads elsewhere");
    assert!(matches!(error, SourceError::Link { .. }), "{}", chain(&error));

    for name in ["model_index.json", "vae/config.json", "transformer/config.json"] {
        let dir = fixture("flux");
        let link = dir.join(name);
        fs::rename(&link, elsewhere.join("moved")).unwrap_or_else(|error| panic!("{name}: {error}"));
        symlink(elsewhere.join("moved"), &link).expect("the directory is ours");
        let error = dir.open().expect_err("it leads elsewhere");
        assert!(matches!(&error, SourceError::Link { link: found, .. } if *found == link), "{}", chain(&error));
        assert!(following(dir.path()).is_ok(), "{name}");
    }
}

/// What is not needed is left out, wherever it leads, and a directory that looks like a hub cache gets no more than one.
#[test]
fn links_that_lead_from_what_looks_like_a_hub_cache() {
    let elsewhere = Dir::new();
    elsewhere.file("secret", "{}");
    let (cache, snapshot) = hub_cache();
    symlink(elsewhere.join("secret"), snapshot.join("picture.png")).expect("the directory is ours");
    let source = open(&snapshot).expect("a picture is not needed");
    assert!(source.warnings[0].contains("picture.png (a link out of the source)"), "{:?}", source.warnings);

    cache.file("refs/other", "{}");
    for target in [elsewhere.join("secret"), cache.join("refs/other")] {
        let link = snapshot.join("tokenizer.json");
        symlink(&target, &link).expect("the directory is ours");
        let error = open(&snapshot).expect_err("it leads elsewhere");
        assert!(matches!(error, SourceError::Link { .. }), "{}", chain(&error));
        fs::remove_file(&link).expect("the directory is ours");
    }
}
