//! Threads that have no job left, and may help with the job of another.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of threads of an import that have nothing to do.
#[derive(Debug)]
pub(super) struct Spare(AtomicUsize);

impl Spare {
    /// Starts with `count` threads that have nothing to do.
    pub(super) fn new(count: usize) -> Self {
        Self(AtomicUsize::new(count))
    }

    /// Adds a thread.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of threads at this moment. Others may take or add some meanwhile.
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes a thread, if there is one.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        taken.ok().map(|_| Taken(self))
    }
}

/// A thread that has something to do. Dropped, it has nothing again.
#[derive(Debug)]
pub(super) struct Taken<'s>(&'s Spare);

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.0.add();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_thread_is_taken_twice() {
        let spare = Spare::new(1);
        let taken = spare.take();
        assert!(taken.is_some() && spare.take().is_none());
        drop(taken);
        assert!(spare.take().is_some());
        spare.add();
        assert_eq!([(); 3].map(|()| spare.take()).iter().flatten().count(), 2);
    }
}
