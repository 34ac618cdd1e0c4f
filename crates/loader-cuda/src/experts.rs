//! Slots of a mixture's experts in device memory, for the cache of `longshore-experts`.
//!
//! Of an expert, one piece is read into a pinned buffer while the piece before it is copied to the slot:
//!
//! ```text
//! for each part of the expert, in pieces of a buffer
//!     wait for the buffer's last copy, read into it, queue its copy
//! wait for both copies
//! ```
//!
//! Each fetch has buffers and a stream of its own, which the next one takes over.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use longshore_experts::{ExpertRange, ReadRange, SlotDevice, SlotPart};

use crate::{
    CallError, Device,
    driver::{Context, DeviceMemory, Slot, Stream},
};

/// Buffers of a fetch: one is read into while the other is copied.
const BUFFERS: usize = 2;

/// Memory of a CUDA device, in slots that hold an expert each: a device for
/// [`ExpertCache`](longshore_experts::ExpertCache).
///
/// Beside the slots it holds two pinned buffers for each fetch that ran at the same time. A slot is overwritten once its guard is gone, on a stream
/// of the fetch: a guard has to outlive the work on the device that reads its slot, and not only the launch of that work.
pub struct ExpertSlots {
    context: Arc<Context>,
    buffer_bytes: usize,
    /// Buffers and streams of fetches that have ended.
    idle: Mutex<Vec<Lane>>,
}

/// A slot in device memory.
pub struct ExpertSlot {
    memory: DeviceMemory,
}

/// The buffers and the stream of one fetch.
struct Lane {
    buffers: Vec<Slot>,
    stream: Arc<Stream>,
}

impl ExpertSlots {
    /// Makes slots on `device`, filled through pinned buffers of `buffer_bytes` bytes, such as the loader's 2 MiB.
    #[must_use]
    pub fn new(device: &Device, buffer_bytes: usize) -> Self {
        Self { context: Arc::clone(device.context()), buffer_bytes: buffer_bytes.max(1), idle: Mutex::default() }
    }

    fn lane(&self) -> Result<Lane, CallError> {
        if let Some(lane) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(lane);
        }
        let buffers = Slot::ring(&self.context, BUFFERS, self.buffer_bytes)?;
        Ok(Lane { buffers, stream: Arc::new(Stream::new(&self.context)?) })
    }
}

impl ExpertSlot {
    /// Address of a part of the expert that the slot holds, in the device's memory. It is valid while the slot's guard is held: hold that until
    /// the device has done the work that reads it, for example until an event behind that work has happened.
    #[must_use]
    pub fn address(&self, part: &SlotPart) -> u64 {
        self.memory.address() + part.at
    }

    /// Copies a part of the expert back to the host.
    ///
    /// # Errors
    ///
    /// The driver's error.
    ///
    /// # Panics
    ///
    /// Panics if the part ends beyond the slot.
    pub fn read(&self, part: &SlotPart) -> Result<Vec<u8>, CallError> {
        let at = usize::try_from(part.at).expect("BUG: a part outside the slot");
        let mut out = vec![0; usize::try_from(part.range.len()).expect("BUG: a part outside the slot")];
        self.memory.read(at, &mut out, &Stream::new(self.memory.context())?)?;
        Ok(out)
    }
}

impl SlotDevice for ExpertSlots {
    type Slot = ExpertSlot;

    fn allocate(&self, bytes: u64) -> io::Result<ExpertSlot> {
        let len = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let memory = DeviceMemory::new(&self.context, len.max(1)).map_err(io::Error::other)?;
        Ok(ExpertSlot { memory })
    }

    fn fill(&self, slot: &mut ExpertSlot, parts: &[SlotPart], read: &mut ReadRange<'_>) -> io::Result<()> {
        // A lane that is dropped after an error waits for its copies, so that none writes into the slot any more.
        let mut lane = self.lane().map_err(io::Error::other)?;
        let mut turn = 0;
        for part in parts {
            let mut start = part.range.offset;
            while start < part.range.end {
                let buffer = lane.buffers[turn].buffer().map_err(io::Error::other)?;
                let len = usize::try_from(part.range.end - start).unwrap_or(usize::MAX).min(buffer.len());
                let piece = ExpertRange { offset: start, end: start + len as u64, ..part.range };
                read(&piece, &mut buffer[..len])?;
                let at =
                    usize::try_from(part.at + (start - part.range.offset)).map_err(|_| io::ErrorKind::OutOfMemory)?;
                lane.buffers[turn].send(len, &slot.memory, at, &lane.stream).map_err(io::Error::other)?;
                start = piece.end;
                turn = (turn + 1) % BUFFERS;
            }
        }
        for buffer in &mut lane.buffers {
            buffer.settle().map_err(io::Error::other)?;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(lane);
        Ok(())
    }
}

impl fmt::Debug for ExpertSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpertSlots")
            .field("device", &self.context.ordinal())
            .field("buffer_bytes", &self.buffer_bytes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ExpertSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExpertSlot({} bytes)", self.memory.len())
    }
}
