//! Damaged blobs of stored models, had again from a registry: only the chunks that are wrong.

use longshore_manifest::{
    Digest, Progress, Store,
    store::{BlobReader, BlobWriter},
};
use longshore_transfer::Download;

use crate::{
    CHUNK, Registry, RegistryError,
    pull::Remote,
    wire::{Artifact, Entry},
};

/// Number of bytes that are read at a time.
const COPY: usize = 256 << 10;

/// What a repair did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mended {
    /// Blobs that are whole again, with their sizes in bytes.
    pub blobs: Vec<(Digest, u64)>,
    /// Bytes that were received for them.
    pub moved_bytes: u64,
}

/// Makes damaged or missing blobs of the store whole again, as far as the model in the registry has them. Of a blob of more than 16 MiB, only
/// the chunks are fetched that are wrong. Every blob is checked by its digest before it takes the place of the damaged one; no name changes.
///
/// # Errors
///
/// [`RegistryError::NotFound`], [`RegistryError::Wire`] and [`RegistryError::Digest`] as a pull; [`RegistryError::Ingest`] and
/// [`RegistryError::Fs`] if the store cannot take them.
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
    let mut moved_bytes = 0;
    let mut digests = Vec::new();
    for blob in wanted {
        let stored = store.open_blob(&blob.digest).ok();
        let stored = stored.filter(|stored| stored.byte_len().is_ok_and(|len| len == blob.size));
        let writer = ingest.replacement(blob.digest)?;
        let mut mending =
            Mending { registry, artifact: &remote.checked.artifact, blob, writer, progress, moved_bytes: 0 };
        for number in 0..blob.size.div_ceil(CHUNK) {
            let (start, end) = (number * CHUNK, blob.size.min((number + 1) * CHUNK));
            let expected = usize::try_from(number).ok().and_then(|number| blob.chunks.get(number));
            match stored.as_ref().zip(expected) {
                Some((stored, expected)) if is_right(stored, start, end, *expected) => {
                    mending.keep(stored, start, end)?;
                }
                _ => mending.fetch(start, end)?,
            }
        }
        moved_bytes += mending.moved_bytes;
        let added = mending.writer.finish()?;
        if added.digest != blob.digest {
            let (reference, expected) = (registry.reference().to_string(), blob.digest);
            return Err(RegistryError::Digest { what: "a blob".into(), reference, expected, found: added.digest });
        }
        digests.push(blob.digest);
    }
    Ok(Mended { blobs: ingest.mend(&digests)?, moved_bytes })
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
    moved_bytes: u64,
}

impl Mending<'_> {
    fn keep(&mut self, stored: &BlobReader, start: u64, end: u64) -> Result<(), RegistryError> {
        let mut buffer = vec![0; COPY];
        let mut at = start;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(COPY).min(COPY);
            stored.read_exact_at(&mut buffer[..want], at)?;
            self.writer.write_at(at, &buffer[..want])?;
            self.progress.advance(want as u64);
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
                let mut accept = |bytes: &[u8]| {
                    writer.write_at(at, bytes).map_err(std::io::Error::other)?;
                    at += bytes.len() as u64;
                    *moved += bytes.len() as u64;
                    progress.advance(bytes.len() as u64);
                    Ok(())
                };
                self.registry.client().download(&what, &mut accept, &stop)?;
            }
            before += len;
        }
        Ok(())
    }
}
