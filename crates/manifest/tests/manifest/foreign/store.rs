use std::{fs, path::PathBuf};

use longshore_manifest::{
    Descriptor, Digest, Manifest, RelativePath, Silent, Store, Weights,
    document::Role,
    store::{Added, CopyError, GcError, GcOptions, IngestError, Owner},
    weights::OpenOptions,
};

use crate::util::{Blob, Scratch, at_once, name, put, snapshot, verify};

/// Media type of a layer that this crate does not interpret.
const TEMPLATE: &str = "application/vnd.ollama.image.template";

/// Makes a directory as ollama leaves it: no marker, a manifest without longshore's table, a file that is not a blob.
fn ollama() -> (Scratch, Store, PathBuf) {
    let scratch = Scratch::new();
    let root = scratch.beside("ollama");
    let put_blob = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        put(&root.join("blobs").join(digest.file_name()), bytes);
        Added::new(digest, bytes.len() as u64)
    };
    let config = put_blob(
        br#"{"model_format":"safetensors","model_family":"","model_families":null,"model_type":"",
        "file_type":"","requires":"0.19.0","capabilities":["completion"],"architecture":"amd64","os":"linux"}"#,
    );
    let layers = vec![
        Descriptor::tensor("w", put_blob(&Blob::plain("w", 2, 1).bytes)),
        Descriptor::json(&RelativePath::parse("config.json").unwrap(), put_blob(b"{}")),
        Descriptor { media_type: TEMPLATE.into(), ..Descriptor::config(put_blob(b"{{ .Prompt }}")) },
    ];
    let manifest = Manifest::new(Descriptor::config(config), layers);
    put(&root.join("manifests/registry.ollama.ai/library/m/latest"), &manifest.to_bytes());
    put(&root.join("blobs/sha256-123-partial-0"), b"half");
    let store = Store::open(&root).unwrap();
    (scratch, store, root)
}

#[test]
fn it_is_read() {
    let (_scratch, store, _) = ollama();
    assert!(store.is_foreign());
    let model = store.model(&name("m")).unwrap();
    assert_eq!(model.config.capabilities, ["completion"]);
    let summary = store.list().unwrap().remove(0).summary.unwrap();
    assert_eq!((summary.format.as_str(), summary.import), ("safetensors", None));
    let outcome = verify(&store);
    assert_eq!((outcome.blobs, outcome.bad.len()), (4, 0));
    let weights = Weights::open(&store, &model, &OpenOptions::default()).unwrap();
    assert_eq!(weights.get("w").unwrap().weight().data, Blob::plain("w", 2, 1).data(Role::Weight));
}

#[test]
fn it_is_never_written() {
    let (_scratch, store, root) = ollama();
    let before = snapshot(&root);
    let text = format!("{} belongs to another program and is only read", root.display());
    let error = store.ingest().map(drop).unwrap_err();
    assert!(matches!(error, IngestError::Foreign(_)) && error.to_string() == text);
    assert!(matches!(store.copy(&name("m"), &name("n")), Err(CopyError::Foreign(_))));
    assert!(matches!(store.remove(&name("m")), Err(GcError::Foreign(_))));
    assert!(matches!(store.remove(&name("unknown")), Err(GcError::Foreign(_))));
    for dry_run in [false, true] {
        assert!(matches!(store.gc(&at_once(dry_run), &Silent), Err(GcError::Foreign(_))));
    }
    store.list().unwrap();
    verify(&store);
    assert_eq!(snapshot(&root), before);
}

#[test]
fn either_directory_makes_it_one() {
    let scratch = Scratch::new();
    for part in ["blobs", "manifests"] {
        let root = scratch.beside(part);
        fs::create_dir_all(root.join(part)).unwrap();
        assert!(Store::open(&root).unwrap().is_foreign(), "{part}");
    }
    let empty = scratch.beside("empty");
    fs::create_dir(&empty).unwrap();
    assert!(!Store::open(&empty).unwrap().is_foreign());
}

/// A directory with other files never becomes a store by accident.
#[test]
fn other_directories_are_known_and_never_written() {
    let scratch = Scratch::new();
    let rows: [(&str, &[&str], Option<Owner>); 9] = [
        ("hub", &["models--org--m/snapshots/1/config.json", "models--org--m/refs/main"], Some(Owner::HubCache)),
        ("hub/models--org--n", &["snapshots/1/config.json", "blobs/1", "refs/main"], Some(Owner::HubCache)),
        ("checkpoint", &["config.json", "model.safetensors"], Some(Owner::Nobody)),
        ("home", &[".profile", "Documents/letter"], Some(Owner::Nobody)),
        ("studio", &["publisher/model/model.gguf"], Some(Owner::Nobody)),
        ("work", &["tmp/thesis.tex"], Some(Owner::Nobody)),
        (
            "disk",
            &["lost+found/x", ".Trash-1000/y", ".Spotlight-V100/x", "System Volume Information/x", "$RECYCLE.BIN/x"],
            None,
        ),
        ("unfinished", &["tmp/1-2a-0"], None),
        ("store", &["tmp/1-2a-0", "longshore.json", "notes"], None),
    ];
    for (dir, files, expected) in rows {
        let root = scratch.beside(dir).join("own");
        for file in files {
            let marker: &[u8] = b"{\"longshore\":\"store\",\"version\":1}\n";
            put(&root.join(file), if *file == "longshore.json" { marker } else { b"" });
        }
        let before = snapshot(&root);
        let store = Store::open(&root).unwrap();
        assert_eq!(store.owner(), expected, "{dir}");
        match store.ingest().map(drop) {
            Ok(()) => assert!(expected.is_none() && Store::open(&root).unwrap().owner().is_none(), "{dir}"),
            Err(IngestError::Foreign(refused)) => {
                assert_eq!(Some(refused.owner), expected, "{dir}");
                assert!(matches!(store.gc(&GcOptions::default(), &Silent), Err(GcError::Foreign(_))));
                assert!(store.list().unwrap().is_empty());
                assert_eq!(snapshot(&root), before, "{dir}");
            }
            Err(error) => panic!("{dir}: {error}"),
        }
    }
}
