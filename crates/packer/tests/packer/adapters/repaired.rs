//! Repair of models that adapters were merged into, and of adapters that are models of their own.

use std::path::Path;

use longshore_manifest::{Digest, Model, ModelName, Silent, Store};
use longshore_packer::{PlanOptions, RepairOptions, Source, repair};
use longshore_st_format::{Dtype, Limits};

use super::{cases::cases, with_adapter};
use crate::support::Dir;

fn model(store: &Store, name: &str) -> Model {
    store.model(&name.parse::<ModelName>().expect("it is a name")).expect("it was imported")
}

/// Cuts the last byte of a blob off.
fn cut(store: &Store, digest: &Digest) {
    let path = store.blob_path(digest);
    let bytes = std::fs::read(&path).expect("it is there");
    std::fs::remove_file(&path).expect("it is ours");
    std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("it is ours");
}

/// Repairs everything, and returns the number of repaired blobs and the hints for the others.
fn mend(store: &Store, source: Source) -> (usize, Vec<String>) {
    let outcome = repair(store, source, &RepairOptions::default(), &Silent).expect("the store can be repaired");
    (outcome.repaired.len(), outcome.left.into_iter().filter_map(|left| left.hint).collect())
}

#[test]
fn a_merged_model_needs_its_adapter() {
    let case = &cases()[0];
    let (dir, [base, adapter]) = (Dir::new(), case.write(Dtype::F32));
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    super::import(&store, "merged", with_adapter(&base, &adapter, 0.5), &PlanOptions::default(), 2);
    let found = model(&store, "merged");
    let tensor = case.expected.keys().next().expect("the case has one");
    let changed =
        found.manifest.layers.iter().find(|layer| layer.name.as_deref() == Some(tensor)).expect("it is stored");
    let digest = changed.digest;
    cut(&store, &digest);
    for source in [base.open().expect("it is a checkpoint"), with_adapter(&base, &adapter, 1.0)] {
        let (repaired, hints) = mend(&store, source);
        assert_eq!(repaired, 0);
        assert!(hints[0].contains("--adapter DIR"), "{hints:?}");
    }
    assert_eq!(mend(&store, with_adapter(&base, &adapter, 0.5)), (1, Vec::new()));
    // A lost record is made again, too.
    cut(&store, &digest);
    cut(&store, &found.manifest.config.digest);
    assert_eq!(mend(&store, with_adapter(&base, &adapter, 0.5)), (2, Vec::new()));
    assert_eq!(model(&store, "merged"), found);
}

#[test]
fn an_attachment_is_built_of_its_adapter() {
    let [base, adapter] = cases()[0].write(Dtype::F32);
    let dir = Dir::new();
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    let of = Digest::of(b"a base");
    let attachment = |of, path: &Path| Source::open_attachment(path, of, &Limits::default()).expect("it is an adapter");
    super::import(&store, "attached", attachment(of, adapter.path()), &PlanOptions::default(), 2);
    let found = model(&store, "attached");
    let file = |end: &str| {
        let is_it = |name: Option<&str>| name.is_some_and(|name| name.ends_with(end));
        found.manifest.layers.iter().find(|layer| is_it(layer.name.as_deref())).expect("it is stored").digest
    };
    let (header, weights) = (file(".header"), file("lora_A.weight"));
    cut(&store, &header);
    cut(&store, &weights);
    let (repaired, hints) = mend(&store, base.open().expect("it is a checkpoint"));
    assert_eq!(repaired, 0);
    assert!(hints.iter().any(|hint| hint.contains("give the adapter's directory")), "{hints:?}");
    assert_eq!(mend(&store, attachment(Digest::of(b"another"), adapter.path())), (2, Vec::new()));
    cut(&store, &found.manifest.config.digest);
    assert_eq!(mend(&store, attachment(of, adapter.path())), (1, Vec::new()));
    assert_eq!(model(&store, "attached"), found);
}

/// Each names its own base again, whichever base the source is opened for.
#[test]
fn attachments_of_several_bases() {
    let [base, adapter] = cases()[0].write(Dtype::F32);
    let dir = Dir::new();
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    super::import(&store, "base", base.open().expect("it is one"), &PlanOptions::default(), 1);
    let gone = Digest::of(b"a base that is gone");
    let attachment = |of| Source::open_attachment(adapter.path(), of, &Limits::default()).expect("it is an adapter");
    let bases = [("a", gone), ("b", model(&store, "base").digest), ("c", gone)];
    for (name, of) in bases {
        super::import(&store, name, attachment(of), &PlanOptions::default(), 1);
    }
    let before = bases.map(|(name, _)| model(&store, name));
    // The third tells of the base that is gone.
    for name in ["b", "base"] {
        cut(&store, &model(&store, name).manifest.config.digest);
    }
    let of_model = base.open().expect("it is one");
    assert_eq!(repair(&store, of_model, &options(&["base"]), &Silent).expect("it can be").repaired.len(), 1);
    assert_eq!(mend(&store, attachment(gone)), (1, Vec::new()));
    cut(&store, &model(&store, "b").manifest.config.digest);
    assert_eq!(mend(&store, attachment(Digest::of(b"another"))), (1, Vec::new()));
    assert_eq!(bases.map(|(name, _)| model(&store, name)), before);
    let named = bases.map(|(name, _)| model(&store, name).config.base.map(|base| base.digest));
    assert_eq!(named, bases.map(|(_, of)| Some(of)));
}

fn options(names: &[&str]) -> RepairOptions {
    let names = names.iter().map(|name| name.parse().expect("it is a name")).collect();
    RepairOptions { names, ..RepairOptions::default() }
}
