//! Two operations at once, in every order. The first runs up to one of its changes, the second up to one of its own,
//! then the first completes, then the second. Or the first runs on to a point between two readings, and waits there
//! until the second has completed.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use super::{
    super::Store,
    scenario::{A, B, C, age, collect, entries, import, name, quick, remove, scratch, stopping, text},
};
use crate::{Digest, Silent, fs::record::BETWEEN_READS, store::VerifyOptions};

type Act = fn(&Store) -> Result<(), String>;

/// Two operations, the store on which they run, and the names that must be there afterwards.
struct Pair {
    before: fn(&Store),
    acts: [Act; 2],
    names: &'static [&'static str],
    /// Whether the first operation may fail because a blob that it needs is gone.
    may_fail: bool,
}

/// Point at which an operation waits.
struct Stop {
    at: usize,
    /// Whether it also waits the next time that it is between two readings.
    again: bool,
    /// Number of times that it has waited.
    waits: AtomicUsize,
    reached: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Stop {
    /// Makes a stop, with a receiver that reports that it is reached, and a sender that lets the operation continue.
    fn new(at: usize, again: bool) -> (Self, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((reached, is_reached), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
        let stop = Self { at, again, waits: AtomicUsize::new(0), reached, go_on: Mutex::new(may_go_on) };
        (stop, is_reached, go_on)
    }

    fn pass(&self, number: usize, path: &Path) {
        let is_here = match self.waits.load(Ordering::Relaxed) {
            0 => number == self.at,
            1 => self.again && path == Path::new(BETWEEN_READS),
            _ => false,
        };
        if is_here {
            self.waits.fetch_add(1, Ordering::Relaxed);
            let _ = self.reached.send(());
            let _ = self.go_on.lock().unwrap().recv();
        }
    }
}

fn run(pair: &Pair, order: [usize; 2], at: [usize; 2], again: bool) -> [usize; 2] {
    let dir = scratch();
    (pair.before)(&quick(dir.path()));
    if dir.path().join("store").exists() {
        age(&dir.path().join("store"));
    }
    let counts = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
    let actor = |who: usize, stop: Stop| {
        let count = counts[who].clone();
        let store = stopping(dir.path(), move |number, path| {
            count.store(number, Ordering::Relaxed);
            stop.pass(number, path);
        });
        move || pair.acts[who](&store)
    };
    let done = std::thread::scope(|scope| {
        // Each wait ends when the other operation stops or completes.
        let (stop, one_is_reached, one_goes_on) = Stop::new(at[0], again);
        let one = scope.spawn(actor(order[0], stop));
        let _ = one_is_reached.recv();
        let (stop, two_is_reached, two_goes_on) = Stop::new(at[1], false);
        let two = scope.spawn(actor(order[1], stop));
        let _ = two_is_reached.recv();
        let _ = one_goes_on.send(());
        if again {
            let _ = one_is_reached.recv();
            drop(two_goes_on);
            let two = two.join().unwrap();
            drop(one_goes_on);
            [one.join().unwrap(), two]
        } else {
            let one = one.join().unwrap();
            drop(two_goes_on);
            [one, two.join().unwrap()]
        }
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

/// Tries every pair of stops, in both orders.
fn everywhere(pair: &Pair) {
    for order in [[0, 1], [1, 0]] {
        everywhere_in(pair, order, false);
    }
}

/// Tries every pair of stops. The number of stops depends on what the other operation has done before.
fn everywhere_in(pair: &Pair, order: [usize; 2], again: bool) {
    let (mut first, mut last_first) = (0, 0);
    while first <= last_first {
        let (mut second, mut last_second) = (0, 0);
        while second <= last_second {
            let counts = run(pair, order, [first, second], again);
            last_first = last_first.max(counts[order[0]]);
            last_second = last_second.max(counts[order[1]]);
            second += 1;
        }
        first += 1;
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

/// An import that wrote its line in time may place its manifest and give up its lease while a deleting process is
/// between two readings.
#[test]
fn an_import_ends_between_the_readings_of_who_deletes() {
    everywhere_in(
        &Pair { before: with_orphans, acts: [reuse, collect], names: &["m", "n"], may_fail: false },
        [1, 0],
        true,
    );
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
