//! Two at once, in every order: one goes up to some change, the other up to some other, then the first to its end, and then the
//! second.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use super::{
    super::Store,
    scenario::{A, B, C, age, collect, entries, import, name, quick, remove, scratch, stopping, text},
};
use crate::{Digest, Silent, store::VerifyOptions};

type Act = fn(&Store) -> Result<(), String>;

/// A pair, the store that it works on, and the names that must be there afterwards.
struct Pair {
    before: fn(&Store),
    acts: [Act; 2],
    names: &'static [&'static str],
    /// Whether the first may say that what it needs is gone.
    may_fail: bool,
}

/// Where one waits, and what for.
struct Stop {
    at: usize,
    reached: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

fn run(pair: &Pair, order: [usize; 2], at: [usize; 2]) -> [usize; 2] {
    let dir = scratch();
    (pair.before)(&quick(dir.path()));
    if dir.path().join("store").exists() {
        age(&dir.path().join("store"));
    }
    let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let actor = |who: usize, stop: Option<Stop>| {
        let count = counts[who].clone();
        let store = stopping(dir.path(), move |number, _| {
            count.store(number, Ordering::Relaxed);
            if let Some(stop) = stop.as_ref().filter(|stop| stop.at == number) {
                let _ = stop.reached.send(());
                let _ = stop.go_on.lock().unwrap().recv();
            }
        });
        move || pair.acts[who](&store)
    };
    let (first, second) = (order[0], order[1]);
    let done = std::thread::scope(|scope| {
        let ((reached, is_reached), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
        let one = scope.spawn(actor(first, Some(Stop { at: at[0], reached, go_on: Mutex::new(may_go_on) })));
        // At its stop, or at its end.
        let _ = is_reached.recv();
        let ((reached, is_reached), (two_go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
        let two = scope.spawn(actor(second, Some(Stop { at: at[1], reached, go_on: Mutex::new(may_go_on) })));
        let _ = is_reached.recv();
        drop(go_on);
        let one = one.join().unwrap();
        drop(two_go_on);
        [one, two.join().unwrap()]
    });
    let what = format!("{order:?} at {at:?}: {done:?}");
    for (who, done) in order.iter().zip(&done) {
        assert!(done.is_ok() || *who == 0 && pair.may_fail, "{what}");
    }
    let store = quick(dir.path());
    let bad = store.verify(&VerifyOptions::default(), &Silent).unwrap().bad;
    assert!(bad.is_empty(), "{what}: {bad:?}");
    let all = done.iter().all(Result::is_ok);
    assert!(pair.names.iter().all(|text| !all || store.model(&name(text)).is_ok()), "{what}");
    assert!(entries(&store.temporary()).is_empty(), "{what}");
    collect(&store).unwrap();
    let reached = store.names().unwrap().into_iter().flat_map(|name| {
        let model = store.model(&name).unwrap();
        model.manifest.blobs().map(|blob| blob.digest.file_name()).collect::<Vec<_>>()
    });
    assert_eq!(entries(&store.blobs()), reached.collect(), "{what}");
    counts.map(|count| count.load(Ordering::Relaxed))
}

/// Tries every pair of stops, in both orders. How many there are depends on what the other one has done before.
fn everywhere(pair: &Pair) {
    for order in [[0, 1], [1, 0]] {
        let (mut first, mut last_first) = (0, 0);
        while first <= last_first {
            let (mut second, mut last_second) = (0, 0);
            while second <= last_second {
                let counts = run(pair, order, [first, second]);
                last_first = last_first.max(counts[order[0]]);
                last_second = last_second.max(counts[order[1]]);
                second += 1;
            }
            first += 1;
        }
    }
}

fn reuse(store: &Store) -> Result<(), String> {
    import(store, "n", &[A, B])
}

fn with_orphans(store: &Store) {
    import(store, "m", &[C]).unwrap();
    for content in [A.1, B.1] {
        std::fs::write(store.blob_path(&Digest::of(content)), content).unwrap();
    }
}

#[test]
fn an_import_reuses_what_is_being_collected() {
    everywhere(&Pair { before: with_orphans, acts: [reuse, collect], names: &["m", "n"], may_fail: false });
}

#[test]
fn an_import_reuses_what_is_being_removed() {
    let before = |store: &Store| import(store, "m", &[A, B]).unwrap();
    let pair = Pair { before, acts: [reuse, |store| remove(store, "m")], names: &["n"], may_fail: false };
    everywhere(&pair);
}

#[test]
fn a_copy_of_what_is_being_removed_is_whole_or_refused() {
    let before = |store: &Store| import(store, "m", &[A]).unwrap();
    let copy: Act = |store| store.copy(&name("m"), &name("n")).map(drop).map_err(|error| text(&error));
    everywhere(&Pair { before, acts: [copy, |store| remove(store, "m")], names: &["n"], may_fail: true });
}

#[test]
fn a_blob_is_reused_while_its_only_name_gets_a_new_version() {
    let before = |store: &Store| import(store, "m", &[A, B]).unwrap();
    everywhere(&Pair { before, acts: [reuse, |store| import(store, "m", &[C])], names: &["m", "n"], may_fail: false });
}

#[test]
fn two_collect() {
    everywhere(&Pair { before: with_orphans, acts: [collect, collect], names: &["m"], may_fail: false });
}

#[test]
fn one_collects_and_one_removes() {
    let before = |store: &Store| {
        import(store, "n", &[A]).unwrap();
        with_orphans(store);
    };
    everywhere(&Pair { before, acts: [collect, |store| remove(store, "n")], names: &["m"], may_fail: false });
}

#[test]
fn two_import_the_same() {
    everywhere(&Pair { before: |_| {}, acts: [reuse, reuse], names: &["n"], may_fail: false });
}
