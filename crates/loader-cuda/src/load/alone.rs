//! Measures the reading half of a load, without a device.

use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use longshore_manifest::{
    Store,
    document::TensorTable,
    weights::plan::{LoadPlan, LoadPlanOptions, Selection},
};

use super::{LoadOptions, LoadReport, LoaderOptions};
use crate::{
    CudaError,
    read::{Blobs, Filler, Schedule},
};

/// Reads the bytes of a load, with the same number of threads and buffers of the same size, without copying them to a
/// device, so none is needed. The report's time covers only the reading; the plan and the buffers are made before. No
/// load can be faster than this.
///
/// # Errors
///
/// The errors of [`Loader::load`](crate::Loader::load) about the selection and the blobs.
pub fn read_alone(
    store: &Store,
    table: &TensorTable,
    selection: &Selection,
    made: &LoaderOptions,
    options: &LoadOptions<'_>,
) -> Result<LoadReport, CudaError> {
    let made = made.sensible();
    let plan_options = LoadPlanOptions { dtype: options.dtype, ..LoadPlanOptions::default() };
    let plan = LoadPlan::new(table, selection, &plan_options)?;
    let mut report = LoadReport::of(&plan, options.verify);
    let blobs = Blobs::new(store, &plan, options.cold);
    let schedule = Schedule::new(&plan, options.verify, made.slot_bytes as u64);
    let (direct_bytes, ring_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let group = made.slots_per_thread.saturating_mul(made.slot_bytes);
    let mut ring = vec![1_u8; made.threads.saturating_mul(group)];
    let work = &|slots: &mut [u8]| -> Result<(), CudaError> {
        let mut filler = Filler::new(&blobs);
        let mut turn = (0..made.slots_per_thread).cycle();
        schedule.work(&mut filler, |filler, piece, next| {
            let at = turn.next().expect("a thread has slots") * made.slot_bytes;
            let len = usize::try_from(piece.arena.end - piece.arena.start).expect("a piece fits in a slot");
            filler.fill(piece, next, &mut slots[at..][..len])?;
            Ok(ControlFlow::Continue(()))
        })?;
        direct_bytes.fetch_add(filler.direct_bytes, Ordering::Relaxed);
        ring_bytes.fetch_add(filler.ring_bytes, Ordering::Relaxed);
        Ok(())
    };
    let started = Instant::now();
    let read = std::thread::scope(|scope| {
        let threads: Vec<_> = ring.chunks_mut(group).map(|slots| scope.spawn(move || work(slots))).collect();
        let joined =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.fold(Ok(()), Result::and)
    });
    report.time = started.elapsed();
    (report.direct_bytes, report.ring_bytes) = (direct_bytes.into_inner(), ring_bytes.into_inner());
    read.map(|()| report)
}
