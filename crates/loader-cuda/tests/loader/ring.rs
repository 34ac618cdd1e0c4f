//! Slots are used again only when the device has read them: copies run as late as they can.

use longshore_fake_cuda_driver::Behaviour;
use longshore_loader_cuda::{Device, LoadOptions, Loader, LoaderOptions};
use longshore_manifest::weights::plan::Selection;

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
