//! Tests of the cache on the system's threads: its contents, bounds, and a fault in every fetch.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use longshore_experts::{
    CacheError, CacheOptions, ExpertCache, ExpertFiles, ExpertKey, ExpertMap, ExpertRange, ExpertSource, Guard, Host,
};
use longshore_manifest::weights::Source;
use longshore_st_format::fixtures;

/// Files of which the read with this number fails or panics.
#[derive(Debug)]
struct Faulty {
    files: ExpertFiles,
    failing: u64,
    panics: bool,
    reads: AtomicU64,
    is_closed: AtomicBool,
}

impl Faulty {
    fn wait_until_open(&self) {
        while self.is_closed.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl ExpertSource for Faulty {
    fn read(&self, range: &ExpertRange, into: &mut [u8]) -> io::Result<()> {
        self.wait_until_open();
        if self.reads.fetch_add(1, Ordering::SeqCst) == self.failing {
            assert!(!self.panics, "injected");
            return Err(io::Error::other("injected"));
        }
        self.files.read(range, into)
    }
}

struct Model {
    _dir: tempfile::TempDir,
    source: Source,
    map: Arc<ExpertMap>,
}

fn model() -> Model {
    let dir = tempfile::tempdir().unwrap();
    fixtures::model("qwen3-moe").write(dir.path()).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let map = Arc::new(ExpertMap::new(&source).unwrap());
    Model { _dir: dir, source, map }
}

impl Model {
    fn faulty(&self, failing: u64, panics: bool) -> Arc<Faulty> {
        let files = ExpertFiles::open(&self.source, &self.map).unwrap();
        Arc::new(Faulty { files, failing, panics, reads: AtomicU64::new(0), is_closed: AtomicBool::new(false) })
    }

    fn cache(&self, source: Arc<Faulty>, options: &CacheOptions) -> Result<ExpertCache<Host>, CacheError> {
        ExpertCache::new(Arc::clone(&self.map), source, Host, options)
    }

    /// Whether every part of every expert is that of the files.
    fn check(&self, guard: &Guard<Host>) {
        let files = ExpertFiles::open(&self.source, &self.map).unwrap();
        for expert in guard.experts() {
            assert_eq!(expert.parts().len(), self.map.parts(expert.key()).unwrap().len());
            for part in expert.parts() {
                let mut bytes = vec![0; usize::try_from(part.range.len()).unwrap()];
                files.read(&part.range, &mut bytes).unwrap();
                let found = expert.slot().part(part);
                assert!(found == bytes, "{}", expert.key());
                assert_eq!(found.as_ptr().addr() % 64, 0);
            }
        }
    }
}

fn options(slots: usize, pinned: &[(u32, u32)]) -> CacheOptions {
    let pinned = pinned.iter().map(|(layer, expert)| ExpertKey::new(*layer, *expert)).collect();
    CacheOptions { slots, pinned, threads: 2, ..CacheOptions::default() }
}

#[test]
fn experts_come_whole_and_the_latest_stay() {
    let model = model();
    let cache = model.cache(model.faulty(u64::MAX, false), &options(3, &[(1, 0)])).unwrap();
    assert_eq!((cache.slots(), cache.free_slots()), (3, 2));
    for (experts, hits, misses) in [([2, 3], 0, 2), ([3, 2], 2, 2), ([2, 5], 3, 3), ([2, 3], 4, 4)] {
        let guard = cache.acquire(0, &experts).unwrap();
        model.check(&guard);
        assert_eq!(guard.experts().iter().map(|expert| expert.key().expert).collect::<Vec<_>>(), experts);
        let total = cache.stats().total();
        assert_eq!((total.hits, total.misses, total.late), (hits, misses, 0));
    }
    model.check(&cache.acquire(1, &[0]).unwrap());
    assert_eq!(cache.stats().layers[&1].hits, 1);
    let bytes = model.map.bytes(ExpertKey::new(0, 2)).unwrap();
    assert_eq!(cache.stats().layers[&0].miss_bytes, 4 * bytes);
    assert!(cache.slot_bytes() >= bytes);
}

#[test]
fn a_request_for_more_than_there_is_says_so_or_comes_in_parts() {
    let model = model();
    let cache = model.cache(model.faulty(u64::MAX, false), &options(3, &[(0, 7)])).unwrap();
    let held = cache.acquire(0, &[1]).unwrap();
    let error = cache.acquire(0, &[1, 2, 3, 7]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "layer 0: 2 more slots are needed, but 1 of 3 are neither pinned nor held: drop guards, ask in parts, or make more slots"
    );
    let mut seen = Vec::new();
    cache
        .acquire_in_parts(0, &[0, 1, 2, 7, 3], |guard| {
            model.check(&guard);
            seen.extend(guard.experts().iter().map(|expert| expert.key().expert));
        })
        .unwrap();
    assert_eq!(seen, [0, 1, 2, 7, 3]);
    drop(held);
    let _all = cache.acquire(0, &[1, 2]).unwrap();
    assert!(matches!(cache.acquire_in_parts(0, &[3], drop), Err(CacheError::TooMany { free: 0, .. })));
    assert!(matches!(cache.acquire(0, &[8]), Err(CacheError::Unknown { key: ExpertKey { layer: 0, expert: 8 } })));
    assert!(matches!(cache.acquire(0, &[1, 1]), Err(CacheError::Twice { .. })));
    assert!(matches!(cache.prefetch(9, &[1], None), Err(CacheError::Unknown { .. })));
}

#[test]
fn options_that_cannot_be_met_are_refused() {
    let model = model();
    let make = |options: &CacheOptions| model.cache(model.faulty(u64::MAX, false), options).unwrap_err();
    assert!(matches!(make(&options(0, &[])), CacheError::Options { .. }));
    assert!(matches!(make(&options(1, &[(0, 0), (0, 1)])), CacheError::Options { slots: 1, pinned: 2, .. }));
    assert!(matches!(make(&CacheOptions { threads: 0, ..options(1, &[]) }), CacheError::Options { threads: 0, .. }));
    assert!(matches!(make(&options(2, &[(0, 0), (0, 0)])), CacheError::Twice { .. }));
    assert!(matches!(make(&options(2, &[(0, 8)])), CacheError::Unknown { .. }));
    let bytes = model.cache(model.faulty(u64::MAX, false), &options(1, &[])).unwrap().slot_bytes();
    let within = CacheOptions { budget: Some(3 * bytes), ..options(3, &[]) };
    assert!(model.cache(model.faulty(u64::MAX, false), &within).is_ok());
    let over = CacheOptions { budget: Some(3 * bytes - 1), ..options(3, &[]) };
    assert!(matches!(make(&over), CacheError::Budget { slots: 3, .. }));
}

#[test]
fn what_is_fetched_ahead_is_a_hit_or_late_or_wasted() {
    let model = model();
    let source = model.faulty(u64::MAX, false);
    let cache = model.cache(Arc::clone(&source), &CacheOptions { threads: 1, ..options(2, &[]) }).unwrap();
    source.is_closed.store(true, Ordering::SeqCst);
    assert_eq!(cache.prefetch(0, &[1], None).unwrap().len(), 1);
    // One is on its way or waits for it, whatever the thread did until now.
    assert!(cache.prefetch(0, &[1], None).unwrap().is_empty());
    let waits = cache.prefetch(0, &[2, 3, 4], None).unwrap();
    assert!((1..=2).contains(&waits.len()));
    let late = thread::scope(|scope| {
        let late = scope.spawn(|| model.check(&cache.acquire(0, &[1]).unwrap()));
        while cache.stats().total().late == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert!((1..=2).contains(&waits.cancel()));
        source.is_closed.store(false, Ordering::SeqCst);
        late.join()
    });
    late.unwrap();
    let total = cache.stats().total();
    assert_eq!((total.requests(), total.late, total.wasted), (1, 1, 0));

    let prefetched = total.prefetched;
    drop(cache.prefetch(0, &[5], None).unwrap());
    while cache.stats().total().prefetched == prefetched {
        thread::sleep(Duration::from_millis(1));
    }
    // Nobody uses it, and it goes.
    for expert in [6, 7, 6] {
        drop(cache.acquire(0, &[expert]).unwrap());
    }
    let total = cache.stats().total();
    assert_eq!((total.wasted, total.hits, total.misses), (1, 1, 2));
    assert_eq!(total.wasted_bytes, model.map.bytes(ExpertKey::new(0, 5)).unwrap());
    // What is too late before it begins is dropped.
    let reads = source.reads.load(Ordering::SeqCst);
    let ticket = cache.prefetch(0, &[0, 1], Some(Instant::now())).unwrap();
    drop(cache.acquire(0, &[6]).unwrap());
    drop(cache);
    assert_eq!((ticket.len(), source.reads.load(Ordering::SeqCst)), (2, reads));
}

/// Uses every part of the interface. Returns the errors of fetches.
fn script(model: &Model, cache: &ExpertCache<Host>) -> Vec<CacheError> {
    let mut errors = Vec::new();
    let mut note = |result: Result<(), CacheError>| errors.extend(result.err());
    note(cache.acquire(0, &[1, 2]).map(|guard| model.check(&guard)));
    note(cache.prefetch(1, &[4, 5], None).map(drop));
    note(cache.acquire(1, &[4]).map(|guard| model.check(&guard)));
    note(cache.acquire_in_parts(1, &[0, 1, 2, 3, 4, 5], |guard| model.check(&guard)));
    note(cache.acquire(0, &[2, 3]).map(|guard| model.check(&guard)));
    errors
}

#[test]
fn a_fault_in_every_fetch_is_one_error_and_nothing_else() {
    let model = model();
    let whole = model.faulty(u64::MAX, false);
    let cache = model.cache(Arc::clone(&whole), &options(4, &[(0, 0)])).unwrap();
    assert!(script(&model, &cache).is_empty());
    drop(cache);
    let reads = whole.reads.load(Ordering::SeqCst);
    assert!(reads > 30, "{reads}");
    for (failing, panics) in (0..reads).flat_map(|failing| [(failing, false), (failing, true)]) {
        let source = model.faulty(failing, panics);
        let is_fetch = |error: &CacheError| {
            let CacheError::Fetch { key, blob, source } = error else { return false };
            let ranges = model.map.ranges(*key).unwrap();
            ranges.iter().any(|range| range.blob == *blob) && !source.to_string().is_empty()
        };
        let cache = match model.cache(Arc::clone(&source), &options(4, &[(0, 0)])) {
            Ok(cache) => cache,
            Err(error) => {
                assert!(is_fetch(&error), "{error}");
                continue;
            }
        };
        let errors = script(&model, &cache);
        assert!(errors.len() <= 1 && errors.iter().all(is_fetch), "{errors:?}");
        // Everything is free again, and there.
        assert_eq!(cache.free_slots(), 3);
        assert!(script(&model, &cache).is_empty());
        let total = cache.stats().total();
        assert!(total.failed <= 1 && total.wasted <= total.prefetched);
    }
}

#[test]
fn many_threads_share_a_cache() {
    let model = model();
    let cache = model.cache(model.faulty(u64::MAX, false), &options(6, &[(0, 0), (1, 7)])).unwrap();
    thread::scope(|scope| {
        for worker in 0..4_u32 {
            let (cache, model) = (&cache, &model);
            scope.spawn(move || {
                for turn in 0..40_u32 {
                    let (layer, expert) = ((worker + turn) % 2, (worker * 3 + turn * 5) % 8);
                    let _ = cache.prefetch(1 - layer, &[expert], None).unwrap();
                    match cache.acquire(layer, &[expert]) {
                        Ok(guard) => model.check(&guard),
                        Err(CacheError::TooMany { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(cache.free_slots(), 4);
    let total = cache.stats().total();
    assert!(total.requests() == 160 && total.wasted <= total.prefetched);
}
