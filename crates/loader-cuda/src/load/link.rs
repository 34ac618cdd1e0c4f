//! How fast the link to the device is, by copying what is pinned already.

use std::time::Instant;

use super::Inner;
use crate::{
    CallError,
    driver::{DeviceMemory, Slot},
};

impl Inner {
    /// The rate in bytes per second at which the device takes pinned memory: the loader's own ring, copied over and over until about as many
    /// bytes are as a load has, on the loader's streams.
    pub(super) fn link(&self, slots: &mut [Slot], bytes: u64) -> Result<u64, CallError> {
        /// The least and the most that is copied: enough to tell a rate from, and little enough to wait for.
        const BYTES: (u64, u64) = (64 << 20, 4 << 30);
        /// The most memory of the device that is copied to, in bytes.
        const ROOM: usize = 256 << 20;
        let context = self.device.context();
        let slot = self.options.slot_bytes;
        let room = usize::try_from(context.memory()?.0 / 8).unwrap_or(usize::MAX);
        let memory = DeviceMemory::new(context, room.clamp(slot, slot.max(ROOM)))?;
        let places = memory.len() / slot;
        let copies = bytes.clamp(BYTES.0, BYTES.1).div_ceil(slot as u64);
        let run = |slots: &mut [Slot], copies: u64| {
            let streams = self.streams.iter().cycle();
            let targets = (0..places).cycle();
            for (((slot_number, target), stream), _) in
                (0..slots.len()).cycle().zip(targets).zip(streams).zip(0..copies)
            {
                // No waiting: nobody writes to the ring.
                slots[slot_number].send(slot, &memory, target * slot, stream)?;
            }
            self.streams.iter().try_for_each(|stream| stream.synchronize())
        };
        let all = slots.len() as u64;
        let measured = run(slots, all).and_then(|()| {
            let started = Instant::now();
            run(slots, copies)?;
            Ok(started.elapsed())
        });
        // Whatever happened, nothing is in flight when the memory goes.
        let settled = self.streams.iter().map(|stream| stream.finish()).fold(Ok(()), Result::and);
        let settled = slots.iter_mut().map(Slot::settle).fold(settled, Result::and);
        let time = measured?;
        settled?;
        let rate = u128::from(copies) * slot as u128 * 1_000_000_000 / time.as_nanos().max(1);
        Ok(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}
