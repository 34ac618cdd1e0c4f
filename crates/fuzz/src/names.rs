//! Tests the texts that become paths: model names, paths of companion files, and digests.

use std::path::{Component, Path, PathBuf};

use longshore_manifest::{Digest, ModelName, RelativePath, Store};

/// Tests `data` as a model's name.
pub(super) fn model_name(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(name) = text.parse::<ModelName>() else { return };
    assert_eq!(name.to_string().parse(), Ok(name.clone()));
    assert_eq!(
        ModelName::from_parts(name.host(), name.namespace(), name.model(), name.tag()),
        Some(name.clone()),
        "the parts are the name"
    );
    stays_below(&name.path(), 4);
    let store = Store::open("a store that does not exist").expect("a missing directory is an empty store");
    assert_eq!(store.manifest_path(&name), store.root().join("manifests").join(name.path()));
}

/// Tests `data` as the path of a companion file.
pub(super) fn relative_path(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(path) = RelativePath::parse(text) else { return };
    assert_eq!(path.as_str(), text);
    check_path(&path);
}

/// Tests `data` as a digest, and as the name of a blob's file.
pub(super) fn digest(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text, "a digest has one spelling");
        assert_eq!(Digest::from_file_name(&digest.file_name()), Some(digest));
    }
    if let Some(digest) = Digest::from_file_name(text) {
        assert_eq!(digest.file_name(), text, "a blob has one file");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        stays_below(Path::new(&digest.file_name()), 1);
    }
}

/// Checks the promises of a relative path.
pub(super) fn check_path(path: &RelativePath) {
    let joined: PathBuf = path.segments().collect();
    stays_below(&joined, path.segments().count());
    stays_below(Path::new(path.as_str()), path.segments().count());
}

/// Checks that every component of `path` goes one step down.
fn stays_below(path: &Path, depth: usize) {
    let is_normal = |part: &Component<'_>| matches!(part, Component::Normal(name) if *name != ".." && *name != ".");
    assert!(path.components().all(|part| is_normal(&part)), "{} leaves its directory", path.display());
    assert_eq!(path.components().count(), depth, "{}", path.display());
}
