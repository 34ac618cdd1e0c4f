//! Staging buffers, each guarded by its own event.

use std::{ffi::c_void, sync::Arc};

use super::{CallError, Context, DeviceMemory, Event, PinnedMemory, Stream};

/// A part of pinned memory that one thread fills and the device copies from.
///
/// The bytes can be written only while no copy is in flight: [`Self::buffer`] waits for the event that [`Self::send`]
/// has recorded after the copy. Where this wait fails, the slot waits for the whole stream, so no error leaves a copy
/// in flight.
#[derive(Debug)]
pub(crate) struct Slot {
    memory: Arc<PinnedMemory>,
    at: usize,
    len: usize,
    event: Event,
    /// Stream of the copy that may be in flight.
    in_flight: Option<Arc<Stream>>,
}

impl Slot {
    /// Creates `count` slots of `len` bytes each, in one allocation.
    pub(crate) fn ring(context: &Arc<Context>, count: usize, len: usize) -> Result<Vec<Self>, CallError> {
        let bytes = count.saturating_mul(len);
        let memory = Arc::new(PinnedMemory::new(context, bytes)?);
        let slot = |index| {
            let event = Event::new(context)?;
            Ok(Self { memory: Arc::clone(&memory), at: index * len, len, event, in_flight: None })
        };
        (0..count).map(slot).collect()
    }

    /// Waits until no copy reads the slot, and returns its bytes.
    pub(crate) fn buffer(&mut self) -> Result<&mut [u8], CallError> {
        self.settle()?;
        // SAFETY: slots of one ring do not overlap, this one is borrowed exclusively, and no copy is in flight.
        Ok(unsafe { self.memory.part(self.at, self.len) })
    }

    /// Queues a copy of the first `len` bytes to byte `at` of `to`. `to` must not be freed before the slot is settled.
    pub(crate) fn send(
        &mut self,
        len: usize,
        to: &DeviceMemory,
        at: usize,
        stream: &Arc<Stream>,
    ) -> Result<(), CallError> {
        let to = to.part(at, len);
        // SAFETY: no slice of these bytes exists, because the only one borrows `self`.
        let from = unsafe { self.memory.part(self.at, len.min(self.len)) };
        assert_eq!(from.len(), len, "BUG: more bytes are sent than the slot has");
        let context = Arc::clone(self.event.context());
        let (_entered, driver) = (context.enter()?, context.driver());
        // SAFETY: both ranges were checked to be in bounds. The slot's memory lives until `self` is settled, which
        // happens at the latest when it is dropped, and the caller keeps the target as long.
        let code =
            unsafe { (driver.functions().copy_to_device)(to, from.as_ptr().cast::<c_void>(), len, stream.handle()) };
        let queued = driver.check("cuMemcpyHtoDAsync_v2", code).and_then(|()| self.event.record(stream));
        match queued {
            Ok(()) => self.in_flight = Some(Arc::clone(stream)),
            // The error may stem from earlier work, with the copy queued all the same. Without an event after the copy,
            // only the stream shows when the copy is done.
            Err(_) => drop(stream.finish()),
        }
        queued
    }

    /// Waits for the copy that may be in flight. No copy is in flight afterwards, even if this returns an error.
    pub(crate) fn settle(&mut self) -> Result<(), CallError> {
        let Some(stream) = self.in_flight.take() else { return Ok(()) };
        self.event.synchronize().inspect_err(|_| drop(stream.finish()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Errors are reported to callers of `settle`. Here no caller can receive one.
        drop(self.settle());
    }
}
