//! Primary contexts of devices, which all libraries of the process share.

use std::{
    ffi::{CStr, c_int},
    fmt,
    marker::PhantomData,
    ptr,
    sync::Mutex,
};

use cudarc::driver::sys;

use super::{CallError, Driver, ProbeError};

/// A retained primary context. Everything that is created in it holds an `Arc` of it, so the context is released last.
pub(crate) struct Context {
    driver: Driver,
    ordinal: u32,
    device: sys::CUdevice,
    handle: sys::CUcontext,
    /// First error of a call that frees something. No caller could receive it at the time.
    release_error: Mutex<Option<CallError>>,
}

// SAFETY: the driver's functions may be called from any thread. A context handle is only a name and is not tied to a
// thread.
unsafe impl Send for Context {}
// SAFETY: as for `Send`. Only the driver changes the object behind the handle, under its own locks.
unsafe impl Sync for Context {}

/// Guard during which the context is current in this thread. Dropping it restores the previous context.
pub(crate) struct Entered<'c> {
    context: &'c Context,
    before: sys::CUcontext,
    /// The current context is a property of the thread, so the guard must not leave it.
    not_send: PhantomData<*const ()>,
}

/// Error from opening a context.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl Context {
    pub(crate) fn open(driver: &Driver, ordinal: u32) -> Result<Self, OpenError> {
        let devices = driver.devices();
        let number = c_int::try_from(ordinal).ok().filter(|_| ordinal < devices);
        let number = number.ok_or(ProbeError::Ordinal { ordinal, devices })?;
        let mut device = 0;
        // SAFETY: the pointer refers to one device number.
        let code = unsafe { (driver.functions().device)(&raw mut device, number) };
        driver.check("cuDeviceGet", code)?;
        let mut handle = ptr::null_mut();
        // SAFETY: the pointer refers to one handle, and the device number comes from the driver.
        let code = unsafe { (driver.functions().context_retain)(&raw mut handle, device) };
        driver.check("cuDevicePrimaryCtxRetain", code)?;
        Ok(Self { driver: driver.clone(), ordinal, device, handle, release_error: Mutex::default() })
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    pub(crate) fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Product name of the device.
    pub(crate) fn name(&self) -> Result<String, CallError> {
        let mut text = [0; 256];
        let room = c_int::try_from(text.len() - 1).expect("255 is an integer");
        // SAFETY: the driver writes at most `room` bytes, and the last byte stays zero.
        let code = unsafe { (self.driver.functions().device_name)(text.as_mut_ptr(), room, self.device) };
        self.driver.check("cuDeviceGetName", code)?;
        // SAFETY: the array ends with a zero that the driver has not overwritten.
        Ok(unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// Major and minor number of the device's compute capability.
    pub(crate) fn compute_capability(&self) -> Result<(u32, u32), CallError> {
        use sys::CUdevice_attribute_enum as Attribute;
        let ask = |attribute: Attribute| {
            let mut value = 0;
            // SAFETY: the pointer refers to one integer.
            let code =
                unsafe { (self.driver.functions().device_attribute)(&raw mut value, attribute as c_int, self.device) };
            self.driver.check("cuDeviceGetAttribute", code).map(|()| u32::try_from(value).unwrap_or_default())
        };
        let major = ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        Ok((major, ask(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?))
    }

    /// Free and total memory of the device, in bytes.
    pub(crate) fn memory(&self) -> Result<(u64, u64), CallError> {
        let _entered = self.enter()?;
        let (mut free, mut whole) = (0, 0);
        // SAFETY: the pointers refer to one size each.
        let code = unsafe { (self.driver.functions().memory_info)(&raw mut free, &raw mut whole) };
        self.driver.check("cuMemGetInfo_v2", code)?;
        Ok((free as u64, whole as u64))
    }

    /// Makes the context current in this thread.
    pub(crate) fn enter(&self) -> Result<Entered<'_>, CallError> {
        let mut before = ptr::null_mut();
        // SAFETY: the pointer refers to one handle.
        let code = unsafe { (self.driver.functions().context_current)(&raw mut before) };
        self.driver.check("cuCtxGetCurrent", code)?;
        if before != self.handle {
            self.set_current(self.handle)?;
        }
        Ok(Entered { context: self, before, not_send: PhantomData })
    }

    /// Waits for all work in the context, including that of other libraries.
    pub(crate) fn synchronize(&self) -> Result<(), CallError> {
        let _entered = self.enter()?;
        // SAFETY: the context is current.
        let code = unsafe { (self.driver.functions().context_synchronize)() };
        self.driver.check("cuCtxSynchronize", code)
    }

    /// Runs `free` in this context, or without it if it cannot be entered, and stores an error for
    /// [`Self::take_release_error`].
    pub(super) fn release(&self, free: impl FnOnce() -> Result<(), CallError>) {
        // Entering once more is the only remedy; the object has to be freed either way.
        let entered = self.enter().or_else(|_| self.enter());
        let freed = free();
        if let Some(error) = entered.err().or(freed.err()) {
            self.keep_release_error(error);
        }
    }

    /// Returns the first error of a call that freed something since the last call of this function.
    pub(crate) fn take_release_error(&self) -> Option<CallError> {
        self.release_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    fn keep_release_error(&self, error: CallError) {
        self.release_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get_or_insert(error);
    }

    fn set_current(&self, handle: sys::CUcontext) -> Result<(), CallError> {
        // SAFETY: the handle is this context's, which is retained, or the one that was current before.
        let code = unsafe { (self.driver.functions().context_set_current)(handle) };
        self.driver.check("cuCtxSetCurrent", code)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if self.before != self.context.handle
            && let Err(error) = self.context.set_current(self.before)
        {
            self.context.keep_release_error(error);
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context was retained once, when this value was created. No caller is left to receive an error.
        unsafe { (self.driver.functions().context_release)(self.device) };
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("ordinal", &self.ordinal).finish_non_exhaustive()
    }
}
