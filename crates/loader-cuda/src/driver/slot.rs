//! Staging buffers, each guarded by an event of its own.

use std::{ffi::c_void, sync::Arc};

use super::{CallError, Context, DeviceMemory, Event, PinnedMemory, Stream};

/// A part of pinned memory that one thread fills and the device copies from.
///
/// Its bytes can be written only while no copy is in flight: [`Self::buffer`] waits for the event that [`Self::send`] put behind the
/// copy. Where that wait fails, the whole stream is waited for, so that no error leaves a copy behind.
#[derive(Debug)]
pub(crate) struct Slot {
    memory: Arc<PinnedMemory>,
    at: usize,
    len: usize,
    event: Event,
    /// The stream of the copy that may be in flight.
    in_flight: Option<Arc<Stream>>,
}

impl Slot {
    /// `count` slots of `len` bytes each, in one allocation.
    pub(crate) fn ring(context: &Arc<Context>, count: usize, len: usize) -> Result<Vec<Self>, CallError> {
        let bytes = count.saturating_mul(len);
        let memory = Arc::new(PinnedMemory::new(context, bytes)?);
        let slot = |index| {
            let event = Event::new(context)?;
            Ok(Self { memory: Arc::clone(&memory), at: index * len, len, event, in_flight: None })
        };
        (0..count).map(slot).collect()
    }

    /// The slot's bytes, once no copy reads them.
    pub(crate) fn buffer(&mut self) -> Result<&mut [u8], CallError> {
        self.settle()?;
        // SAFETY: slots of one ring do not overlap, this one is borrowed exclusively, and no copy is in flight.
        Ok(unsafe { self.memory.part(self.at, self.len) })
    }

    /// Queues a copy of the first `len` bytes to `to`, from its byte `at` on. `to` must not be freed before the slot is settled.
    pub(crate) fn send(
        &mut self,
        len: usize,
        to: &DeviceMemory,
        at: usize,
        stream: &Arc<Stream>,
    ) -> Result<(), CallError> {
        let to = to.part(at, len);
        // SAFETY: no slice of these bytes lives: the only one borrows `self`.
        let from = unsafe { self.memory.part(self.at, len.min(self.len)) };
        assert_eq!(from.len(), len, "BUG: more bytes are sent than the slot has");
        let context = Arc::clone(self.event.context());
        let (_entered, driver) = (context.enter()?, context.driver());
        // SAFETY: both ranges were checked to be in bounds. The slot's memory lives until `self` is settled, that is at the latest when
        // it is dropped, and the caller keeps the target as long.
        let code =
            unsafe { (driver.functions().copy_to_device)(to, from.as_ptr().cast::<c_void>(), len, stream.handle()) };
        let queued = driver.check("cuMemcpyHtoDAsync_v2", code).and_then(|()| self.event.record(stream));
        match queued {
            Ok(()) => self.in_flight = Some(Arc::clone(stream)),
            // An error may be that of earlier work, and the copy queued all the same. Without a mark behind it, only the stream tells
            // when it is done.
            Err(_) => drop(stream.finish()),
        }
        queued
    }

    /// Waits for the copy that may be in flight. Whatever this answers, there is none afterwards.
    pub(crate) fn settle(&mut self) -> Result<(), CallError> {
        let Some(stream) = self.in_flight.take() else { return Ok(()) };
        self.event.synchronize().inspect_err(|_| drop(stream.finish()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // An error was given to whoever settled it; here nobody waits for one.
        drop(self.settle());
    }
}
