//! Fills an arena: threads read pieces into their own slots and queue the copies.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use longshore_manifest::weights::plan::Piece;

use crate::{
    CallError, CudaError, LoadOptions,
    driver::{DeviceMemory, Slot, Stream},
    read::{Blobs, Filler},
};

/// What one load does, for all of its threads.
pub(super) struct Transfer<'l> {
    pub(super) blobs: &'l Blobs<'l>,
    pub(super) memory: &'l DeviceMemory,
    pub(super) options: &'l LoadOptions<'l>,
    /// What is handed out: the pieces of a task go to one thread, in their order.
    tasks: Vec<Task>,
    next: AtomicUsize,
    /// The first error; the rest follow from it, or are of no more use.
    error: Mutex<Option<CudaError>>,
    failed: AtomicBool,
    direct_bytes: AtomicU64,
}

struct Task {
    pieces: Vec<Piece>,
    /// The blob whose digest is to be checked; all pieces are of it.
    digest: Option<usize>,
}

impl<'l> Transfer<'l> {
    pub(super) fn new(
        blobs: &'l Blobs<'l>,
        memory: &'l DeviceMemory,
        options: &'l LoadOptions<'l>,
        slot_bytes: u64,
    ) -> Self {
        Self {
            blobs,
            memory,
            options,
            tasks: tasks(blobs, options.verify, slot_bytes),
            next: AtomicUsize::new(0),
            error: Mutex::default(),
            failed: AtomicBool::new(false),
            direct_bytes: AtomicU64::new(0),
        }
    }

    /// Runs on as many threads as there are groups of slots, this one included. Afterwards no copy is in flight.
    pub(super) fn run(&self, slots: &mut [Slot], per_thread: usize, streams: &[Arc<Stream>]) {
        let threads = self.tasks.len().max(1);
        let mut groups = slots.chunks_mut(per_thread).take(threads).zip(streams.iter().cycle());
        let mine = groups.next();
        std::thread::scope(|scope| {
            for (slots, stream) in groups {
                let name = "longshore-load".to_owned();
                // Where no more threads can be had, those that there are do the work.
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

    /// The bytes that were read past the page cache, or the first error.
    pub(super) fn finish(self) -> Result<u64, CudaError> {
        match self.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(self.direct_bytes.into_inner()),
        }
    }

    /// One thread's work.
    fn work(&self, slots: &mut [Slot], stream: &Arc<Stream>) {
        let mut sent = vec![0; slots.len()];
        let worked = match self.memory.context().enter() {
            Ok(_entered) => self.send_all(slots, &mut sent, stream),
            Err(error) => Err(self.copy_error(0, error)),
        };
        if let Err(error) = worked {
            self.fail(error);
        }
        // Whatever happened, nothing reads the slots and nothing writes to the arena after this.
        for (slot, at) in slots.iter_mut().zip(sent) {
            if let Err(error) = slot.settle() {
                self.fail(self.copy_error(at, error));
            }
        }
    }

    /// `sent` is where in the arena the bytes go that were last in each slot.
    fn send_all(&self, slots: &mut [Slot], sent: &mut [u64], stream: &Arc<Stream>) -> Result<(), CudaError> {
        let mut filler = Filler::new(self.blobs);
        let mut turn = (0..slots.len()).cycle();
        while let Some(task) = self.tasks.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(blob) = task.digest {
                filler.start_digest(blob);
            }
            for piece in &task.pieces {
                if self.failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                if self.options.progress.cancelled() {
                    return Err(CudaError::Cancelled);
                }
                let turn = turn.next().expect("a thread has slots");
                let len = usize::try_from(piece.arena.end - piece.arena.start).expect("a piece fits in a slot");
                let buffer = slots[turn].buffer().map_err(|error| self.copy_error(sent[turn], error))?;
                filler.fill(piece, &mut buffer[..len])?;
                let at = piece.arena.start;
                sent[turn] = at;
                let place = usize::try_from(at).expect("the arena was allocated");
                slots[turn].send(len, self.memory, place, stream).map_err(|error| self.copy_error(at, error))?;
                self.options.progress.advance(len as u64);
            }
            filler.finish_digest()?;
        }
        self.direct_bytes.fetch_add(filler.direct_bytes, Ordering::Relaxed);
        filler.close()
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

/// Pieces one by one; or, to be hashed, whole blobs, the largest first so that no thread ends with one that all others wait for.
fn tasks(blobs: &Blobs<'_>, verify: bool, slot_bytes: u64) -> Vec<Task> {
    let plan = blobs.plan;
    let cut = longshore_manifest::weights::plan::Cut::new(slot_bytes);
    if !verify {
        return plan.pieces(&cut).into_iter().map(|piece| Task { pieces: vec![piece], digest: None }).collect();
    }
    let blob = |pieces: &[Piece]| pieces.first().and_then(|piece| piece.fetches.first()).map(|fetch| fetch.blob);
    let task = |pieces: Vec<Piece>| {
        let digest = blob(&pieces).filter(|blob| plan.blobs[*blob].is_whole);
        Task { pieces, digest }
    };
    let mut tasks: Vec<_> = plan.pieces_by_blob(&cut).into_iter().map(task).collect();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.pieces.len()));
    tasks
}
