//! Rows of a matrix, shared among threads.

use std::num::NonZero;

/// Calls `work` with all rows of `size` numbers, in as many parts of whole rows as there are threads.
pub(crate) fn share_rows(rows: &mut [f32], size: usize, threads: NonZero<usize>, work: &(dyn Fn(&mut [f32]) + Sync)) {
    /// Fewer rows are not worth a thread.
    const LEAST: usize = 64;
    let count = rows.len() / size.max(1);
    let parts = threads.get().min(count / LEAST).max(1);
    if parts == 1 {
        return work(rows);
    }
    std::thread::scope(|scope| {
        let mut chunks = rows.chunks_mut(count.div_ceil(parts) * size);
        let own = chunks.next();
        for chunk in chunks {
            scope.spawn(move || work(chunk));
        }
        if let Some(own) = own {
            work(own);
        }
    });
}
