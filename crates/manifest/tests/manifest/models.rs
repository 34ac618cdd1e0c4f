use std::fs;

use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, Silent, Store,
    document::{DocumentError, media_type},
    store::{CopyError, IngestError, ModelError},
};

use crate::util::{Blob, Scratch, add, add_with_config, at_once, chain, commit, name, put, replace, snapshot, table};

#[test]
fn a_model_is_what_was_committed() {
    let scratch = Scratch::new();
    let blobs = [Blob::plain("a", 5, 1), Blob::int4("b", 4, 32, 2)];
    let done = commit(&scratch.store, "ns/m:t", &blobs);
    let model = scratch.store.model(&name("ns/m:t")).unwrap();
    assert_eq!((model.name, model.digest), (name("ns/m:t"), done.digest));
    assert_eq!(model.config, Config::new(table(&blobs)));
    assert_eq!(model.manifest.layers.len(), 3);
}

#[test]
fn an_unknown_name_is_not_found() {
    let scratch = Scratch::new();
    let not_found = |store: &Store| matches!(store.model(&name("m")), Err(ModelError::NotFound { .. }));
    assert!(not_found(&scratch.store));
    commit(&scratch.store, "other", &[Blob::plain("a", 1, 1)]);
    assert!(not_found(&scratch.store));
    let error = scratch.store.model(&name("m")).unwrap_err();
    assert_eq!(error.to_string(), format!("no model m:latest in {}", scratch.store.root().display()));
    // A name has no model either if its path is a directory, or if a parent in its path is a file.
    put(&scratch.store.manifest_path(&name("m")).join("x"), b"");
    put(&scratch.store.root().join("manifests/h/n"), b"");
    assert!(not_found(&scratch.store));
    assert!(matches!(scratch.store.model(&name("h/n/m")), Err(ModelError::NotFound { .. })));
    assert_eq!(scratch.store.names().unwrap(), [name("other")]);
}

#[test]
fn an_empty_store_lists_nothing() {
    let scratch = Scratch::new();
    assert!(scratch.store.list().unwrap().is_empty());
    assert!(scratch.store.names().unwrap().is_empty());
    assert!(!scratch.store.root().exists());
}

#[test]
fn names_are_sorted_and_other_files_are_no_names() {
    let scratch = Scratch::new();
    for text in ["z", "a:2", "a:1", "h.org:80/n/m", "ns/m"] {
        commit(&scratch.store, text, &[Blob::plain("a", 1, 1)]);
    }
    let root = scratch.store.root().join("manifests");
    for stray in ["README", "h/x", "h/n/x", "registry.ollama.ai/library/z/.DS_Store", "registry.ollama.ai/library/z/a~"]
    {
        put(&root.join(stray), b"stray");
    }
    let names = scratch.store.names().unwrap();
    assert_eq!(names, ["h.org:80/n/m", "a:1", "a:2", "z", "ns/m"].map(name));
}

#[test]
fn a_list_tells_sizes_and_what_only_one_model_has() {
    let scratch = Scratch::new();
    let (shared, own) = (Blob::plain("shared", 100, 1), Blob::plain("own", 50, 2));
    commit(&scratch.store, "both", &[shared.clone(), own.clone()]);
    commit(&scratch.store, "one", std::slice::from_ref(&shared));
    let list = scratch.store.list().unwrap();
    assert_eq!(list.iter().map(|entry| &entry.name).collect::<Vec<_>>(), [&name("both"), &name("one")]);
    assert!(list.iter().all(|entry| entry.modified.is_some()));
    let config_size = |blobs: &[Blob]| Config::new(table(blobs)).to_bytes().len() as u64;
    let (both, one) = (list[0].summary.as_ref().unwrap(), list[1].summary.as_ref().unwrap());
    let (shared_size, own_size) = (shared.bytes.len() as u64, own.bytes.len() as u64);
    let config = config_size(&[shared.clone(), own]);
    // The 3 bytes are `{}` and a newline, the file that every model here has.
    assert_eq!((both.size, both.unique_size), (shared_size + own_size + config + 3, own_size + config));
    let config = config_size(&[shared]);
    assert_eq!((one.size, one.unique_size), (shared_size + config + 3, config));
    assert_eq!(both.format, "safetensors");
    assert_eq!(both.facts.architecture.as_deref(), Some("Qwen3ForCausalLM"));
    assert_eq!(both.import.as_ref().unwrap().kind, "float");
    assert_eq!(both.digest, scratch.store.model(&name("both")).unwrap().digest);
}

#[test]
fn a_blob_that_a_model_has_twice_counts_once() {
    let scratch = Scratch::new();
    let ingest = scratch.store.ingest().unwrap();
    let mut manifest = add(&ingest, &[Blob::plain("a", 100, 1)]);
    manifest.layers.push(manifest.layers[0].clone());
    ingest.commit(&name("m"), &manifest).unwrap();
    let summary = scratch.store.list().unwrap().remove(0).summary.unwrap();
    let sizes = manifest.config.size + manifest.layers[0].size + manifest.layers[1].size;
    assert_eq!((summary.size, summary.unique_size), (sizes, sizes));
}

#[test]
fn a_model_that_cannot_be_read_is_listed_with_the_error() {
    let scratch = Scratch::new();
    for text in ["bad", "cut", "good", "gone", "old", "short"] {
        commit(&scratch.store, text, &[Blob::plain(text, 1, 1)]);
    }
    let config =
        |text: &str| scratch.store.blob_path(&scratch.store.model(&name(text)).unwrap().manifest.config.digest);
    replace(&config("short"), b"{}");
    fs::remove_file(config("gone")).unwrap();
    let cut = scratch.store.manifest_path(&name("cut"));
    fs::write(&cut, b"").unwrap();
    let bad = config("bad");
    let size = fs::read(&bad).unwrap().len();
    replace(&bad, &b"x".repeat(size));
    let old = scratch.store.manifest_path(&name("old"));
    let text = fs::read_to_string(&old).unwrap().replace("\"schemaVersion\":2", "\"schemaVersion\":1");
    fs::write(&old, text).unwrap();

    let list = scratch.store.list().unwrap();
    let texts: Vec<_> = list.iter().map(|entry| entry.summary.as_ref().map_err(|error| chain(error))).collect();
    assert_eq!(texts.iter().filter(|text| text.is_ok()).count(), 1);
    let path = |path: &std::path::Path| path.display().to_string();
    let error = |at: usize| texts[at].as_ref().unwrap_err().clone();
    assert_eq!(error(0)[..2], [format!("{} cannot be used", path(&bad)), "not a valid config".to_owned()]);
    assert_eq!(error(1)[..2], [format!("{} cannot be used", path(&cut)), "not a valid manifest".to_owned()]);
    assert!(error(2)[0].starts_with("cannot open "), "{:?}", error(2));
    assert_eq!(error(4)[1], "the manifest has version 1, expected 2");
    assert!(error(5)[0].contains(" has 2 bytes, expected the "), "{:?}", error(5));
    assert!(matches!(list[1].summary, Err(ModelError::Document { source: DocumentError::Json { .. }, .. })));
    assert!(matches!(list[5].summary, Err(ModelError::Size { found: 2, .. })));
}

#[test]
fn a_document_beyond_all_measure_is_not_read() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    let path = scratch.store.manifest_path(&name("m"));
    // The file is sparse, so that it takes no space.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let error = scratch.store.model(&name("m")).unwrap_err();
    assert!(matches!(error, ModelError::TooLarge { size, .. } if size == 1 << 40), "{error}");
}

#[test]
fn sizes_that_pass_2_64_do_not_panic() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    let mut manifest = scratch.store.model(&name("m")).unwrap().manifest;
    manifest.layers.extend([1_u8, 2].map(|at| Descriptor {
        media_type: media_type::TENSOR.into(),
        digest: Digest::of(&[at]),
        size: u64::MAX,
        name: None,
    }));
    fs::write(scratch.store.manifest_path(&name("m")), manifest.to_bytes()).unwrap();
    let summary = scratch.store.list().unwrap().remove(0).summary.unwrap();
    assert_eq!((summary.size, summary.unique_size), (u64::MAX, u64::MAX));
}

#[test]
fn a_copy_is_the_same_model_byte_for_byte() {
    let scratch = Scratch::new();
    commit(&scratch.store, "m", &[Blob::plain("a", 1, 1)]);
    // A copy keeps fields that this release does not know.
    let path = scratch.store.manifest_path(&name("m"));
    let text = fs::read_to_string(&path).unwrap().replacen('{', "{\"annotations\":{\"a\":\"b\"},", 1);
    fs::write(&path, &text).unwrap();
    let blobs = scratch.blobs();
    let done = scratch.store.copy(&name("m"), &name("h/ns/copy:t")).unwrap();
    assert_eq!((done.new_blobs, done.digest), (0, scratch.store.model(&name("m")).unwrap().digest));
    assert_eq!(fs::read_to_string(scratch.store.manifest_path(&name("h/ns/copy:t"))).unwrap(), text);
    assert_eq!(scratch.blobs(), blobs);
    assert!(scratch.temporaries().is_empty());

    // Copies onto an existing name, and onto the name itself.
    let other = commit(&scratch.store, "other", &[Blob::plain("b", 2, 2)]);
    scratch.store.copy(&name("other"), &name("m")).unwrap();
    scratch.store.copy(&name("m"), &name("m")).unwrap();
    assert_eq!(scratch.store.model(&name("m")).unwrap().digest, other.digest);
}

#[test]
fn what_cannot_be_copied_changes_nothing() {
    let scratch = Scratch::new();
    let unknown = scratch.store.copy(&name("m"), &name("n"));
    assert!(matches!(unknown, Err(CopyError::Model(ModelError::NotFound { .. }))));
    assert!(!scratch.store.root().exists(), "a store was made for nothing");

    let blob = Blob::plain("a", 1, 1);
    commit(&scratch.store, "m", std::slice::from_ref(&blob));
    fs::remove_file(scratch.store.blob_path(&Digest::of(&blob.bytes))).unwrap();
    let before = snapshot(scratch.store.root());
    let error = scratch.store.copy(&name("m"), &name("n")).unwrap_err();
    assert!(matches!(error, CopyError::Ingest(_)), "{error}");
    assert_eq!(snapshot(scratch.store.root()), before);
}

#[test]
fn a_model_without_tensors_is_a_model() {
    let scratch = Scratch::new();
    let ingest = scratch.store.ingest().unwrap();
    let config = Descriptor::config(ingest.add(b"{}").unwrap());
    ingest.commit(&name("m"), &Manifest::new(config, vec![])).unwrap();
    let summary = scratch.store.list().unwrap().remove(0).summary.unwrap();
    assert_eq!((summary.format.as_str(), summary.import, summary.size), ("", None, 2));
}

#[test]
fn a_table_that_is_no_table_is_an_error_and_not_a_model_without_one() {
    let scratch = Scratch::new();
    let ingest = scratch.store.ingest().unwrap();
    let manifest = add_with_config(&ingest, &[], b"{\"longshore\":7}");
    ingest.commit(&name("m"), &manifest).unwrap();
    assert!(matches!(scratch.store.model(&name("m")), Err(ModelError::Document { .. })));
    assert!(scratch.store.list().unwrap().remove(0).summary.is_err());
}

#[cfg(unix)]
#[test]
fn a_symbolic_link_counts_as_what_it_leads_to() {
    use std::os::unix::fs::symlink;

    let scratch = Scratch::new();
    commit(&scratch.store, "h/ns/m", &[Blob::plain("a", 1, 1)]);
    let host = scratch.store.root().join("manifests/h");
    let moved = scratch.beside("elsewhere");
    fs::rename(&host, &moved).unwrap();
    symlink(&moved, &host).unwrap();
    assert_eq!(scratch.store.names().unwrap(), [name("h/ns/m")]);
    assert!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs.is_empty());
    scratch.store.model(&name("h/ns/m")).unwrap();

    // A link that leads nowhere, such as to an unmounted disk, is a model that cannot be read.
    let path = scratch.store.manifest_path(&name("h/ns/m"));
    fs::remove_file(&path).unwrap();
    symlink(scratch.beside("unmounted"), &path).unwrap();
    assert!(scratch.store.list().unwrap()[0].summary.is_err());
    assert!(scratch.store.gc(&at_once(false), &Silent).is_err());
    scratch.store.remove(&name("h/ns/m")).unwrap();
    assert_eq!(scratch.store.gc(&at_once(false), &Silent).unwrap().blobs.len(), 3);
}

/// A file system that ignores case would have one file for both names.
#[test]
fn a_name_has_one_spelling() {
    let scratch = Scratch::new();
    commit(&scratch.store, "me/Llama:7B", &[Blob::plain("w", 2, 1)]);
    for same in ["me/Llama:7B", "me/Llama:8B", "you/llama:7b", "llama:7b"] {
        assert_eq!(scratch.store.check_spelling(&name(same)), Ok(()), "{same}");
    }
    for (other, part) in [
        ("me/llama:7B", "model"),
        ("me/Llama:7b", "tag"),
        ("ME/LLAMA:7B", "namespace"),
        ("Registry.ollama.ai/me/Llama:7B", "host"),
        // The two directories would be one.
        ("me/llama:8b", "model"),
        ("Me/other:8b", "namespace"),
        ("Registry.Ollama.ai/you/other:8b", "host"),
    ] {
        let refused = scratch.store.check_spelling(&name(other)).unwrap_err();
        assert_eq!((&refused.name, &refused.existing), (&name(other), &name("me/Llama:7B")));
        let text = format!("has me/Llama:7B, whose {part} differs from that of {} only in case", name(other));
        assert!(refused.to_string().contains(&text), "{refused}");
        assert!(matches!(
            scratch.store.copy(&name("me/Llama:7B"), &name(other)),
            Err(CopyError::Ingest(IngestError::Spelling(_)))
        ));
    }
    commit(&scratch.store, "me/Llama:7B", &[Blob::plain("w", 2, 2)]);
    assert_eq!(scratch.store.names().unwrap(), [name("me/Llama:7B")]);
    // Directories without a model do not exclude a name, and neither does a file in the place of a directory.
    let models = scratch.store.manifest_path(&name("me/Llama:7B")).parent().unwrap().with_file_name("EMPTY");
    std::fs::create_dir(&models).unwrap();
    std::fs::write(models.with_file_name("FILE"), "").unwrap();
    for free in ["me/empty", "me/file"] {
        assert_eq!(scratch.store.check_spelling(&name(free)), Ok(()), "{free}");
    }
}

#[test]
fn names_that_may_have_been_meant() {
    let scratch = Scratch::new();
    for text in ["qwen3:4b", "qwen3:8b", "me/llama", "Mistral", "x"] {
        commit(&scratch.store, text, &[Blob::plain("w", 2, 1)]);
    }
    let near =
        |text: &str| -> Vec<String> { scratch.store.near(&name(text)).iter().map(ToString::to_string).collect() };
    assert_eq!(near("qwen3:4B"), ["qwen3:4b", "qwen3:8b"]);
    assert_eq!(near("qwen3"), ["qwen3:4b", "qwen3:8b"]);
    assert_eq!(near("qewn3:4b"), ["qwen3:4b", "qwen3:8b"]);
    assert_eq!(near("mistral"), ["Mistral:latest"]);
    assert_eq!(near("me/lama"), ["me/llama:latest"]);
    assert_eq!(near("qewn3"), ["qwen3:4b", "qwen3:8b"]);
    assert_eq!(near("qwe"), ["qwen3:4b", "qwen3:8b"]);
    assert!(near("qw").is_empty() && near("gemma").is_empty());
}
