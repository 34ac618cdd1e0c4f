//! Hands the pieces of a plan out to threads.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
};

use longshore_manifest::weights::plan::{Cut, LoadPlan, Piece};

use super::Filler;
use crate::CudaError;

/// Tasks of a plan. Each task goes to one thread.
#[derive(Debug)]
pub(crate) struct Schedule {
    tasks: Vec<Task>,
    next: AtomicUsize,
}

/// Pieces that go to one thread, in order.
#[derive(Debug)]
struct Task {
    pieces: Vec<Piece>,
    /// Blob whose digest is to be verified. All pieces of the task belong to it.
    digest: Option<usize>,
}

impl Schedule {
    /// Creates a task per piece, or per whole blob where blobs are to be hashed. The largest blobs come first, so that
    /// no thread ends with one that all others wait for.
    pub(crate) fn new(plan: &LoadPlan, verify: bool, slot_bytes: u64) -> Self {
        let cut = Cut::new(slot_bytes);
        let blob = |pieces: &[Piece]| pieces.first().and_then(|piece| piece.fetches.first()).map(|fetch| fetch.blob);
        let whole = |pieces: Vec<Piece>| {
            let digest = blob(&pieces).filter(|blob| plan.blobs[*blob].is_whole);
            Task { pieces, digest }
        };
        let alone = |piece| Task { pieces: vec![piece], digest: None };
        let mut tasks: Vec<_> = if verify {
            plan.pieces_by_blob(&cut).into_iter().map(whole).collect()
        } else {
            plan.pieces(&cut).into_iter().map(alone).collect()
        };
        tasks.sort_by_key(|task| std::cmp::Reverse(task.pieces.len()));
        Self { tasks, next: AtomicUsize::new(0) }
    }

    /// Number of tasks, and of threads that have something to do.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Work of one thread. Calls `each` with a piece, and with the next piece where that helps, until nothing is left
    /// or `each` breaks off.
    pub(crate) fn work<'p>(
        &'p self,
        filler: &mut Filler<'p>,
        mut each: impl FnMut(&mut Filler<'p>, &'p Piece, Option<&'p Piece>) -> Result<ControlFlow<()>, CudaError>,
    ) -> Result<(), CudaError> {
        let mut ahead = None;
        while let Some(task) = ahead.take().or_else(|| self.take()) {
            if let Some(blob) = task.digest {
                filler.start_digest(blob);
            }
            for (at, piece) in task.pieces.iter().enumerate() {
                let mut next = task.pieces.get(at + 1);
                if next.is_none() && task.digest.is_none() && filler.looks_ahead() {
                    ahead = self.take();
                    // The first piece of a hashed blob must not be read ahead, because its hashing has not started.
                    next = ahead.filter(|ahead| ahead.digest.is_none()).and_then(|ahead| ahead.pieces.first());
                }
                if each(filler, piece, next)?.is_break() {
                    return Ok(());
                }
            }
            filler.finish_digest()?;
        }
        filler.close()
    }

    fn take(&self) -> Option<&Task> {
        self.tasks.get(self.next.fetch_add(1, Ordering::Relaxed))
    }
}
