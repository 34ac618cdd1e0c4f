//! Devices that hold slots, and the host as one of them.

use std::{fmt, io};

use crate::map::ExpertRange;

/// Alignment of every part in a slot, in bytes from the slot's start.
pub const SLOT_ALIGNMENT: u64 = 64;

/// A part of an expert, with its place in a slot. The parts of an expert are those of [`ExpertMap::parts`](crate::ExpertMap::parts), in this
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlotPart {
    /// Bytes of the part in its blob.
    pub range: ExpertRange,
    /// Start of the part, in bytes from the start of the slot.
    pub at: u64,
}

/// Reader of the bytes of a range into host memory that is as long as the range.
pub type ReadRange<'r> = dyn FnMut(&ExpertRange, &mut [u8]) -> io::Result<()> + 'r;

/// Memory of a device, in slots of one size that hold an expert each.
pub trait SlotDevice: fmt::Debug + Send + Sync + 'static {
    /// One slot.
    type Slot: fmt::Debug + Send + Sync + 'static;

    /// Takes memory for a slot of `bytes` bytes.
    ///
    /// # Errors
    ///
    /// The error of the device if there is none left.
    fn allocate(&self, bytes: u64) -> io::Result<Self::Slot>;

    /// Fills a slot with an expert, and returns when it can be used. `read` gives the bytes of a part.
    ///
    /// # Errors
    ///
    /// The error of `read` or of the device. The slot holds nothing then, and will be filled again.
    fn fill(&self, slot: &mut Self::Slot, parts: &[SlotPart], read: &mut ReadRange<'_>) -> io::Result<()>;
}

/// Slots in host memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host;

/// A slot in host memory.
pub struct HostSlot {
    memory: Vec<u8>,
    /// Start of the slot in its memory, so that it is aligned.
    start: usize,
}

impl HostSlot {
    /// Returns the bytes of a part of the expert that the slot holds.
    #[must_use]
    pub fn part(&self, part: &SlotPart) -> &[u8] {
        let (at, len) = place(part).unwrap_or((0, 0));
        self.memory.get(self.start + at..self.start + at + len).unwrap_or_default()
    }
}

impl fmt::Debug for HostSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostSlot({} bytes)", self.memory.len() - self.start)
    }
}

impl SlotDevice for Host {
    type Slot = HostSlot;

    fn allocate(&self, bytes: u64) -> io::Result<HostSlot> {
        let alignment = usize::try_from(SLOT_ALIGNMENT).expect("it is small");
        let wanted = usize::try_from(bytes).ok().and_then(|bytes| bytes.checked_add(alignment));
        let wanted = wanted.ok_or(io::ErrorKind::OutOfMemory)?;
        let mut memory = Vec::new();
        memory.try_reserve_exact(wanted).map_err(|_| io::ErrorKind::OutOfMemory)?;
        memory.resize(wanted, 0);
        let start = memory.as_ptr().align_offset(alignment).min(alignment);
        Ok(HostSlot { memory, start })
    }

    fn fill(&self, slot: &mut HostSlot, parts: &[SlotPart], read: &mut ReadRange<'_>) -> io::Result<()> {
        for part in parts {
            let (at, len) = place(part).ok_or(io::ErrorKind::OutOfMemory)?;
            let into = slot.memory.get_mut(slot.start + at..slot.start + at + len);
            read(&part.range, into.ok_or(io::ErrorKind::OutOfMemory)?)?;
        }
        Ok(())
    }
}

/// Start and length of a part in memory.
fn place(part: &SlotPart) -> Option<(usize, usize)> {
    Some((usize::try_from(part.at).ok()?, usize::try_from(part.range.len()).ok()?))
}
