//! Finds and checks the driver.

use std::{
    error::Error as _,
    mem::ManuallyDrop,
    path::Path,
    sync::{Arc, OnceLock},
};

use libloading::Library;

use super::{CallError, Driver, Inner, check, table::Functions};

/// Oldest supported driver version, CUDA 12.1: the first one that reads the PTX of the kernels.
const OLDEST: i32 = 12_010;

/// Library names to try, in order. The versioned name comes first, because a toolkit's directory of stubs has only the
/// other name.
const NAMES: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so.1", "libcuda.so"] };

/// Return code of `cuInit` in the stub library that toolkits ship for linking.
const STUB: i32 = 34;
/// Return code of `cuInit` where there is a driver but no device.
const NO_DEVICE: i32 = 100;

/// Error from looking for a driver and a device.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// No library of the driver was found.
    #[error("no CUDA driver: {library} cannot be opened: {reason}")]
    NoDriver {
        /// Name or path that was tried first.
        library: String,
        /// Reason that the system gave.
        reason: String,
    },
    /// The library lacks a function.
    #[error("the CUDA driver {library} has no function {symbol}: expected a driver of CUDA {}", version(OLDEST))]
    MissingSymbol {
        /// Name or path of the opened library.
        library: String,
        /// Name of the missing function.
        symbol: &'static str,
    },
    /// The library is the stub that toolkits ship for linking, not a driver.
    #[error("{library} is a toolkit's stub for linking, not a CUDA driver")]
    Stub {
        /// Name or path of the opened library.
        library: String,
    },
    /// The driver does not start.
    #[error("the CUDA driver {library} does not start")]
    Init {
        /// Name or path of the opened library.
        library: String,
        /// The driver's error.
        source: CallError,
    },
    /// The driver is too old.
    #[error("the CUDA driver is for CUDA {}, expected {} or later", version(*found), version(*expected))]
    TooOld {
        /// Version of the driver: 1000 for each major and 10 for each minor number.
        found: i32,
        /// Oldest supported version, in the same form.
        expected: i32,
    },
    /// The driver finds no device.
    #[error("the CUDA driver finds no device")]
    NoDevice,
    /// No device has the requested number.
    #[error("there is no CUDA device {ordinal}: expected a number below {devices}")]
    Ordinal {
        /// Requested number, counted from 0.
        ordinal: u32,
        /// Number of devices.
        devices: u32,
    },
}

fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

impl Driver {
    /// Returns the system's driver. A driver that was found is kept; where none was found, the next call looks again.
    ///
    /// # Errors
    ///
    /// Every [`ProbeError`] except [`ProbeError::Ordinal`].
    pub fn get() -> Result<Self, ProbeError> {
        static FOUND: OnceLock<Driver> = OnceLock::new();
        if let Some(driver) = FOUND.get() {
            return Ok(driver.clone());
        }
        let mut first = None;
        for name in NAMES {
            match Self::open_library(name.as_ref(), name) {
                Ok(driver) => return Ok(FOUND.get_or_init(|| driver).clone()),
                // An unusable library explains more than a missing one, so its error is returned.
                Err(error) => match &first {
                    None | Some(ProbeError::NoDriver { .. }) if !matches!(error, ProbeError::NoDriver { .. }) => {
                        first = Some(error);
                    }
                    None => first = Some(error),
                    Some(_) => {}
                },
            }
        }
        Err(first.expect("there is a name to look for"))
    }

    /// Opens the driver in the library `path`, which need not be on the system's search path.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::get`].
    pub fn open(path: &Path) -> Result<Self, ProbeError> {
        Self::open_library(path, &path.display().to_string())
    }

    fn open_library(path: &Path, library: &str) -> Result<Self, ProbeError> {
        let library = library.to_owned();
        // SAFETY: loading runs the initializers of the driver, which are made for this.
        let opened = unsafe { Library::new(path) };
        let opened = opened.map_err(|error| {
            // The system's reason is the source of the library's error.
            let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            ProbeError::NoDriver { library: library.clone(), reason }
        })?;
        let opened = ManuallyDrop::new(opened);
        let functions = Functions::resolve(&opened)
            .map_err(|symbol| ProbeError::MissingSymbol { library: library.clone(), symbol })?;

        let init = |source: CallError| match source.code {
            STUB => ProbeError::Stub { library: library.clone() },
            NO_DEVICE => ProbeError::NoDevice,
            _ => ProbeError::Init { library: library.clone(), source },
        };
        // SAFETY: the function takes flags, which must be 0.
        let code = unsafe { (functions.init)(0) };
        check(&functions, "cuInit", code).map_err(init)?;
        let mut version = 0;
        // SAFETY: the pointer refers to one integer.
        let code = unsafe { (functions.driver_version)(&raw mut version) };
        check(&functions, "cuDriverGetVersion", code).map_err(init)?;
        if version < OLDEST {
            return Err(ProbeError::TooOld { found: version, expected: OLDEST });
        }
        let mut devices = 0;
        // SAFETY: the pointer refers to one integer.
        let code = unsafe { (functions.device_count)(&raw mut devices) };
        check(&functions, "cuDeviceGetCount", code).map_err(init)?;
        match u32::try_from(devices) {
            Ok(devices @ 1..) => {
                Ok(Self { inner: Arc::new(Inner { functions, _opened: opened, library, version, devices }) })
            }
            _ => Err(ProbeError::NoDevice),
        }
    }
}
