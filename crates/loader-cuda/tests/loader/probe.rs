//! Tests of unusable drivers, each of which has its own error.

use std::path::Path;

use longshore_fake_cuda_driver::{Behaviour, Control, Variant, library};
use longshore_loader_cuda::{CudaError, Device, Driver, ProbeError};

fn error(variant: Variant) -> ProbeError {
    Driver::open(&library(variant)).unwrap_err()
}

#[test]
fn what_is_no_driver_says_so() {
    let missing = Driver::open(Path::new("/nowhere/libcuda.so.1")).unwrap_err();
    assert!(matches!(missing, ProbeError::NoDriver { .. }), "{missing}");
    assert!(missing.to_string().starts_with("no CUDA driver: /nowhere/libcuda.so.1 cannot be opened: "), "{missing}");
    assert!(missing.to_string().contains("No such file"), "{missing}");

    let error = error(Variant::NoEvent);
    assert!(matches!(&error, ProbeError::MissingSymbol { symbol: "cuEventSynchronize", .. }), "{error}");
}

#[test]
fn a_driver_that_does_not_do_says_why() {
    assert!(matches!(error(Variant::Stub), ProbeError::Stub { .. }));
    assert!(matches!(error(Variant::NoDevice), ProbeError::NoDevice));
    let old = error(Variant::Old);
    assert!(matches!(old, ProbeError::TooOld { found: 11_040, .. }));
    assert_eq!(old.to_string(), "the CUDA driver is for CUDA 11.4, expected 12.1 or later");
}

#[test]
fn a_driver_has_devices() {
    let control = Control::take();
    {
        let driver = Driver::open(&library(Variant::Whole)).unwrap();
        assert_eq!((driver.version(), driver.devices()), (13_000, 2));
        let device = Device::of(&driver, 1).unwrap();
        assert_eq!((device.ordinal(), device.name().unwrap().as_str()), (1, "Fake device"));
        assert_eq!(device.compute_capability().unwrap(), (9, 0));
        assert_eq!(device.memory().unwrap(), (1 << 30, 1 << 30));
        for ordinal in [2, u32::MAX] {
            let error = Device::of(&driver, ordinal).unwrap_err();
            let CudaError::Probe(ProbeError::Ordinal { devices: 2, .. }) = error else { panic!("{error}") };
        }
    }
    control.assert_clean();
}

#[test]
fn faults_while_a_driver_starts_are_errors() {
    for function in ["cuInit", "cuDriverGetVersion", "cuDeviceGetCount"] {
        let control = Control::take();
        // A code that no release of the driver has.
        control.behave(&Behaviour { fault: Some((function, 1, 99_999)), ..Behaviour::default() });
        let error = Driver::open(&library(Variant::Whole)).unwrap_err();
        let ProbeError::Init { source, .. } = error else { panic!("{error}") };
        assert_eq!(source.to_string(), format!("{function} answered an unknown code (99999)"));
    }
}
