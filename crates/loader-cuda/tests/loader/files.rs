//! Tests of blobs that are missing, truncated, replaced or corrupt, and of loads that are cancelled.

use std::{
    fs,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use longshore_fake_cuda_driver::Behaviour;
use longshore_loader_cuda::{ColdReads, CudaError, LoadOptions, Loader};
use longshore_manifest::{Digest, Progress, document::TensorTable, weights::plan::Selection};
use longshore_st_format::Dtype;

use crate::util::{Fixture, Given, driver, loader, model};

const TENSOR: &str = "model.layers.1.q_proj.weight";

fn load(loader: &Loader, fixture: &Fixture, options: &LoadOptions<'_>) -> CudaError {
    loader.load(&fixture.store, &fixture.model, &Selection::default(), options).unwrap_err()
}

/// Changes a blob with `change`, loads, and returns the error. Checks that nothing stays allocated and that the loader
/// still works.
fn error_of(change: impl FnOnce(&Path), options: &LoadOptions<'_>) -> (CudaError, PathBuf) {
    let fixture = model();
    let path = fixture.blob(TENSOR);
    let (control, driver) = driver();
    let error = {
        let loader = loader(&driver);
        let before = fs::read(&path).unwrap();
        writable(&path);
        change(&path);
        let error = load(&loader, &fixture, options);
        assert_eq!(control.counters().device, 0);
        let _ = fs::remove_file(&path);
        let _ = fs::remove_dir(&path);
        fs::write(&path, before).unwrap();
        let weights =
            loader.load(&fixture.store, &fixture.model, &Selection::default(), &LoadOptions::default()).unwrap();
        fixture.assert_same(&weights);
        error
    };
    control.assert_clean();
    (error, path)
}

fn writable(path: &Path) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "in a test's own directory")]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).unwrap();
}

#[test]
fn a_blob_that_is_gone_or_cut_names_its_tensor() {
    let options = LoadOptions::default();
    let (error, at) = error_of(|path| fs::remove_file(path).unwrap(), &options);
    let CudaError::Read { action: "open", path, tensor, .. } = &error else { panic!("{error}") };
    assert_eq!((path, tensor.as_str()), (&at, TENSOR));

    let (error, at) =
        error_of(|path| fs::File::options().write(true).open(path).unwrap().set_len(200).unwrap(), &options);
    let CudaError::Short { path, tensor, found: 200, expected } = &error else { panic!("{error}") };
    assert_eq!((path, tensor.as_str()), (&at, TENSOR));
    assert!(*expected > 200);

    let (error, _) = error_of(
        |path| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        },
        &options,
    );
    assert!(error.to_string().contains(TENSOR), "{error}");
}

#[test]
fn a_digest_that_differs_is_found_where_asked() {
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let options = LoadOptions { verify: true, ..Default::default() };
    let (error, at) = error_of(flip, &options);
    let CudaError::Digest { path, tensor, found, expected } = &error else { panic!("{error}") };
    assert_eq!((path, tensor.as_str()), (&at, TENSOR));
    assert_ne!(found, expected);

    // Also in the header, of which nothing is loaded, and in bytes after the last tensor.
    let (error, _) = error_of(
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[9] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        &options,
    );
    assert!(matches!(error, CudaError::Digest { .. }), "{error}");
    let (error, _) = error_of(
        |path| {
            let mut bytes = fs::read(path).unwrap();
            bytes.push(0);
            fs::write(path, bytes).unwrap();
        },
        &options,
    );
    assert!(matches!(error, CudaError::Digest { .. }), "{error}");
}

#[test]
fn a_large_blob_is_verified_by_its_chunks() {
    let fixture = Fixture::new("demo:large", &[vec![Given::plain("w", Dtype::U8, &[40 << 20])]]);
    let (control, driver) = driver();
    let options = LoadOptions { verify: true, ..Default::default() };
    {
        let loader = loader(&driver);
        let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap();
        assert_eq!((weights.report().verified_blobs, weights.report().verified_by_chunks), (1, 1));
        fixture.assert_same(&weights);
        drop(weights);
        // A wrong list of a good blob.
        let mut model = fixture.model.clone();
        let mut table = TensorTable::clone(model.config.longshore.as_ref().unwrap());
        table.blobs[0].chunks.as_mut().unwrap().digests[1] = Digest::of(b"");
        model.config.longshore = Some(table.into());
        let error = loader.load(&fixture.store, &model, &Selection::default(), &options).unwrap_err();
        let CudaError::Chunks { bytes, .. } = &error else { panic!("{error}") };
        assert_eq!(*bytes, 16 << 20..32 << 20);
        // A damaged blob: in its last chunk, in its header, and one that is longer.
        let path = fixture.blob("w");
        let right = fs::read(&path).unwrap();
        writable(&path);
        for (at, longer) in [(right.len() - 1, false), (9, false), (0, true)] {
            let mut bytes = right.clone();
            if longer {
                bytes.push(0);
            } else {
                bytes[at] ^= 1;
            }
            fs::write(&path, bytes).unwrap();
            let error = load(&loader, &fixture, &options);
            assert!(matches!(error, CudaError::Digest { .. }), "{error}");
        }
        assert_eq!(control.counters().device, 0);
    }
    control.assert_clean();
}

/// Progress that acts once, when `after` bytes are loaded.
struct Midway<F> {
    after: u64,
    done: AtomicU64,
    acted: AtomicBool,
    act: F,
}

impl<F> Midway<F> {
    fn new(after: u64, act: F) -> Self {
        Self { after, done: AtomicU64::new(0), acted: AtomicBool::new(false), act }
    }
}

impl<F: Fn() -> bool + Sync> Progress for Midway<F> {
    fn advance(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
    fn cancelled(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.after && !self.acted.swap(true, Ordering::Relaxed) && (self.act)()
    }
}

#[test]
fn a_load_stops_when_it_is_told_to() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let loader = loader(&driver);
        for after in [0, 10_000, 40_000] {
            let progress = Midway::new(after, || true);
            let options = LoadOptions { progress: &progress, ..Default::default() };
            assert!(matches!(load(&loader, &fixture, &options), CudaError::Cancelled));
            assert_eq!(control.counters().device, 0);
        }
    }
    control.assert_clean();
}

#[test]
fn a_panic_of_who_is_told_leaves_no_copy_behind() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let loader = loader(&driver);
        for cold in [None, Some(ColdReads::Direct), Some(ColdReads::DirectRing)] {
            control.behave(&Behaviour { deferred: true, ..Behaviour::default() });
            if cold.is_some() {
                evict_all(&fixture);
            }
            let progress = Midway::new(20_000, || panic!("by a test"));
            let options = LoadOptions { progress: &progress, cold: cold.unwrap_or_default(), ..Default::default() };
            let load = || loader.load(&fixture.store, &fixture.model, &Selection::default(), &options);
            std::panic::catch_unwind(AssertUnwindSafe(load)).unwrap_err();
            assert_eq!((control.counters().device, control.counters().hazards), (0, 0));
            let options = LoadOptions::default();
            fixture.assert_same(&loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap());
        }
    }
    control.assert_clean();
}

#[test]
fn a_blob_that_changes_midway_is_found() {
    let fixture = model();
    // The largest blob, so that it takes several pieces.
    let path = fixture.blob("model.embed_tokens.weight");
    writable(&path);
    let before = fs::read(&path).unwrap();
    let (control, driver) = driver();
    {
        let loader = loader(&driver);
        let cut = || {
            fs::File::options().write(true).open(&path).unwrap().set_len(12_000).unwrap();
            false
        };
        let grow = || {
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_len(before.len() as u64 + 1).unwrap();
            false
        };
        let exchange = || {
            let other = path.with_extension("other");
            fs::write(&other, &before).unwrap();
            fs::rename(&other, &path).unwrap();
            false
        };
        let changes: [&(dyn Fn() -> bool + Sync); 3] = [&cut, &grow, &exchange];
        for (at, change) in changes.into_iter().enumerate() {
            fs::write(&path, &before).unwrap();
            let progress = Midway::new(1, change);
            let options = LoadOptions { progress: &progress, ..Default::default() };
            let result = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options);
            match result {
                Err(CudaError::Changed { tensor, .. } | CudaError::Short { tensor, .. }) => {
                    assert_eq!(tensor, "model.embed_tokens.weight");
                }
                Err(error) => panic!("{error}"),
                // Both threads may have opened the blob before it was replaced. They have then read the right file.
                Ok(weights) => {
                    assert_eq!(at, 2);
                    fixture.assert_same(&weights);
                }
            }
            assert_eq!(control.counters().device, 0);
        }
    }
    control.assert_clean();
}

#[test]
fn cold_bytes_are_the_same_bytes() {
    let fixture = model();
    let (_control, driver) = driver();
    let loader = loader(&driver);
    let ways = [ColdReads::Direct, ColdReads::DirectRing, ColdReads::Buffered];
    for (cold, verify) in ways.into_iter().flat_map(|cold| [(cold, false), (cold, true)]) {
        evict_all(&fixture);
        let options = LoadOptions { cold, verify, reuse: false, ..Default::default() };
        let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap();
        fixture.assert_same(&weights);
        let report = weights.report();
        assert!(report.ring_bytes <= report.direct_bytes && report.direct_bytes <= report.read_bytes + 100_000);
        match cold {
            ColdReads::Buffered => assert_eq!(report.direct_bytes, 0),
            ColdReads::Direct => assert_eq!(report.ring_bytes, 0),
            _ => {}
        }
    }
    // Bytes that are in memory by now are not read past the page cache.
    let options = LoadOptions { reuse: false, ..Default::default() };
    let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap();
    assert_eq!(weights.report().direct_bytes, 0);
}

fn evict_all(fixture: &Fixture) {
    for blob in &fixture.model.manifest.layers {
        evict(&fixture.store.blob_path(&blob.digest));
    }
}

/// Drops the file from the page cache, where the system supports it.
fn evict(path: &Path) {
    let file = fs::File::open(path).unwrap();
    let _ = file.sync_all();
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
}
