//! Imports that fail, and the state that they leave.

use std::{
    fs::{self, File},
    sync::atomic::{AtomicUsize, Ordering},
};

use longshore_manifest::{Progress, Store};
use longshore_packer::{ImportError, ImportOptions, Plan, ReadError, Source};
use longshore_quant::Profile;
use longshore_st_format::Dtype;

use crate::{
    stores::{StopAfter, files, import_as, is_clean, name, store, threads, try_import},
    support::{Dir, chain, fixture, plan},
};

/// A store that holds a model, and another model to be imported.
struct Setting {
    _dir: Dir,
    source: Source,
    plan: Plan,
    _target: Dir,
    store: Store,
}

impl Setting {
    fn new(scheme: &str) -> Self {
        let (dir, target, other) = (fixture("gpt-oss"), Dir::new(), fixture("llama"));
        let store = store(&target);
        import_as(&store, "other", &other.open().expect("a fixture is a model"), "none");
        let source = dir.open().expect("a fixture is a model");
        let plan = plan(&source, scheme, "default");
        Self { _dir: dir, source, plan, _target: target, store }
    }

    /// Runs an import that must fail, and checks that the store is as it was.
    fn fails(&self, options: &ImportOptions) -> ImportError {
        let before = files(self.store.root());
        let error = try_import(&self.store, "m", &self.plan, options).expect_err("it cannot be imported");
        assert_eq!(files(self.store.root()), before, "{}", chain(&error));
        is_clean(&self.store);
        error
    }
}

#[test]
fn a_source_that_shrinks() {
    let setting = Setting::new("int4");
    let shard = &setting.source.shards[0];
    let of_first = setting.source.tensors.iter().filter(|tensor| tensor.shard == 0);
    let last = of_first.max_by_key(|tensor| tensor.range.end).expect("the shard has tensors");
    File::options()
        .write(true)
        .open(&shard.path)
        .and_then(|file| file.set_len(last.range.end - 1))
        .expect("it is ours");
    let error = setting.fails(&ImportOptions::default());
    let ImportError::Read(ReadError::Changed { path, tensor, expected, found }) = &error else { panic!("{error:?}") };
    assert_eq!((path, tensor, *expected, *found), (&shard.path, &last.name, shard.file_len, last.range.end - 1));
}

#[test]
fn a_source_that_vanishes() {
    let setting = Setting::new("none");
    fs::remove_file(&setting.source.shards[0].path).expect("it is ours");
    let error = setting.fails(&threads(2));
    let ImportError::Read(ReadError::Open { path, tensor, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(path, &setting.source.shards[0].path);
    let first = setting.source.tensors.iter().find(|tensor| tensor.shard == 0);
    assert_eq!(Some(tensor), first.map(|tensor| &tensor.name));
    assert!(error.to_string().contains(tensor));
}

/// Truncates the weight files after the import has begun.
struct CutMeanwhile<'s>(&'s Source, AtomicUsize);

impl Progress for CutMeanwhile<'_> {
    fn advance(&self, _: u64) {
        if self.1.fetch_add(1, Ordering::Relaxed) == 0 {
            for shard in &self.0.shards {
                let file = File::options().write(true).open(&shard.path);
                file.and_then(|file| file.set_len(100)).expect("it is ours");
            }
        }
    }
}

#[test]
fn a_source_that_shrinks_meanwhile() {
    let setting = Setting::new("none");
    let before = files(setting.store.root());
    let progress = CutMeanwhile(&setting.source, AtomicUsize::new(0));
    let Setting { store, plan, .. } = &setting;
    let error = plan.import(store, &name("m"), &threads(2), &progress).expect_err("most of it is gone");
    let ImportError::Read(ReadError::Read { path, tensor, .. }) = &error else { panic!("{error:?}") };
    let found = setting.source.tensors.iter().find(|found| found.name == *tensor).expect("it is of the source");
    assert_eq!(*path, setting.source.shards[found.shard].path);
    assert!(chain(&error).contains("the file ends before byte"), "{}", chain(&error));
    assert_eq!(files(store.root()), before);
    is_clean(store);
}

#[test]
fn a_companion_that_changes_or_vanishes() {
    let setting = Setting::new("none");
    let file = &setting.source.companions[0];
    let len = fs::read(&file.path).expect("it is there").len();
    for (contents, words) in [
        (vec![b' '; len + 1], format!("it has more, expected the {len}")),
        (vec![b' '; len - 1], format!("it has {} bytes, expected the {len}", len - 1)),
    ] {
        fs::write(&file.path, contents).expect("it is ours");
        let error = setting.fails(&ImportOptions::default());
        assert!(matches!(&error, ImportError::Companion { path, .. } if *path == file.path), "{error:?}");
        assert!(chain(&error).contains(&words), "{}", chain(&error));
    }
    fs::remove_file(&file.path).expect("it is ours");
    assert!(matches!(setting.fails(&threads(1)), ImportError::Companion { path, .. } if path == file.path));
}

#[test]
fn every_profile_imports() {
    for scheme in ["none", "int4", "nvfp4"] {
        let setting = Setting::new(scheme);
        for profile in Profile::ALL {
            let options = ImportOptions { profile, ..ImportOptions::default() };
            try_import(&setting.store, "m", &setting.plan, &options).expect("it has kernels");
            is_clean(&setting.store);
        }
    }
}

#[test]
fn it_stops_when_told_to() {
    let setting = Setting::new("int8");
    let before = files(setting.store.root());
    let Setting { store, plan, .. } = &setting;
    for bytes in [0, 1, plan.source_bytes() / 2, plan.source_bytes()] {
        for count in [1, 4] {
            let stopped = plan.import(store, &name("m"), &threads(count), &StopAfter::new(bytes));
            assert!(matches!(stopped, Err(ImportError::Cancelled)), "{stopped:?}");
            assert_eq!(files(store.root()), before);
            is_clean(store);
        }
    }
    // A stop that lies beyond the end of all files has no effect.
    let progress = StopAfter::new(u64::from(u32::MAX));
    plan.import(store, &name("m"), &threads(4), &progress).expect("nobody stops it");
}

#[test]
fn numbers_that_are_not_finite() {
    let (dir, target) = (Dir::new(), Dir::new());
    dir.file("config.json", "{}");
    let mut values = [0x3f80_u16; 64 * 64];
    values[70] = 0x7f80;
    values[64 * 64 - 1] = 0x7fc0;
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    dir.bytes("model.safetensors", &[("a.weight", Dtype::BF16, &[64, 64], &bytes)]);
    let (source, store) = (dir.open().expect("it is a model"), store(&target));
    let quantized = plan(&source, "int4", "uniform");
    let error = try_import(&store, "m", &quantized, &ImportOptions::default()).expect_err("it is not finite");
    assert!(matches!(&error, ImportError::NonFinite { tensor, count: 2 } if tensor == "a.weight"), "{error:?}");
    assert_eq!(store.names().expect("it is ours"), []);
    is_clean(&store);

    let options = ImportOptions { allow_non_finite: true, ..ImportOptions::default() };
    let outcome = try_import(&store, "m", &quantized, &options).expect("it is allowed");
    assert_eq!(
        outcome.warnings,
        [r#"tensor "a.weight": elements that are infinite or NaN, and spoil their groups: 2"#]
    );
    // A tensor that is not quantized may hold infinities and NaNs.
    let kept = try_import(&store, "n", &plan(&source, "none", "default"), &ImportOptions::default());
    assert!(kept.expect("it is kept as it is").warnings.is_empty());
    is_clean(&store);
}

#[test]
fn what_quantization_loses_is_told_in_the_order_of_the_plan() {
    let (dir, target) = (Dir::new(), Dir::new());
    dir.file("config.json", "{}");
    // Values below half of the smallest scale times the smallest code.
    let tiny: Vec<u8> = (0..64 * 64).flat_map(|at: u16| (at % 2).to_le_bytes()).collect();
    let names = ["z.weight", "a.weight", "l.experts.1.w.weight", "l.experts.0.w.weight"];
    let tensors = names.map(|name| (name, Dtype::F16, &[64, 64][..], &tiny[..]));
    dir.bytes("model.safetensors", &tensors);
    let (source, store) = (dir.open().expect("it is a model"), store(&target));
    let plan = plan(&source, "nvfp4", "uniform");
    let mut found = Vec::new();
    for count in [1, 4] {
        let model = format!("m{count}");
        let outcome = try_import(&store, &model, &plan, &threads(count)).expect("it can be imported");
        found.push(outcome.warnings);
    }
    assert_eq!(
        found[0],
        [
            r#"tensor "a.weight": groups that underflow to zero: 256"#,
            r#"tensor "z.weight": groups that underflow to zero: 256"#,
            r#"tensor "l.experts.w.weight": groups that underflow to zero: 512"#,
        ]
    );
    assert_eq!(found[0], found[1]);
}
