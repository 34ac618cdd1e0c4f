//! Damaged blobs of stored models, had again from a registry: only the chunks that are wrong.

use longshore_manifest::{
    Digest, Progress, Store,
    store::{BlobReader, BlobWriter, Ingest},
};
use longshore_transfer::Download;

use crate::{
    CHUNK, Registry, RegistryError,
    hash::COPY,
    pull::Remote,
    wire::{Artifact, Entry},
};

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mended {
    /// Blobs that are whole again, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// Blobs of which the registry sends other bytes, with the digests of these. They stay as they were.
    pub wrong: Vec<(Digest, Digest)>,
    /// Bytes that were received.
    pub moved_bytes: u64,
}

/// Makes damaged or missing blobs of the store whole again, as far as the model in the registry has them. Of a blob of more than 16 MiB, only
/// the chunks are fetched that are wrong, and all of it if its chunks do not make it whole. Every blob is checked by its digest before it
/// takes the place of the damaged one; no name changes.
///
/// # Errors
///
/// [`RegistryError::NotFound`], [`RegistryError::Wire`], [`RegistryError::Digest`] and [`RegistryError::Transfer`] as a pull;
/// [`RegistryError::Ingest`] and [`RegistryError::Fs`] if the store cannot take them. What was right before an error of the transfer takes
/// its place nevertheless.
pub fn mend(
    registry: &Registry,
    store: &Store,
    bad: &[Digest],
    progress: &dyn Progress,
) -> Result<Mended, RegistryError> {
    let remote = Remote::read(registry, progress)?;
    let wanted: Vec<&Entry> = remote.checked.blobs.iter().filter(|blob| bad.contains(&blob.digest)).collect();
    progress.begin("repairing", wanted.iter().map(|blob| blob.size).sum());
    let ingest = store.ingest()?;
    let artifact = &remote.checked.artifact;
    let mut made = Made::default();
    let mut failed = None;
    for blob in wanted {
        if let Err(error) = made.blob(registry, artifact, store, &ingest, blob, progress) {
            failed = Some(error);
            break;
        }
    }
    let Made { right, wrong, moved_bytes } = made;
    let blobs = ingest.mend(&right)?;
    failed.map_or(Ok(Mended { blobs, wrong, moved_bytes }), Err)
}

/// What was made of the blobs so far.
#[derive(Default)]
struct Made {
    right: Vec<Digest>,
    wrong: Vec<(Digest, Digest)>,
    moved_bytes: u64,
}

impl Made {
    /// Makes a blob: of its chunks that are right and others from the registry, and else of the registry's alone.
    fn blob(
        &mut self,
        registry: &Registry,
        artifact: &Artifact,
        store: &Store,
        ingest: &Ingest<'_>,
        blob: &Entry,
        progress: &dyn Progress,
    ) -> Result<(), RegistryError> {
        let stored = store.open_blob(&blob.digest).ok();
        let mut stored = stored.filter(|stored| stored.byte_len().is_ok_and(|len| len == blob.size));
        // What is made a second time is counted already.
        let mut counts = true;
        loop {
            let writer = ingest.replacement(blob.digest)?;
            let mut kept = false;
            let mut mending = Mending { registry, artifact, blob, writer, progress, counts, moved_bytes: 0 };
            let done = mending.all(stored.as_ref(), &mut kept);
            self.moved_bytes += mending.moved_bytes;
            done?;
            let found = mending.writer.finish()?.digest;
            if found == blob.digest {
                self.right.push(blob.digest);
                return Ok(());
            }
            if !kept {
                self.wrong.push((blob.digest, found));
                return Ok(());
            }
            (stored, counts) = (None, false);
        }
    }
}

/// Whether a chunk of a stored blob has its digest. One that cannot be read has not.
fn is_right(stored: &BlobReader, start: u64, end: u64, expected: Digest) -> bool {
    let mut hasher = longshore_manifest::Hasher::default();
    let mut buffer = vec![0; COPY];
    let mut at = start;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(COPY).min(COPY);
        if stored.read_exact_at(&mut buffer[..want], at).is_err() {
            return false;
        }
        hasher.update(&buffer[..want]);
        at += want as u64;
    }
    hasher.finish() == expected
}

/// A blob that is being written anew.
struct Mending<'a> {
    registry: &'a Registry,
    artifact: &'a Artifact,
    blob: &'a Entry,
    writer: BlobWriter<'a>,
    progress: &'a dyn Progress,
    /// Whether the progress is told of what is made.
    counts: bool,
    moved_bytes: u64,
}

impl Mending<'_> {
    /// Writes all of the blob: the right chunks of `stored`, if it has digests of them, and the rest from the registry. Says whether any
    /// were kept.
    fn all(&mut self, stored: Option<&BlobReader>, kept: &mut bool) -> Result<(), RegistryError> {
        for number in 0..self.blob.size.div_ceil(CHUNK) {
            let (start, end) = (number * CHUNK, self.blob.size.min((number + 1) * CHUNK));
            let expected = usize::try_from(number).ok().and_then(|number| self.blob.chunks.get(number));
            match stored.zip(expected) {
                Some((stored, expected)) if is_right(stored, start, end, *expected) => {
                    *kept = true;
                    self.keep(stored, start, end)?;
                }
                _ => self.fetch(start, end)?,
            }
        }
        Ok(())
    }

    fn keep(&mut self, stored: &BlobReader, start: u64, end: u64) -> Result<(), RegistryError> {
        let mut buffer = vec![0; COPY];
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(COPY).min(COPY);
            stored.read_exact_at(&mut buffer[..want], at)?;
            self.writer.write_at(at, &buffer[..want])?;
            if self.counts {
                self.progress.advance(want as u64);
            }
            at += want as u64;
        }
        Ok(())
    }

    /// Fetches a range of the blob from wherever it lies.
    fn fetch(&mut self, start: u64, end: u64) -> Result<(), RegistryError> {
        let stop = || self.progress.cancelled();
        let mut before = 0;
        for &(layer, offset, len) in &self.blob.at {
            let (from, to) = (start.max(before), end.min(before + len));
            if from < to {
                let layer = &self.artifact.layers[layer];
                let url = self.registry.blob_url(&layer.digest)?;
                let (first, last) = (offset + from - before, offset + to - before);
                let what = Download { url: &url, size: layer.size, start: first, end: last };
                let mut at = from;
                let (writer, progress, moved) = (&mut self.writer, self.progress, &mut self.moved_bytes);
                let counts = self.counts;
                let mut accept = |bytes: &[u8]| {
                    writer.write_at(at, bytes).map_err(std::io::Error::other)?;
                    at += bytes.len() as u64;
                    *moved += bytes.len() as u64;
                    if counts {
                        progress.advance(bytes.len() as u64);
                    }
                    Ok(())
                };
                self.registry.client().download(&what, &mut accept, &stop)?;
            }
            before += len;
        }
        Ok(())
    }
}
