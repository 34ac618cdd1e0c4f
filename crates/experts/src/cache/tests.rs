//! The threads of the cache in every order that matters: loom runs them.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use longshore_manifest::{
    Digest,
    document::{BlobEntry, Facts, Import, Part, Role, TensorEntry, TensorTable},
};
use longshore_st_format::{Dtype, Shape};
use loom::thread;

use super::*;
use crate::{ExpertKey, ExpertMap, ExpertRange};

/// Layer 0 has four experts of 8 bytes, each full of its number.
const EXPERTS: u64 = 4;
const BYTES: u64 = 8;

/// Bytes of the model, of which the reads with these numbers fail.
#[derive(Debug, Default)]
struct Bytes {
    failing: Vec<usize>,
    reads: AtomicUsize,
    /// Slots that were ever made.
    slots: Mutex<usize>,
}

impl ExpertSource for Bytes {
    fn read(&self, range: &ExpertRange, into: &mut [u8]) -> io::Result<()> {
        // Another thread may run here.
        thread::yield_now();
        let number = self.reads.fetch_add(1, Ordering::SeqCst);
        if self.failing.contains(&number) {
            return Err(io::Error::other("injected"));
        }
        into.fill(u8::try_from(range.offset / BYTES).expect("there are few experts"));
        Ok(())
    }
}

/// Host memory that counts its slots.
#[derive(Debug)]
struct Counted(Arc<Bytes>);

impl SlotDevice for Counted {
    type Slot = HostSlot;

    fn allocate(&self, bytes: u64) -> io::Result<HostSlot> {
        *self.0.slots.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Host.allocate(bytes)
    }

    fn fill(&self, slot: &mut HostSlot, parts: &[SlotPart], read: &mut ReadRange<'_>) -> io::Result<()> {
        Host.fill(slot, parts, read)
    }
}

fn map() -> Arc<ExpertMap> {
    let shape = Shape::new([EXPERTS, BYTES, 1]);
    let (role, dtype, length) = (Role::Weight, Dtype::U8, EXPERTS * BYTES);
    let part = Part { role, dtype, shape: shape.clone(), offset: 0, length, blob: None };
    let tensor = TensorEntry::new("model.layers.0.mlp.experts.up_proj.weight", dtype, shape, vec![part]);
    let blob = BlobEntry::new(Digest::of(b"experts"), vec![tensor]);
    let table = TensorTable::new(Facts::default(), Import::default(), vec![blob]);
    Arc::new(ExpertMap::of_table(Arc::new(table), None).expect("it has experts"))
}

/// Runs `body` with a cache of so many slots and threads in every order with at most two preemptions.
fn model(
    (slots, threads, pinned): (usize, usize, &'static [u32]),
    failing: &'static [usize],
    body: impl Fn(&Arc<ExpertCache<Counted>>) + Sync + Send + 'static,
) {
    let map = map();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let source = Arc::new(Bytes { failing: failing.to_vec(), ..Bytes::default() });
        let pinned = pinned.iter().map(|expert| ExpertKey::new(0, *expert)).collect();
        let options = CacheOptions { slots, threads, pinned, budget: Some(64 * slots as u64) };
        let counted = Counted(Arc::clone(&source));
        let cache = ExpertCache::new(Arc::clone(&map), Arc::clone(&source) as _, counted, &options);
        let cache = Arc::new(cache.expect("the options can be met"));
        body(&cache);
        let total = cache.stats().total();
        assert!(total.wasted <= total.prefetched && total.wasted_bytes <= total.prefetched_bytes);
        drop(cache);
        assert!(*source.slots.lock().expect("nothing panics") <= slots);
        // The threads have ended: nobody else has the source but the device and this function.
        assert_eq!(Arc::strong_count(&source), 1);
    });
}

/// Whether every expert of a guard has its own bytes.
fn check(guard: &Guard<Counted>) {
    for expert in guard.experts() {
        let [part] = expert.parts() else { panic!("an expert is one part") };
        assert!(expert.slot().part(part).iter().all(|byte| u32::from(*byte) == expert.key().expert));
    }
}

/// Acquires experts, and checks that their slots stay as they are while another thread runs.
fn hold(cache: &ExpertCache<Counted>, experts: &[u32]) -> Result<(), CacheError> {
    let guard = cache.acquire(0, experts)?;
    check(&guard);
    thread::yield_now();
    check(&guard);
    Ok(())
}

#[test]
fn a_slot_stays_while_a_guard_has_it() {
    model((1, 1, &[]), &[], |cache| {
        let other = Arc::clone(cache);
        let thread = thread::spawn(move || hold(&other, &[0]));
        for result in [hold(cache, &[1]), thread.join().expect("it does not panic")] {
            match result {
                Ok(()) | Err(CacheError::TooMany { layer: 0, asked: 1, free: 0, slots: 1 }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        hold(cache, &[2]).expect("nobody holds the slot");
        assert_eq!(cache.free_slots(), 1);
    });
}

#[test]
fn an_expert_that_two_ask_for_is_fetched_once() {
    model((2, 1, &[]), &[], |cache| {
        let other = Arc::clone(cache);
        let thread = thread::spawn(move || hold(&other, &[0]).expect("there is room"));
        hold(cache, &[0]).expect("there is room");
        thread.join().expect("it does not panic");
        let total = cache.stats().total();
        assert_eq!((total.requests(), total.misses, total.hits + total.late), (2, 1, 1));
    });
}

#[test]
fn all_who_wait_learn_of_a_failure_and_the_next_request_tries_again() {
    model((2, 1, &[]), &[0], |cache| {
        let other = Arc::clone(cache);
        let thread = thread::spawn(move || hold(&other, &[0]));
        let results = [hold(cache, &[0]), thread.join().expect("it does not panic")];
        let failed = results.iter().filter(|result| matches!(result, Err(CacheError::Fetch { .. }))).count();
        assert!(failed >= 1 && results.iter().filter(|result| result.is_ok()).count() + failed == 2);
        hold(cache, &[0]).expect("the second read does not fail");
        assert_eq!((cache.free_slots(), cache.stats().total().failed), (2, 1));
    });
}

#[test]
fn a_failure_gives_back_what_came_with_it() {
    model((2, 1, &[]), &[0], |cache| {
        assert!(matches!(hold(cache, &[0, 1]), Err(CacheError::Fetch { .. })));
        assert_eq!(cache.free_slots(), 2);
        hold(cache, &[2, 3]).expect("all slots are free");
    });
}

#[test]
fn what_is_cancelled_is_there_for_those_who_asked() {
    model((1, 1, &[]), &[], |cache| {
        let ticket = cache.prefetch(0, &[0], None).expect("there is such an expert");
        let thread = thread::spawn(move || ticket.cancel());
        hold(cache, &[0]).expect("nobody holds the slot");
        assert!(thread.join().expect("it does not panic") <= 1);
        hold(cache, &[1]).expect("nobody holds the slot");
    });
}

#[test]
fn what_is_fetched_ahead_never_stands_in_the_way() {
    model((2, 2, &[3]), &[], |cache| {
        let ticket = cache.prefetch(0, &[0, 1, 3], None).expect("there are such experts");
        assert!(ticket.len() <= 2);
        hold(cache, &[2, 3]).expect("one slot is free, and the other has the pinned expert");
    });
}

#[test]
fn a_cache_ends_with_work_left() {
    model((2, 1, &[]), &[1], |cache| {
        cache.prefetch(0, &[0, 1], None).expect("there are such experts");
    });
}

#[test]
fn a_guard_outlives_its_cache() {
    let map = map();
    loom::model(move || {
        let options = CacheOptions { slots: 1, threads: 1, ..CacheOptions::default() };
        let source = Arc::new(Bytes::default());
        let counted = Counted(Arc::clone(&source));
        let cache = ExpertCache::new(Arc::clone(&map), source, counted, &options).expect("the options can be met");
        let guard = cache.acquire(0, &[2]).expect("there is room");
        drop(cache);
        check(&guard);
    });
}
