//! Finds, checks and calls the driver without a panic.
//!
//! Only this module of the crate calls foreign code. It has three layers: the [table](table) of functions, calls that
//! return a `Result`, and owners that free what they hold.

#![expect(unsafe_code, reason = "calls of the driver are foreign calls; they are all in this module")]

mod context;
mod memory;
mod module;
mod probe;
mod slot;
mod stream;
mod table;

use std::{
    ffi::{CStr, c_int},
    fmt,
    mem::ManuallyDrop,
    ptr,
    sync::Arc,
};

use libloading::Library;

pub(crate) use context::{Context, OpenError};
pub(crate) use memory::DeviceMemory;
use memory::PinnedMemory;
pub(crate) use module::Module;
pub use probe::ProbeError;
pub(crate) use slot::Slot;
pub(crate) use stream::{Event, Stream};
use table::Functions;
use table::SYMBOLS;

/// A driver that was found, has every function that this crate calls, and responds. Cheap to clone.
#[derive(Clone)]
pub struct Driver {
    inner: Arc<Inner>,
}

struct Inner {
    functions: Functions,
    /// The library is never unloaded, because the driver starts threads.
    _opened: ManuallyDrop<Library>,
    /// Name or path under which the library was opened.
    library: String,
    version: i32,
    devices: u32,
}

/// Error from a call of the driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call} answered {name} ({code})")]
#[non_exhaustive]
pub struct CallError {
    /// Name of the driver's function.
    pub call: &'static str,
    /// The driver's error code: 2 for exhausted memory, for example.
    pub code: i32,
    /// The driver's name for the error code, such as `CUDA_ERROR_OUT_OF_MEMORY`.
    pub name: String,
}

impl CallError {
    /// Returns true where the memory of the device or the host is exhausted.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        self.code == 2
    }
}

impl Driver {
    /// Version of the driver: 1000 for each major and 10 for each minor number, so 12080 is CUDA 12.8.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.inner.version
    }

    /// Number of devices; at least 1.
    #[must_use]
    pub fn devices(&self) -> u32 {
        self.inner.devices
    }

    /// Name or path under which the driver's library was opened. A name was searched for by the system.
    #[must_use]
    pub fn library(&self) -> &str {
        &self.inner.library
    }

    /// Functions of the driver that this crate calls. A driver without one of them is refused with
    /// [`ProbeError::MissingSymbol`].
    #[must_use]
    pub fn symbols() -> &'static [&'static str] {
        SYMBOLS
    }

    fn functions(&self) -> &Functions {
        &self.inner.functions
    }

    /// Converts the return code of `call` into a `Result`.
    fn check(&self, call: &'static str, code: c_int) -> Result<(), CallError> {
        check(self.functions(), call, code)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { library, version, devices, .. } = &*self.inner;
        f.debug_struct("Driver")
            .field("library", library)
            .field("version", version)
            .field("devices", devices)
            .finish_non_exhaustive()
    }
}

fn check(functions: &Functions, call: &'static str, code: c_int) -> Result<(), CallError> {
    if code == 0 { Ok(()) } else { Err(CallError { call, code, name: name(functions, code) }) }
}

/// Returns the driver's name for an error code.
fn name(functions: &Functions, code: c_int) -> String {
    let mut text = ptr::null();
    // SAFETY: `text` has room for one pointer. The driver accepts any code, and returns an error for an unknown one.
    let known = unsafe { (functions.error_name)(code, &raw mut text) } == 0;
    if !known || text.is_null() {
        return "an unknown code".into();
    }
    // SAFETY: the driver returned a pointer to a constant text that ends with a zero.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
