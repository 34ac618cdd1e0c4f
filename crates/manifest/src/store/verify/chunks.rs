//! Digests of the chunks of many blobs, on all threads, however few blobs there are.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{
    super::{Store, blob::read_exact_at, hash::COPY},
    VerifyError,
};
use crate::{Digest, Hasher, Progress, document::Chunks, fs, parallel};

impl Store {
    /// Hashes the chunks of blobs of these sizes, and not the blobs as wholes. A blob of which a chunk cannot be read is left out.
    pub(super) fn hash_chunks(
        &self,
        blobs: &[(Digest, u64)],
        progress: &dyn Progress,
    ) -> Result<HashMap<Digest, Chunks>, VerifyError> {
        let of_blob = |&(digest, size): &(Digest, u64)| (0..Chunks::count(size)).map(move |at| (digest, size, at));
        let chunks: Vec<_> = blobs.iter().flat_map(of_blob).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut buffer = Vec::new();
            let mut found = Vec::new();
            while let Some((number, &(digest, size, at))) = take(&next, &chunks) {
                if progress.cancelled() {
                    return Err(VerifyError::Cancelled);
                }
                found.push((number, self.hash_chunk(digest, size, at, &mut buffer, progress)));
            }
            Ok(found)
        };
        let found: Result<Vec<_>, VerifyError> = parallel::on_all_threads(work).into_iter().collect();
        let mut found: Vec<_> = found?.into_iter().flatten().collect();
        found.sort_unstable_by_key(|(number, _)| *number);
        let mut whole: HashMap<Digest, Option<Chunks>> = HashMap::new();
        for ((digest, ..), (_, found)) in chunks.iter().zip(found) {
            let list = whole.entry(*digest).or_insert_with(|| Some(Chunks::new(Vec::new())));
            match found {
                Some(found) => list.iter_mut().for_each(|list| list.digests.push(found)),
                None => *list = None,
            }
        }
        Ok(whole.into_iter().filter_map(|(digest, list)| Some((digest, list?))).collect())
    }

    /// The digest of one chunk, if it can be read.
    fn hash_chunk(
        &self,
        digest: Digest,
        size: u64,
        at: u64,
        buffer: &mut Vec<u8>,
        progress: &dyn Progress,
    ) -> Option<Digest> {
        fs::resize(buffer, COPY).ok()?;
        let file = fs::open(&self.blob_path(&digest)).ok()?;
        let range = Chunks::range(at, size);
        let mut hasher = Hasher::default();
        let mut start = range.start;
        while start < range.end {
            let want = usize::try_from(range.end - start).unwrap_or(COPY).min(COPY);
            read_exact_at(&file, &mut buffer[..want], start).ok()?;
            hasher.update(&buffer[..want]);
            progress.advance(want as u64);
            start += want as u64;
        }
        Some(hasher.finish())
    }
}

/// The next item, and its place.
fn take<'i, T>(next: &AtomicUsize, items: &'i [T]) -> Option<(usize, &'i T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, items.get(at)?))
}
