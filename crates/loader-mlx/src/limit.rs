//! The least that reading the weights can cost.

use std::{
    hint::black_box,
    num::NonZero,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
};

use crate::source::Index;

/// Bytes copied at a time, into a buffer that stays in a core's cache.
const CHUNK: usize = 256 << 10;
/// Bytes that a thread takes at a time.
const SHARE: usize = 16 << 20;

/// Copies every part of every tensor to nowhere, with as many threads as there are cores or as asked for.
pub(crate) fn read_all(index: &Index, threads: Option<NonZero<usize>>) -> u64 {
    let shares: Vec<_> = index
        .tensors
        .iter()
        .flat_map(|tensor| &tensor.parts)
        .flat_map(|part| (0..part.len).step_by(SHARE).map(move |at| (part, at, SHARE.min(part.len - at))))
        .collect();
    let (next, total) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        let mut buffer = vec![0; CHUNK];
        while let Some((part, at, len)) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
            let file = &index.files[part.file];
            file.read_ahead(part.offset + at, *len);
            for start in (0..*len).step_by(CHUNK) {
                let len = CHUNK.min(len - start);
                file.copy(part.offset + at + start, &mut buffer[..len]);
                black_box(&mut buffer);
            }
            total.fetch_add(*len as u64, Ordering::Relaxed);
        }
    };
    let threads = threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    total.into_inner()
}
