//! Fills an arena: threads read pieces into their own slots, and queue the copies.

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use longshore_manifest::document::Chunks;

use crate::{
    CallError, CudaError, LoadOptions, LoadReport,
    driver::{DeviceMemory, Slot, Stream},
    read::{Blobs, Filler, Schedule},
};

/// State of one load that all of its threads share.
pub(super) struct Transfer<'l> {
    pub(super) blobs: &'l Blobs<'l>,
    pub(super) memory: &'l DeviceMemory,
    pub(super) options: &'l LoadOptions<'l>,
    schedule: Schedule<'l>,
    /// The first error. Later errors follow from it, or do not matter.
    error: Mutex<Option<CudaError>>,
    failed: AtomicBool,
    direct_bytes: AtomicU64,
    ring_bytes: AtomicU64,
}

/// Slots of one thread.
struct Mine<'s> {
    transfer: &'s Transfer<'s>,
    slots: &'s mut [Slot],
    /// Arena offset of the last bytes in each slot.
    sent: Vec<u64>,
}

impl<'l> Transfer<'l> {
    pub(super) fn new(
        blobs: &'l Blobs<'l>,
        memory: &'l DeviceMemory,
        options: &'l LoadOptions<'l>,
        slot_bytes: u64,
        chunks: &'l [Option<&'l Chunks>],
    ) -> Self {
        Self {
            blobs,
            memory,
            options,
            schedule: Schedule::new(blobs.plan, options.verify, slot_bytes, chunks),
            error: Mutex::default(),
            failed: AtomicBool::new(false),
            direct_bytes: AtomicU64::new(0),
            ring_bytes: AtomicU64::new(0),
        }
    }

    /// Runs the load on as many threads as there are groups of slots, including this thread. No copy is in flight
    /// afterwards.
    pub(super) fn run(&self, slots: &mut [Slot], per_thread: usize, streams: &[Arc<Stream>]) {
        let threads = self.schedule.len().max(1);
        let mut groups = slots.chunks_mut(per_thread).take(threads).zip(streams.iter().cycle());
        let mine = groups.next();
        std::thread::scope(|scope| {
            for (slots, stream) in groups {
                let name = "longshore-load".to_owned();
                // Where no more threads can be started, the running ones do all the work.
                let spawned =
                    std::thread::Builder::new().name(name).spawn_scoped(scope, move || self.work(slots, stream));
                if spawned.is_err() {
                    break;
                }
            }
            if let Some((slots, stream)) = mine {
                self.work(slots, stream);
            }
        });
    }

    /// Adds to the report how bytes were read, or returns the first error.
    pub(super) fn finish(self, report: &mut LoadReport) -> Result<(), CudaError> {
        (report.direct_bytes, report.ring_bytes) = (self.direct_bytes.into_inner(), self.ring_bytes.into_inner());
        self.error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Work of one thread.
    fn work(&self, slots: &mut [Slot], stream: &Arc<Stream>) {
        let mut mine = Mine { transfer: self, sent: vec![0; slots.len()], slots };
        let worked = match self.memory.context().enter() {
            Ok(_entered) => self.send_all(&mut mine, stream),
            Err(error) => Err(self.copy_error(0, error)),
        };
        if let Err(error) = worked {
            self.fail(error);
        }
    }

    fn send_all(&self, Mine { slots, sent, .. }: &mut Mine<'_>, stream: &Arc<Stream>) -> Result<(), CudaError> {
        let mut filler = Filler::new(self.blobs);
        let mut turn = (0..slots.len()).cycle();
        self.schedule.work(&mut filler, |filler, piece, next| {
            if self.failed.load(Ordering::Relaxed) {
                return Ok(ControlFlow::Break(()));
            }
            if self.options.progress.cancelled() {
                return Err(CudaError::Cancelled);
            }
            let turn = turn.next().expect("a thread has slots");
            let len = usize::try_from(piece.arena.end - piece.arena.start).expect("a piece fits in a slot");
            let buffer = slots[turn].buffer().map_err(|error| self.copy_error(sent[turn], error))?;
            filler.fill(piece, next, &mut buffer[..len])?;
            let at = piece.arena.start;
            sent[turn] = at;
            let place = usize::try_from(at).expect("the arena was allocated");
            slots[turn].send(len, self.memory, place, stream).map_err(|error| self.copy_error(at, error))?;
            self.options.progress.advance(len as u64);
            Ok(ControlFlow::Continue(()))
        })?;
        self.direct_bytes.fetch_add(filler.direct_bytes, Ordering::Relaxed);
        self.ring_bytes.fetch_add(filler.ring_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn copy_error(&self, arena: u64, source: CallError) -> CudaError {
        let tensor = self.blobs.plan.tensor_at(arena).map_or_else(String::new, |tensor| tensor.name.clone());
        CudaError::Copy { ordinal: self.memory.context().ordinal(), tensor, source }
    }

    fn fail(&self, error: CudaError) {
        self.failed.store(true, Ordering::Relaxed);
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

impl Drop for Mine<'_> {
    /// Waits until nothing reads the slots or writes to the arena, even after a panic in the caller's progress.
    fn drop(&mut self) {
        for (slot, at) in self.slots.iter_mut().zip(&self.sent) {
            if let Err(error) = slot.settle() {
                self.transfer.fail(self.transfer.copy_error(*at, error));
            }
        }
        if std::thread::panicking() {
            self.transfer.failed.store(true, Ordering::Relaxed);
        }
    }
}
