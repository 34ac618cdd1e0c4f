//! Streams, which are queues of work on the device, and events, which mark positions in them.

use std::{fmt, ptr, sync::Arc};

use cudarc::driver::sys;

use super::{CallError, Context};

/// A queue of work that does not wait for the default stream.
pub(crate) struct Stream {
    context: Arc<Context>,
    handle: sys::CUstream,
}

// SAFETY: the driver's functions may be called with a stream from any thread.
unsafe impl Send for Stream {}
// SAFETY: as for `Send`.
unsafe impl Sync for Stream {}

impl Stream {
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self, CallError> {
        let _entered = context.enter()?;
        let driver = context.driver();
        let mut handle = ptr::null_mut();
        let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the pointer refers to one handle, and a context is current.
        let code = unsafe { (driver.functions().stream_create)(&raw mut handle, flags) };
        driver.check("cuStreamCreate", code)?;
        Ok(Self { context: Arc::clone(context), handle })
    }

    pub(crate) fn handle(&self) -> sys::CUstream {
        self.handle
    }

    /// Waits for all work in the stream.
    pub(crate) fn synchronize(&self) -> Result<(), CallError> {
        let _entered = self.context.enter()?;
        let driver = self.context.driver();
        // SAFETY: the stream lives as long as `self`.
        let code = unsafe { (driver.functions().stream_synchronize)(self.handle) };
        driver.check("cuStreamSynchronize", code)
    }

    /// Waits for all work in the stream like [`Self::synchronize`]. Where that fails, waits for the whole context, so
    /// that memory of the work may be freed or reused in any case. The error is that of the first wait.
    pub(crate) fn finish(&self) -> Result<(), CallError> {
        self.synchronize().inspect_err(|_| {
            if let Err(error) = self.context.synchronize() {
                // A context that cannot be waited for has died, and its work with it.
                drop(error);
            }
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let driver = self.context.driver();
        self.context.release(|| {
            // SAFETY: the stream was created by `new` and is destroyed once.
            let code = unsafe { (driver.functions().stream_destroy)(self.handle) };
            driver.check("cuStreamDestroy_v2", code)
        });
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

/// A mark in a stream.
pub(crate) struct Event {
    context: Arc<Context>,
    handle: sys::CUevent,
}

// SAFETY: the driver's functions may be called with an event from any thread.
unsafe impl Send for Event {}
// SAFETY: as for `Send`.
unsafe impl Sync for Event {}

impl Event {
    /// Creates an event without time stamps. A thread that waits for it sleeps.
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self, CallError> {
        use sys::CUevent_flags_enum as Flags;
        let _entered = context.enter()?;
        let driver = context.driver();
        let mut handle = ptr::null_mut();
        let flags = Flags::CU_EVENT_BLOCKING_SYNC as u32 | Flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: the pointer refers to one handle, and a context is current.
        let code = unsafe { (driver.functions().event_create)(&raw mut handle, flags) };
        driver.check("cuEventCreate", code)?;
        Ok(Self { context: Arc::clone(context), handle })
    }

    pub(crate) fn handle(&self) -> sys::CUevent {
        self.handle
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Records the event after all work that is in the stream now.
    pub(crate) fn record(&self, stream: &Stream) -> Result<(), CallError> {
        let _entered = self.context.enter()?;
        let driver = self.context.driver();
        // SAFETY: the event and the stream live as long as the references.
        let code = unsafe { (driver.functions().event_record)(self.handle, stream.handle) };
        driver.check("cuEventRecord", code)
    }

    /// Waits until the device has reached the event. Returns at once where the event was never recorded.
    pub(crate) fn synchronize(&self) -> Result<(), CallError> {
        let _entered = self.context.enter()?;
        let driver = self.context.driver();
        // SAFETY: the event lives as long as `self`.
        let code = unsafe { (driver.functions().event_synchronize)(self.handle) };
        driver.check("cuEventSynchronize", code)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let driver = self.context.driver();
        self.context.release(|| {
            // SAFETY: the event was created by `new` and is destroyed once.
            let code = unsafe { (driver.functions().event_destroy)(self.handle) };
            driver.check("cuEventDestroy_v2", code)
        });
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").finish_non_exhaustive()
    }
}
