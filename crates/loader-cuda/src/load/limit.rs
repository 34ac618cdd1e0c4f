//! Measures the speed of the link to the device, by copying memory that is already pinned.

use std::{sync::PoisonError, time::Instant};

use super::Loader;
use crate::{CallError, driver::DeviceMemory};

/// Error from measuring the link to the device.
#[derive(Debug, thiserror::Error)]
#[error("cannot measure the link to the device")]
#[non_exhaustive]
pub struct LimitError {
    /// The driver's error.
    #[from]
    pub source: CallError,
}

impl Loader {
    /// Measures the rate at which the device takes pinned memory, in bytes per second. It copies the loader's own ring
    /// over and over, on the loader's streams, until `bytes` are copied. No load can be faster. Needs 256 MiB of device
    /// memory, or an eighth of the free memory if that is less.
    ///
    /// # Errors
    ///
    /// [`LimitError`] where the device has no memory left, or a copy fails.
    pub fn limit(&self, bytes: u64) -> Result<f64, LimitError> {
        let inner = &*self.inner;
        let context = inner.device.context();
        let mut slots = inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = inner.options.slot_bytes;
        let room = usize::try_from(context.memory()?.0 / 8).unwrap_or(usize::MAX);
        let memory = DeviceMemory::new(context, room.clamp(slot, slot.max(256 << 20)))?;
        let places = memory.len() / slot;
        let copies = bytes.div_ceil(slot as u64).max(1);
        let run = |slots: &mut [super::Slot], copies: u64| {
            let streams = inner.streams.iter().cycle();
            let targets = (0..places).cycle();
            for (((slot_number, target), stream), _) in
                (0..slots.len()).cycle().zip(targets).zip(streams).zip(0..copies)
            {
                // No wait is needed before the copy, because nothing writes to the ring.
                slots[slot_number].send(slot, &memory, target * slot, stream)?;
            }
            inner.streams.iter().try_for_each(|stream| stream.synchronize())
        };
        let all = slots.len() as u64;
        let measured = run(&mut slots, all).and_then(|()| {
            let started = Instant::now();
            run(&mut slots, copies)?;
            Ok(started.elapsed())
        });
        // Whether or not a copy failed, nothing may be in flight when the memory is freed.
        let settled = inner.streams.iter().map(|stream| stream.finish()).fold(Ok(()), Result::and);
        let settled = slots.iter_mut().map(super::Slot::settle).fold(settled, Result::and);
        let time = measured?;
        settled?;
        let total = copies * slot as u64;
        #[expect(clippy::cast_precision_loss, reason = "a rate is not exact")]
        Ok(total as f64 / time.as_secs_f64().max(1e-9))
    }
}
