//! Whether there are threads to share work with.

#[cfg(feature = "parallel")]
pub(crate) use pool::{map, map_with, on_all_threads};
#[cfg(not(feature = "parallel"))]
pub(crate) use single::{map, map_with, on_all_threads};

/// The threads of a rayon pool.
#[cfg(feature = "parallel")]
mod pool {
    use std::{error::Error as _, sync::OnceLock};

    use rayon::prelude::*;

    /// Whether work can be given to a rayon pool: the one that the caller is in, or the global one, which this makes if nobody has. The global
    /// pool panics where the system starts no thread; whoever asks before does the work alone then.
    fn is_there() -> bool {
        static GLOBAL: OnceLock<bool> = OnceLock::new();
        rayon::current_thread_index().is_some()
            || *GLOBAL.get_or_init(|| match rayon::ThreadPoolBuilder::new().build_global() {
                Ok(()) => true,
                // That it is there already has no cause.
                Err(error) => error.source().is_none(),
            })
    }

    /// Runs `work` on every thread of the pool, or on this thread alone where there is none.
    pub(crate) fn on_all_threads<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
        if is_there() { rayon::broadcast(|_| work()) } else { vec![work()] }
    }

    /// Returns the results of `work` for each item, in their order. A thread of the pool takes at least `run` of them at a time.
    pub(crate) fn map<I: Sync, T: Send>(items: &[I], run: usize, work: impl Fn(&I) -> T + Sync) -> Vec<T> {
        if items.len() > run && is_there() {
            items.par_iter().with_min_len(run).map(&work).collect()
        } else {
            items.iter().map(work).collect()
        }
    }

    /// Like [`map`] of items one at a time, with scratch memory that each thread keeps for many items.
    pub(crate) fn map_with<I: Sync, S: Default, T: Send>(items: &[I], work: impl Fn(&mut S, &I) -> T + Sync) -> Vec<T> {
        if items.len() > 1 && is_there() {
            items.par_iter().map_init(S::default, &work).collect()
        } else {
            let mut scratch = S::default();
            items.iter().map(|item| work(&mut scratch, item)).collect()
        }
    }
}

/// The calling thread.
#[cfg(not(feature = "parallel"))]
mod single {
    pub(crate) fn on_all_threads<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
        vec![work()]
    }

    pub(crate) fn map<I: Sync, T: Send>(items: &[I], _: usize, work: impl Fn(&I) -> T + Sync) -> Vec<T> {
        items.iter().map(work).collect()
    }

    pub(crate) fn map_with<I: Sync, S: Default, T: Send>(items: &[I], work: impl Fn(&mut S, &I) -> T + Sync) -> Vec<T> {
        let mut scratch = S::default();
        items.iter().map(|item| work(&mut scratch, item)).collect()
    }
}
