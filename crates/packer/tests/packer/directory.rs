//! The directory of an export: its state before, and after success and failure.

use std::{fs, path::Path};

use longshore_manifest::{Descriptor, Progress, Silent, Store, weights::WeightsError};
use longshore_packer::{ExportError, ExportOptions, export};

use crate::{
    stores::{StopAfter, dequantize, export_to, files, import_as, read, store, try_export},
    support::{Dir, chain, fixture, open},
};

fn stored(target: &Dir, scheme: &str) -> Store {
    let dir = fixture("qwen3-moe");
    let store = store(target);
    import_as(&store, "m", &dir.open().expect("a fixture is a model"), scheme);
    store
}

fn fails(store: &Store, out: &Path) -> ExportError {
    try_export(store, "m", out, &ExportOptions::default()).expect_err("it cannot be exported")
}

fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("it is ours").map(|entry| entry.expect("it is ours").file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

#[test]
fn one_that_holds_something_is_refused() {
    let target = Dir::new();
    let store = stored(&target, "none");
    target.file("out/mine.txt", "mine");
    let error = fails(&store, &target.join("out"));
    assert!(matches!(&error, ExportError::NotEmpty { dir } if *dir == target.join("out")), "{error:?}");
    assert_eq!(entries(&target.join("out")), ["mine.txt"]);
    assert_eq!(entries(target.path()), ["out", "store"]);
}

#[test]
fn what_is_no_directory_is_refused() {
    let target = Dir::new();
    let store = stored(&target, "none");
    target.file("file", "mine");
    let refused = |out: &str, what: &str| {
        let error = fails(&store, &target.join(out));
        let is_told = matches!(&error, ExportError::NotADirectory { path } if *path == target.join(what));
        assert!(is_told, "{out}: {error:?}");
        assert!(chain(&error).ends_with(&format!("{what} is not a directory")), "{}", chain(&error));
    };
    for out in ["file", "file/", "file/out", "file/a/b/out"] {
        refused(out, "file");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("nowhere", target.join("link")).expect("it is ours");
        for out in ["link", "link/", "link/out"] {
            refused(out, "link");
        }
        fs::remove_file(target.join("link")).expect("it is ours");
    }
    assert_eq!(entries(target.path()), ["file", "store"]);
}

/// Neither the store itself nor anything in it is a place for an export, by whatever path it is named, and no other
/// store is.
#[test]
fn one_in_a_store_is_refused() {
    let (target, other) = (Dir::new(), Dir::new());
    let store = stored(&target, "none");
    other.file("ollama/manifests/x", "");
    other.file("ollama/blobs/x", "");
    other.file("ours/longshore.json", "{}");
    let before = (files(target.path()), files(other.path()));
    let mut places = vec![
        target.join("store"),
        target.join("store/out"),
        target.join("store/blobs"),
        target.join("store/manifests/a/b"),
        target.join("out/../store/out"),
        other.join("ollama/out"),
        other.join("ours/a/b/c"),
    ];
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(target.join("store"), target.join("link")).expect("it is ours");
        places.extend([target.join("link"), target.join("link/out"), target.join("link/../store/out")]);
    }
    for out in places {
        let error = fails(&store, &out);
        assert!(matches!(&error, ExportError::InStore { dir, .. } if *dir == out), "{}: {error:?}", out.display());
    }
    #[cfg(unix)]
    fs::remove_file(target.join("link")).expect("it is ours");
    assert_eq!((files(target.path()), files(other.path())), before);
    export_to(&store, "m", &target.join("store-2/out"), &ExportOptions::default());
}

#[test]
fn files_that_clash_are_refused() {
    let target = Dir::new();
    let store = stored(&target, "none");
    let model = read(&store, "m");
    let layer = model.manifest.layers.iter().find(|layer| layer.is_file()).expect("there is one").clone();
    for (names, path, shard_bytes) in [
        (&["model.safetensors"][..], "model.safetensors", u64::MAX),
        (&["model.safetensors/a.json"], "model.safetensors/a.json", u64::MAX),
        (&["model.safetensors.index.json"], "model.safetensors.index.json", u64::MAX),
        (&["model.safetensors.index.json"], "model.safetensors.index.json", 100_000),
        (&["model-00001-of-00002.safetensors"], "model-00001-of-00002.safetensors", 1_100_000),
        (&["config.json"], "config.json", u64::MAX),
        (&["config.json/a"], "config.json", u64::MAX),
        (&["x/y/z", "x/y"], "x/y", u64::MAX),
    ] {
        let mut model = model.clone();
        for name in names {
            model.manifest.layers.push(Descriptor { name: Some((*name).to_owned()), ..layer.clone() });
        }
        let options = ExportOptions { shard_bytes, ..ExportOptions::default() };
        let error = export(&store, &model, &target.join("out"), &options, &Silent).expect_err("they clash");
        assert!(matches!(&error, ExportError::Clash { path: found, .. } if found == path), "{names:?}: {error:?}");
        assert!(std::error::Error::source(&error).is_none(), "the machine is not at fault");
        assert_eq!(entries(target.path()), ["store"]);
    }
}

#[test]
fn empty_ones_and_new_ones_are_filled() {
    let target = Dir::new();
    let store = stored(&target, "none");
    fs::create_dir(target.join("empty")).expect("it is ours");
    let (empty, new, trailing) = (target.join("empty"), target.join("a/b/new"), target.join("new/"));
    for out in [&empty, &new, &trailing] {
        export_to(&store, "m", out, &ExportOptions::default());
        open(out).expect("it is a model");
    }
    assert_eq!(files(&empty), files(&new));
    assert_eq!(entries(&empty), entries(&trailing));
    assert_eq!(entries(target.path()), ["a", "empty", "new", "store"]);
    assert_eq!(entries(&target.join("a/b")), ["new"]);
}

#[cfg(unix)]
#[test]
fn a_link_to_an_empty_one_stays_a_link() {
    let target = Dir::new();
    let store = stored(&target, "none");
    fs::create_dir(target.join("real")).expect("it is ours");
    std::os::unix::fs::symlink("real", target.join("link")).expect("it is ours");
    export_to(&store, "m", &target.join("link"), &ExportOptions::default());
    assert!(target.join("link").is_symlink());
    open(&target.join("real")).expect("it is a model");
}

#[cfg(unix)]
#[test]
fn files_can_be_written_by_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;

    let target = Dir::new();
    let store = stored(&target, "none");
    let out = target.join("out");
    export_to(&store, "m", &out, &ExportOptions::default());
    for name in files(&out).keys() {
        let mode = out.join(name).metadata().expect("it is ours").permissions().mode();
        assert_eq!(mode & 0o600, 0o600, "{name} has mode {mode:o}");
    }
}

#[test]
fn what_killed_exports_have_left_is_swept() {
    let target = Dir::new();
    let store = stored(&target, "none");
    // Partial directories of another export, and files with similar names, stay.
    for left in [".out.1-0.partial", ".out.4194305-3.partial", ".other.1-0.partial", ".out.mine.partial"] {
        target.file(&format!("{left}/model.safetensors"), "cut off");
    }
    target.file("empty/.export.77-0.partial/model.safetensors", "cut off");
    target.file(".empty.1-0.partial/model.safetensors", "cut off");
    export_to(&store, "m", &target.join("out"), &ExportOptions::default());
    export_to(&store, "m", &target.join("empty"), &ExportOptions::default());
    let swept = cfg!(unix);
    assert_eq!(target.join(".out.1-0.partial").exists(), !swept);
    assert_eq!(target.join(".out.4194305-3.partial").exists(), !swept);
    assert_eq!(target.join(".empty.1-0.partial").exists(), !swept);
    assert!(target.join(".other.1-0.partial").exists() && target.join(".out.mine.partial").exists());
    assert_eq!(files(&target.join("empty")), files(&target.join("out")));
}

#[test]
fn one_that_is_stopped_leaves_nothing() {
    let target = Dir::new();
    let store = stored(&target, "int4");
    let model = read(&store, "m");
    fs::create_dir(target.join("empty")).expect("it is ours");
    for out in [target.join("new"), target.join("empty")] {
        for (bytes, shard_bytes) in [(0, u64::MAX), (1, u64::MAX), (500_000, 100_000), (1_000_000, 1)] {
            let mut options = dequantize(longshore_quant::FloatType::F32);
            options.shard_bytes = shard_bytes;
            let stopped = export(&store, &model, &out, &options, &StopAfter::new(bytes));
            assert!(matches!(&stopped, Err(ExportError::Cancelled { dir }) if *dir == out), "{stopped:?}");
            assert_eq!(entries(target.path()), ["empty", "store"]);
            assert_eq!(entries(&target.join("empty")), [""; 0]);
        }
    }
}

#[test]
fn one_that_cannot_be_written() {
    let target = Dir::new();
    let store = stored(&target, "none");
    // No user can create anything there, whatever the permissions.
    if Path::new("/proc/self").exists() {
        let error = fails(&store, Path::new("/proc/out"));
        assert!(matches!(&error, ExportError::Write { path, .. } if path.starts_with("/proc")), "{error:?}");
    }
    assert_eq!(entries(target.path()), ["store"]);
}

#[test]
fn quantized_tensors_are_refused_unless_they_are_to_be_decoded() {
    let target = Dir::new();
    let store = stored(&target, "int4");
    let error = fails(&store, &target.join("out"));
    assert!(matches!(error, ExportError::Quantized { count: 1.., .. }), "{error:?}");
    assert_eq!(entries(target.path()), ["store"]);
}

#[test]
fn damaged_stores() {
    let target = Dir::new();
    let store = stored(&target, "none");
    let model = read(&store, "m");
    let layer = |test: fn(&longshore_manifest::Descriptor) -> bool| {
        model.manifest.layers.iter().rfind(|layer| test(layer)).expect("there is one").clone()
    };
    for layer in [layer(longshore_manifest::Descriptor::is_tensor), layer(longshore_manifest::Descriptor::is_file)] {
        let path = store.blob_path(&layer.digest);
        let whole = fs::read(&path).expect("it is there");
        let mut more = whole.clone();
        more.push(0);
        // Blobs are read-only, so the file is replaced instead of changed.
        for contents in [None, Some(&whole[..whole.len() - 1]), Some(&more)] {
            let _ = fs::remove_file(&path);
            if let Some(contents) = contents {
                fs::write(&path, contents).expect("the directory is ours");
            }
            let error = fails(&store, &target.join("out"));
            let is_told = match &error {
                ExportError::Size { path: found, found: size, expected, .. } => {
                    *found == path && *size != *expected && *expected == layer.size
                }
                ExportError::Read { path: found, .. }
                | ExportError::Weights(WeightsError::Short { path: found, .. }) => *found == path,
                ExportError::Weights(WeightsError::Blob { digest, .. }) => *digest == layer.digest,
                _ => false,
            };
            assert!(is_told, "{}", chain(&error));
            assert_eq!(entries(target.path()), ["store"]);
        }
        fs::remove_file(&path).expect("the directory is ours");
        fs::write(&path, whole).expect("the directory is ours");
    }
    export_to(&store, "m", &target.join("out"), &ExportOptions::default());
}

/// Cuts the blobs of tensors short once the export has checked them.
#[cfg(unix)]
struct CutBlobs<'s>(&'s Store);

#[cfg(unix)]
impl Progress for CutBlobs<'_> {
    fn begin(&self, _: &'static str, _: u64) {
        let model = read(self.0, "m");
        for layer in model.manifest.layers.iter().filter(|layer| layer.is_tensor()) {
            let path = self.0.blob_path(&layer.digest);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            fs::set_permissions(&path, mode).expect("it is ours");
            fs::File::options().write(true).open(&path).and_then(|file| file.set_len(100)).expect("it is ours");
        }
    }
}

#[cfg(unix)]
#[test]
fn a_blob_that_is_cut_short_meanwhile_is_to_blame() {
    let target = Dir::new();
    let store = stored(&target, "int4");
    let progress = CutBlobs(&store);
    let options = ExportOptions { dequantize: Some(longshore_quant::FloatType::BF16), ..ExportOptions::default() };
    let error = export(&store, &read(&store, "m"), &target.join("out"), &options, &progress).expect_err("it is short");
    let ExportError::Read { path, source, .. } = &error else { panic!("{}", chain(&error)) };
    assert!(path.starts_with(store.root().join("blobs")), "{}", path.display());
    assert_eq!(source.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(source.to_string().starts_with("it has 100 bytes, expected at least "), "{source}");
    assert_eq!(entries(target.path()), ["store"]);
}

#[cfg(unix)]
#[test]
fn exports_to_one_place_do_not_harm_each_other() {
    let target = Dir::new();
    let store = stored(&target, "none");
    let out = target.join("out");
    let attempt = || try_export(&store, "m", &out, &ExportOptions::default()).map_err(|error| chain(&error));
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(attempt)).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert_eq!(entries(target.path()), ["out", "store"]);
    export_to(&store, "m", &target.join("alone"), &ExportOptions::default());
    assert_eq!(files(&out), files(&target.join("alone")));
}
