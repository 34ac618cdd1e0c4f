//! Adapters that are stored as models of their own.

use longshore_manifest::{Silent, Store};
use longshore_packer::{ExportOptions, ImportOptions, Plan, PlanError, PlanOptions, Source, export};
use longshore_st_format::{Dtype, Limits};

use super::cases::cases;
use crate::support::{Dir, chain, options};

#[test]
fn an_attachment_comes_back_to_the_byte() {
    for case in cases() {
        let (dir, [base, adapter]) = (Dir::new(), case.write(Dtype::F32));
        let store = Store::open(dir.join("store")).expect("the directory is ours");
        let of = super::import(&store, "base", base.open().expect("it is one"), &PlanOptions::default(), 1).digest;
        adapter.file("README.md", "An adapter.");
        let source = Source::open_attachment(adapter.path(), of, &Limits::default()).expect("it is an adapter");
        super::import(&store, "attached", source, &PlanOptions::default(), 2);
        let model = store.model(&"attached".parse().expect("it is a name")).expect("it was imported");
        let found = model.config.base.as_ref().expect("it says what it belongs to");
        assert_eq!((found.digest, &*found.role), (of, "adapter"));
        let attachments = |of: &longshore_manifest::Digest| store.attachments(of).expect("the store can be listed");
        assert_eq!(attachments(&of), ["attached".parse().expect("it is a name")]);
        assert!(attachments(&model.digest).is_empty());
        assert!(model.config.capabilities.is_empty());
        export(&store, &model, &dir.join("out"), &ExportOptions::default(), &Silent).expect("it is exported");
        let names = |dir: &std::path::Path| {
            let entries = std::fs::read_dir(dir).expect("it is a directory").map(|entry| entry.expect("it is there"));
            let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&dir.join("out")), names(adapter.path()), "{}", case.name);
        for name in names(adapter.path()) {
            let read = |dir: &std::path::Path| std::fs::read(dir.join(&name)).expect("it is a file");
            assert!(read(&dir.join("out")) == read(adapter.path()), "{}: {name:?}", case.name);
        }
        // It keeps nothing alive.
        let removed = store.remove(&"base".parse().expect("it is a name")).expect("it is there");
        assert!(!removed.blobs.is_empty());
    }
}

#[test]
fn an_attachment_is_not_quantized() {
    let [_, adapter] = cases()[0].write(Dtype::F32);
    let of = longshore_manifest::Digest::of(b"a base");
    let source = Source::open_attachment(adapter.path(), of, &Limits::default()).expect("it is an adapter");
    let error = Plan::new(source, &options("int4", "uniform")).expect_err("it stays as it is");
    assert!(matches!(error, PlanError::Attachment), "{error}");
}

#[test]
fn a_damaged_header_is_found() {
    let (dir, [_, adapter]) = (Dir::new(), cases()[0].write(Dtype::F32));
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    let of = longshore_manifest::Digest::of(b"a base");
    let source = Source::open_attachment(adapter.path(), of, &Limits::default()).expect("it is an adapter");
    let plan = Plan::new(source, &PlanOptions::default()).expect("it is planned");
    let name = "attached".parse().expect("it is a name");
    plan.import(&store, &name, &ImportOptions::default(), &Silent).expect("nothing is in the way");
    let model = store.model(&name).expect("it was imported");
    let header = model.manifest.files().find(|(name, _)| name.as_str().ends_with(".header")).expect("it is stored").1;
    let path = store.blob_path(&header.digest);
    let bytes = std::fs::read(&path).expect("it is there");
    std::fs::remove_file(&path).expect("it is ours");
    let at = bytes.windows(6).position(|found| found == b"lora_A").expect("it names the factor");
    let damaged = [&bytes[..at], b"lora_Z", &bytes[at + 6..]].concat();
    std::fs::write(&path, damaged).expect("it is ours");
    let error =
        export(&store, &model, &dir.join("out"), &ExportOptions::default(), &Silent).expect_err("it is damaged");
    assert!(chain(&error).contains("the model has no tensor"), "{error}");
    assert!(!dir.join("out").exists());
}
