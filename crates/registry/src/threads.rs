//! Work shared among threads. The first error ends it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::RegistryError;

/// Work on one of several things, and a function that says whether another thread has failed.
type Work<'w> = dyn Fn(usize, &(dyn Fn() -> bool + Sync)) -> Result<(), RegistryError> + Sync + 'w;

/// Does `work` for each of `0..count` on up to `threads` threads. `work` gets a function that says whether another thread has failed.
pub(crate) fn share(threads: usize, count: usize, work: &Work<'_>) -> Result<(), RegistryError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let error = Mutex::new(None);
    let stop = || failed.load(Ordering::Relaxed);
    let run = || {
        while !stop() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            if let Err(found) = work(at, &stop)
                && !failed.swap(true, Ordering::Relaxed)
            {
                *error.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(count) {
            scope.spawn(run);
        }
        run();
    });
    error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
