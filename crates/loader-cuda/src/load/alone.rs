//! The reading half of a load, without a device.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use longshore_manifest::{
    Store,
    document::TensorTable,
    weights::plan::{Cut, LoadPlan, PlanOptions, Selection},
};

use super::{LoadOptions, LoaderOptions};
use crate::{
    CudaError,
    read::{Blobs, Filler},
};

/// Reads what a load would, with as many threads into as many buffers of the same size, and copies it nowhere; how long that took, the
/// making of the plan and of the buffers not counted. A yardstick: no load is faster than this, and it needs no device.
///
/// # Errors
///
/// Those of [`Loader::load`](crate::Loader::load) that are about the selection and the blobs.
pub fn read_alone(
    store: &Store,
    table: &TensorTable,
    selection: &Selection,
    made: &LoaderOptions,
    options: &LoadOptions<'_>,
) -> Result<Duration, CudaError> {
    let made = made.sensible();
    let mut plan_options = PlanOptions::default();
    plan_options.dtype = options.dtype;
    let plan = LoadPlan::new(table, selection, &plan_options)?;
    let pieces = plan.pieces(&Cut::new(made.slot_bytes as u64));
    let blobs = Blobs::new(store, &plan, options.cold);
    let next = AtomicUsize::new(0);
    let mut ring = vec![1_u8; made.threads * made.slots_per_thread * made.slot_bytes];
    let work = &|slots: &mut [u8]| -> Result<(), CudaError> {
        let mut filler = Filler::new(&blobs);
        let mut turn = 0;
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            let len = usize::try_from(piece.arena.end - piece.arena.start).expect("a piece fits in a slot");
            filler.fill(piece, &mut slots[turn * made.slot_bytes..][..len])?;
            turn = (turn + 1) % made.slots_per_thread;
        }
        filler.close()
    };
    let started = Instant::now();
    let read = std::thread::scope(|scope| {
        let groups = ring.chunks_mut(made.slots_per_thread * made.slot_bytes);
        let threads: Vec<_> = groups.map(|slots| scope.spawn(move || work(slots))).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.fold(Ok(()), Result::and)
    });
    let time = started.elapsed();
    read.map(|()| time)
}
