//! Experts in slots of device memory.

use std::{io, sync::Arc};

use longshore_experts::{CacheOptions, ExpertCache, ExpertFiles, ExpertMap, ExpertSource, Guard, SLOT_ALIGNMENT};
use longshore_fake_cuda_driver::{Behaviour, Control};
use longshore_loader_cuda::{Device, Driver, ExpertSlots};
use longshore_manifest::weights::Source;
use longshore_st_format::fixtures;
use tempfile::TempDir;

use crate::util::driver;

struct Model {
    map: Arc<ExpertMap>,
    files: Arc<ExpertFiles>,
    _dir: TempDir,
}

fn model() -> Model {
    let dir = tempfile::tempdir().unwrap();
    fixtures::model("qwen3-moe").write(dir.path()).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let map = Arc::new(ExpertMap::new(&source).unwrap());
    let files = Arc::new(ExpertFiles::open(&source, &map).unwrap());
    Model { map, files, _dir: dir }
}

impl Model {
    /// A cache with three slots, filled through buffers of so many bytes.
    fn cache(&self, driver: &Driver, buffer_bytes: usize) -> io::Result<ExpertCache<ExpertSlots>> {
        let device = Device::of(driver, 0).map_err(io::Error::other)?;
        let options = CacheOptions { slots: 3, threads: 2, ..CacheOptions::default() };
        let slots = ExpertSlots::new(&device, buffer_bytes);
        let files: Arc<dyn ExpertSource> = self.files.clone();
        ExpertCache::new(Arc::clone(&self.map), files, slots, &options).map_err(io::Error::other)
    }

    /// Returns whether every part of every expert is that of the files.
    fn check(&self, guard: &Guard<ExpertSlots>) -> io::Result<()> {
        for expert in guard.experts() {
            for part in expert.parts() {
                let mut bytes = vec![0; usize::try_from(part.range.len()).unwrap()];
                self.files.read(&part.range, &mut bytes).unwrap();
                assert!(expert.slot().read(part).map_err(io::Error::other)? == bytes, "{}", expert.key());
                assert_eq!(expert.slot().address(part) % SLOT_ALIGNMENT, 0);
            }
        }
        Ok(())
    }

    /// Has six experts come to three slots.
    fn run(&self, driver: &Driver, buffer_bytes: usize) -> io::Result<()> {
        let cache = self.cache(driver, buffer_bytes)?;
        for experts in [[2, 3], [3, 2], [2, 5], [7, 1]] {
            let guard = cache.acquire(0, &experts).map_err(io::Error::other)?;
            self.check(&guard)?;
        }
        Ok(())
    }
}

fn assert_nothing_is_left(control: &Control, what: &str) {
    let left = control.counters();
    assert_eq!(
        (left.contexts, left.device, left.host, left.streams, left.events, left.hazards),
        (0, 0, 0, 0, 0, 0),
        "{what}"
    );
}

#[test]
fn experts_come_whole_in_pieces_of_any_size() {
    let model = model();
    let (control, driver) = driver();
    for deferred in [false, true] {
        for buffer_bytes in [1 << 20, 1000, 96] {
            control.behave(&Behaviour { deferred, ..Behaviour::default() });
            model.run(&driver, buffer_bytes).unwrap();
            assert_nothing_is_left(&control, &format!("{deferred}, {buffer_bytes}"));
        }
    }
}

#[test]
fn a_call_that_fails_is_an_error_and_leaves_nothing_behind() {
    let model = model();
    let (control, driver) = driver();
    control.behave(&Behaviour { deferred: true, ..Behaviour::default() });
    model.run(&driver, 4096).unwrap();
    let calls: Vec<_> = Driver::symbols().iter().map(|function| (*function, control.calls(function))).collect();
    let mut failures = 0;
    for (function, count) in calls {
        let every = (count / 20).max(1);
        for nth in (1..=count).filter(|nth| *nth <= 4 || nth % every == 0) {
            control.behave(&Behaviour { deferred: true, fault: Some((function, nth, 700)), ..Behaviour::default() });
            // The failing call may free something, or be one call fewer in this run.
            failures += usize::from(model.run(&driver, 4096).is_err());
            assert_nothing_is_left(&control, &format!("{function}, call {nth}"));
        }
    }
    assert!(failures > 20, "{failures}");
}
