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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The numbers of rows that each call had, in ascending order.
    fn parts(rows: usize, threads: usize) -> Vec<usize> {
        let found = Mutex::new(Vec::new());
        let work = |part: &mut [f32]| found.lock().expect("no thread panics").push(part.len() / 3);
        share_rows(&mut vec![0.0; rows * 3], 3, threads.try_into().expect("it is not 0"), &work);
        let mut found = found.into_inner().expect("no thread panics");
        found.sort_unstable();
        found
    }

    #[test]
    fn threads_have_as_many_rows_each_and_few_rows_have_one() {
        assert_eq!(parts(256, 4), [64; 4]);
        assert_eq!(parts(257, 2), [128, 129]);
        assert_eq!(parts(130, 4), [65, 65]);
        assert_eq!(parts(127, 4), [127]);
        assert_eq!(parts(0, 2), [0]);
    }
}
