//! Makes every call of the driver fail once, at every occurrence: each failure is an error, and nothing stays
//! allocated.

use longshore_fake_cuda_driver::{Behaviour, Control};
use longshore_loader_cuda::{CudaError, CudaWeights, Device, Driver, LoadOptions, Loader};
use longshore_manifest::weights::plan::Selection;

use crate::util::{Fixture, driver, model, options};

/// Creates a loader and loads the model.
fn load(fixture: &Fixture, driver: &Driver) -> Result<CudaWeights, CudaError> {
    let loader = Loader::new(&Device::of(driver, 0)?, &options())?;
    loader.load(&fixture.store, &fixture.model, &Selection::default(), &LoadOptions::default())
}

fn behave(control: &Control, deferred: bool, fault: Option<(&'static str, u64, i32)>) {
    control.behave(&Behaviour { deferred, fault, ..Behaviour::default() });
}

#[test]
fn a_call_that_fails_leaves_nothing_behind() {
    let fixture = model();
    let (control, driver) = driver();
    let mut failures = 0;
    for deferred in [false, true] {
        behave(&control, deferred, None);
        load(&fixture, &driver).unwrap().release().unwrap();
        let calls: Vec<_> = Driver::symbols().iter().map(|function| (*function, control.calls(function))).collect();
        for (function, count) in calls {
            // Threads take turns in any order, so the counts vary a little. The first and the last calls are all tried.
            let every = (count / 40).max(1);
            for nth in (1..=count).filter(|nth| *nth <= 20 || *nth + 20 > count || nth % every == 0) {
                behave(&control, deferred, Some((function, nth, 700)));
                let loaded = load(&fixture, &driver);
                let is_reached = control.calls(function) >= nth;
                match loaded {
                    Err(error) => {
                        failures += 1;
                        assert_names_the_cause(&error, function);
                    }
                    // The failing call frees something, or comes later, or does not happen in this run.
                    Ok(weights) if is_reached => drop(weights.release()),
                    Ok(weights) => {
                        behave(&control, deferred, None);
                        fixture.assert_same(&weights);
                        weights.release().unwrap();
                    }
                }
                let left = control.counters();
                assert_eq!(
                    (left.contexts, left.device, left.host, left.streams, left.events, left.hazards),
                    (0, 0, 0, 0, 0, 0),
                    "{function}, call {nth}, deferred {deferred}, reached {is_reached}"
                );
            }
        }
    }
    assert!(failures > 100, "{failures}");
}

fn assert_names_the_cause(error: &CudaError, function: &str) {
    let source = match error {
        CudaError::Setup { source, .. } => source,
        CudaError::Copy { source, tensor, .. } | CudaError::Allocate { source, tensor, .. } => {
            assert!(tensor.starts_with("model."), "{error}");
            source
        }
        other => panic!("{function}: {other}"),
    };
    assert_eq!((source.call, source.code), (function, 700));
    assert_eq!(source.name, "CUDA_ERROR_ILLEGAL_ADDRESS");
}

#[test]
fn a_loader_works_again_after_a_failure() {
    let fixture = model();
    let (control, driver) = driver();
    {
        let loader = Loader::new(&Device::of(&driver, 0).unwrap(), &options()).unwrap();
        for function in ["cuMemAlloc_v2", "cuMemcpyHtoDAsync_v2", "cuEventRecord", "cuEventSynchronize"] {
            for nth in [1, 2, 5] {
                behave(&control, true, Some((function, nth, 700)));
                let load =
                    || loader.load(&fixture.store, &fixture.model, &Selection::default(), &LoadOptions::default());
                if nth == 1 || function != "cuMemAlloc_v2" {
                    load().unwrap_err();
                }
                assert_eq!(control.counters().device, 0);
                behave(&control, true, None);
                fixture.assert_same(&load().unwrap());
            }
        }
    }
    control.assert_clean();
}

#[test]
fn memory_that_is_used_up_is_an_error_with_the_sizes() {
    let fixture = model();
    let (control, driver) = driver();
    control.behave(&Behaviour { capacity: 10_000, ..Behaviour::default() });
    let error = load(&fixture, &driver).unwrap_err();
    let CudaError::Allocate { bytes, free, tensor, source, .. } = &error else { panic!("{error}") };
    assert_eq!((*free, tensor.as_str()), (10_000, "model.embed_tokens.weight"));
    assert!(*bytes > 10_000 && source.is_out_of_memory());
    control.assert_clean();
}
