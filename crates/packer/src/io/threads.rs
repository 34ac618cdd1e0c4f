//! The number of threads that share a piece of work.

use std::{num::NonZero, thread};

/// The number of threads to use: `asked`, or the number of processors that the machine offers if `asked` is `None`.
pub(crate) fn threads(asked: Option<NonZero<usize>>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get)
}

/// Runs `work` on this thread and on as many others as make `threads`, and returns the results, that of this thread first. `work`
/// takes its share from a common queue: if the system starts no more threads, those that run do all of it.
pub(crate) fn share<T: Send>(threads: usize, work: &(dyn Fn() -> T + Sync)) -> Vec<T> {
    thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads).map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let own = work();
        let joined = others.into_iter().map(|thread| match thread.join() {
            Ok(done) => done,
            // The panic of a thread is that of whoever shared the work.
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(own).chain(joined).collect()
    })
}
