//! Finds the driver.

use std::{
    error::Error as _,
    mem::ManuallyDrop,
    path::Path,
    sync::{Arc, OnceLock},
};

use libloading::Library;

use super::{CallError, Driver, Inner, check, table::Functions};

/// The oldest driver that will do, CUDA 12.1: the first that reads the PTX of the kernels.
const OLDEST: i32 = 12_010;

/// Where the driver is looked for, in this order. The versioned name goes first: a toolkit's directory of stubs has only the other.
const NAMES: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so.1", "libcuda.so"] };

/// `cuInit` of the stub library, which toolkits ship for linking.
const STUB: i32 = 34;
/// `cuInit` where there is a driver and no device.
const NO_DEVICE: i32 = 100;

/// No driver or no device to work with.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// No library of the driver was found.
    #[error("no CUDA driver: {library} cannot be opened: {reason}")]
    NoDriver {
        /// The name or path that was tried first.
        library: String,
        /// What the system said.
        reason: String,
    },
    /// The library lacks a function.
    #[error("the CUDA driver {library} has no function {symbol}: expected a driver of CUDA {}", version(OLDEST))]
    MissingSymbol {
        /// What was opened.
        library: String,
        /// The function.
        symbol: &'static str,
    },
    /// The library is the one that toolkits ship for linking; it is no driver.
    #[error("{library} is a toolkit's stub for linking and no CUDA driver")]
    Stub {
        /// What was opened.
        library: String,
    },
    /// The driver does not start.
    #[error("the CUDA driver {library} does not start")]
    Init {
        /// What was opened.
        library: String,
        /// What it answered.
        source: CallError,
    },
    /// The driver is too old.
    #[error("the CUDA driver is for CUDA {}, expected {} or later", version(*found), version(*expected))]
    TooOld {
        /// The driver's version, 1000 for each major and 10 for each minor.
        found: i32,
        /// The oldest that will do.
        expected: i32,
    },
    /// There is no device.
    #[error("the CUDA driver finds no device")]
    NoDevice,
    /// There is no device of this number.
    #[error("there is no CUDA device {ordinal}: expected a number below {devices}")]
    Ordinal {
        /// The number that was asked for, counted from 0.
        ordinal: u32,
        /// The number of devices.
        devices: u32,
    },
}

fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

impl Driver {
    /// The system's driver. It is looked for once and kept; what is not found is looked for again the next time.
    ///
    /// # Errors
    ///
    /// Every [`ProbeError`] but [`ProbeError::Ordinal`].
    pub fn get() -> Result<Self, ProbeError> {
        static FOUND: OnceLock<Driver> = OnceLock::new();
        if let Some(driver) = FOUND.get() {
            return Ok(driver.clone());
        }
        let mut first = None;
        for name in NAMES {
            match Self::open_library(name.as_ref(), name) {
                Ok(driver) => return Ok(FOUND.get_or_init(|| driver).clone()),
                // A library that is there and of no use says more than one that is not there.
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

    /// The driver in the library `path`, for one that the system does not search for.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn open(path: &Path) -> Result<Self, ProbeError> {
        Self::open_library(path, &path.display().to_string())
    }

    fn open_library(path: &Path, library: &str) -> Result<Self, ProbeError> {
        let library = library.to_owned();
        // SAFETY: loading runs the initialisers of the driver, which are made to be loaded so.
        let opened = unsafe { Library::new(path) };
        let opened = opened.map_err(|error| {
            // What the system said stands behind what failed.
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
        // SAFETY: the only flags are 0.
        let code = unsafe { (functions.init)(0) };
        check(&functions, "cuInit", code).map_err(init)?;
        let mut version = 0;
        // SAFETY: the pointer is to one integer.
        let code = unsafe { (functions.driver_version)(&raw mut version) };
        check(&functions, "cuDriverGetVersion", code).map_err(init)?;
        if version < OLDEST {
            return Err(ProbeError::TooOld { found: version, expected: OLDEST });
        }
        let mut devices = 0;
        // SAFETY: the pointer is to one integer.
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
