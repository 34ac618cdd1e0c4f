//! Checks that slots are reused only after the device has read them: copies run as late as possible.

use longshore_fake_cuda_driver::Behaviour;
use longshore_loader_cuda::{Device, LoadOptions, Loader, LoaderOptions};
use longshore_manifest::weights::{OpenOptions, Weights, plan::Selection};

use crate::util::{driver, model, options};

#[test]
fn a_copy_that_runs_late_finds_its_bytes() {
    let fixture = model();
    let (control, driver) = driver();
    for (threads, slots, streams) in [(1, 1, 1), (1, 2, 2), (2, 2, 2), (4, 3, 3)] {
        control.behave(&Behaviour { deferred: true, ..Behaviour::default() });
        {
            let made = LoaderOptions { threads, slots_per_thread: slots, streams, ..options() };
            let loader = Loader::new(&Device::of(&driver, 0).unwrap(), &made).unwrap();
            for _ in 0..3 {
                let options = LoadOptions { reuse: false, ..Default::default() };
                let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &options).unwrap();
                fixture.assert_same(&weights);
            }
        }
        control.assert_clean();
    }
}

#[test]
fn a_device_without_memory_takes_every_copy_and_keeps_none() {
    let fixture = model();
    let (control, driver) = driver();
    let counts = [false, true].map(|hollow| {
        control.behave(&Behaviour { hollow, capacity: usize::MAX >> 1, ..Behaviour::default() });
        let loader = Loader::new(&Device::of(&driver, 0).unwrap(), &options()).unwrap();
        let weights = loader.load(&fixture.store, &fixture.model, &Selection::default(), &LoadOptions::default());
        let weights = weights.unwrap();
        let found = weights.get("model.embed_tokens.weight").unwrap().weight();
        let host = Weights::open(&fixture.store, &fixture.model, &OpenOptions::default()).unwrap();
        let stored = host.get("model.embed_tokens.weight").unwrap().weight();
        assert_eq!(found.to_host().unwrap() == stored.data, !hollow);
        (control.counters().copies, control.counters().copied, weights.report().read_bytes)
    });
    assert_eq!(counts[0], counts[1]);
    control.assert_clean();
}
