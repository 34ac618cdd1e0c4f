//! A crash at any time leaves the state before or after an operation, and no file stays for good.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    replay::{Disk as Crashed, Tree},
    scenario::{SCENARIOS, Scenario, age, buried, go_on, quick, scratch, try_quick},
};
use crate::{
    fs::{
        Disk,
        record::{Done, Recording},
    },
    store::Store,
};

/// Number of entries that are not durable up to which all subsets are tried.
fn exhaustive() -> usize {
    if std::env::var_os("LONGSHORE_EXHAUSTIVE").is_some() { 10 } else { 5 }
}

/// Runs a scenario and returns the store's root, its files before, and every change.
fn record(scenario: &Scenario, can_sync_all: bool) -> (PathBuf, Tree, Vec<Done>) {
    let dir = scratch();
    (scenario.before)(&quick(dir.path()));
    let before = read(dir.path());
    let recording = Arc::new(Recording::new(can_sync_all));
    let store = Store::open_on(dir.path().join("store"), Disk::of(recording.clone())).unwrap();
    (scenario.act)(&store).unwrap();
    scenario.check(&quick(dir.path())).unwrap();
    let log = std::mem::take(&mut *recording.log.lock().unwrap());
    (dir.path().to_path_buf(), before, log)
}

/// Checks all states that a crash may leave. Returns their number, and descriptions of the first bad ones.
fn crash(scenario: &Scenario, root: &Path, before: &Tree, log: &[Done]) -> (usize, Vec<String>) {
    let (mut count, mut bad) = (0, Vec::new());
    Crashed::new(root, before, log).states(exhaustive(), |steps, tree| {
        count += 1;
        if bad.len() < 3 {
            let dir = scratch();
            write(dir.path(), tree);
            let works = |store: Store| scenario.check(&store).and_then(|()| go_on(&store));
            if let Err(error) = try_quick(dir.path()).and_then(works) {
                let last = log.get(steps.wrapping_sub(1));
                bad.push(format!("{}, after step {steps}, {last:?}: {error}", scenario.what));
            }
        }
    });
    (count, bad)
}

fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let content = (!path.is_dir()).then(|| fs::read(&path).unwrap());
            tree.insert(path.strip_prefix(root).unwrap().to_path_buf(), content.clone());
            if content.is_none() {
                todo.push(path);
            }
        }
    }
    tree
}

/// Creates the files as the next start of the system finds them.
fn write(root: &Path, tree: &Tree) {
    for (path, content) in tree {
        // This process did not survive the crash, so its temporaries have an owner of another boot.
        let path =
            root.join(path.components().map(|part| buried(part.as_os_str().to_str().unwrap())).collect::<PathBuf>());
        match content {
            None => fs::create_dir(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
    }
    let tmp = root.join("store/tmp");
    if tmp.exists() {
        // Where owners cannot be identified, the age of temporaries decides.
        age(&tmp);
    }
}

fn survives(can_sync_all: bool, scenarios: &[Scenario]) {
    for scenario in scenarios {
        let (root, before, log) = record(scenario, can_sync_all);
        let (count, bad) = crash(scenario, &root, &before, &log);
        assert!(bad.is_empty(), "{bad:#?}");
        assert!(count > log.len() / 2, "{}: {count} states of {} steps", scenario.what, log.len());
    }
}

#[test]
fn imports_survive_where_one_call_syncs_everything() {
    survives(true, &SCENARIOS[..4]);
}

#[test]
fn imports_survive_where_each_file_is_synced() {
    survives(false, &SCENARIOS[..4]);
}

#[test]
fn the_rest_survives_where_one_call_syncs_everything() {
    survives(true, &SCENARIOS[4..]);
}

#[test]
fn the_rest_survives_where_each_file_is_synced() {
    survives(false, &SCENARIOS[4..]);
}

/// The tests of crashes must notice if any sync is left out. Otherwise they would prove nothing.
#[test]
fn every_sync_that_is_left_out_is_found() {
    let without = |at: usize, can_sync_all: bool, is_left_out: &dyn Fn(&Done) -> bool| {
        let (root, before, mut log) = record(&SCENARIOS[at], can_sync_all);
        let length = log.len();
        log.retain(|done| !is_left_out(done));
        assert!(log.len() < length);
        let (_, bad) = crash(&SCENARIOS[at], &root, &before, &log);
        !bad.is_empty()
    };
    let of_dir = |done: &Done, end: &str| matches!(done, Done::SyncDir(path) if path.ends_with(end));
    // Scenario 0, the first import: contents, the blobs' names, the marker, the directories above the manifest.
    assert!(without(0, true, &|done| *done == Done::SyncAll));
    assert!(without(0, false, &|done| matches!(done, Done::SyncFile(_))));
    assert!(without(0, true, &|done| of_dir(done, "blobs")));
    assert!(without(
        0,
        true,
        &|done| matches!(done, Done::SyncFile(path) if path.parent().is_some_and(|dir| dir.ends_with("tmp")))
    ));
    // Scenario 1, another import, and the import of a new version.
    assert!(without(1, true, &|done| *done == Done::SyncAll));
    assert!(without(2, false, &|done| of_dir(done, "blobs")));
    // A removal must be durable before blobs are deleted.
    assert!(without(5, true, &|done| matches!(done, Done::SyncDir(_))));
    // A replacement of a manifest must be durable too.
    assert!(without(2, true, &|done| of_dir(done, "m")));
    // It is not known whether a file that was taken over is durable.
    assert!(without(7, true, &|done| matches!(done, Done::SyncAll)));
}
