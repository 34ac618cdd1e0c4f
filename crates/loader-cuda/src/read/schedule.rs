//! Hands the pieces of a plan out to threads.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
};

use longshore_manifest::{
    document::Chunks,
    weights::plan::{Cut, LoadPlan, Piece},
};

use super::{Filler, Hashed};
use crate::CudaError;

/// Least length of the part of a blob that a task hashes, in bytes. What lies between two parts is read twice: up to a chunk.
const PART: u64 = 8 * Chunks::SIZE;

/// Tasks of a plan. Each task goes to one thread.
#[derive(Debug)]
pub(crate) struct Schedule<'c> {
    tasks: Vec<Task>,
    /// Digests of the chunks of each blob, where it is hashed by them.
    chunks: &'c [Option<&'c Chunks>],
    next: AtomicUsize,
}

/// Pieces that go to one thread, in order.
#[derive(Debug)]
struct Task {
    pieces: Vec<Piece>,
    /// The part that is verified meanwhile. All pieces of the task belong to that blob.
    hashed: Option<Hashed>,
}

impl<'c> Schedule<'c> {
    /// Creates a task per piece, or per whole blob where blobs are to be hashed, and several for a blob that is hashed by its chunks. The
    /// largest come first, so that no thread ends with one that all others wait for.
    pub(crate) fn new(plan: &LoadPlan, verify: bool, slot_bytes: u64, chunks: &'c [Option<&'c Chunks>]) -> Self {
        let cut = Cut::new(slot_bytes);
        let blob = |pieces: &[Piece]| pieces.first().and_then(|piece| piece.fetches.first()).map(|fetch| fetch.blob);
        let hashed = |pieces: Vec<Piece>| match blob(&pieces).filter(|blob| plan.blobs[*blob].is_whole) {
            Some(blob) if chunks.get(blob).is_some_and(Option::is_some) => by_chunks(blob, pieces),
            whole => {
                let hashed = whole.map(|blob| Hashed { blob, start: 0, end: None });
                vec![Task { pieces, hashed }]
            }
        };
        let alone = |piece| Task { pieces: vec![piece], hashed: None };
        let mut tasks: Vec<_> = if verify {
            plan.pieces_by_blob(&cut).into_iter().flat_map(hashed).collect()
        } else {
            plan.pieces(&cut).into_iter().map(alone).collect()
        };
        tasks.sort_by_key(|task| std::cmp::Reverse(task.pieces.len()));
        Self { tasks, chunks, next: AtomicUsize::new(0) }
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
            if let Some(hashed) = &task.hashed {
                filler.start_digest(hashed.clone(), self.chunks.get(hashed.blob).copied().flatten());
            }
            for (at, piece) in task.pieces.iter().enumerate() {
                let mut next = task.pieces.get(at + 1);
                if next.is_none() && task.hashed.is_none() && filler.looks_ahead() {
                    ahead = self.take();
                    // The first piece of a hashed blob must not be read ahead, because its hashing has not started.
                    next = ahead.filter(|ahead| ahead.hashed.is_none()).and_then(|ahead| ahead.pieces.first());
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

/// Tasks of a blob that is hashed by its chunks. A chunk is the task's in whose pieces it begins.
fn by_chunks(blob: usize, pieces: Vec<Piece>) -> Vec<Task> {
    let mut tasks = Vec::new();
    let mut start = 0;
    let mut own: Vec<Piece> = Vec::new();
    for piece in pieces {
        let first = piece.fetches.first().map_or(start, |fetch| fetch.file.start);
        let edge = first.next_multiple_of(Chunks::SIZE);
        if !own.is_empty() && edge >= start + PART {
            let hashed = Hashed { blob, start, end: Some(edge) };
            tasks.push(Task { pieces: std::mem::take(&mut own), hashed: Some(hashed) });
            start = edge;
        }
        own.push(piece);
    }
    tasks.push(Task { pieces: own, hashed: Some(Hashed { blob, start, end: None }) });
    tasks
}
