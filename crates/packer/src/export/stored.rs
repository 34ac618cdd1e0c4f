//! Reading the parts of stored tensors from their blobs.

use longshore_manifest::{
    Digest, FsError, Store,
    document::{BlobEntry, Part, TensorEntry},
    store::BlobReader,
};

use super::error::ExportError;
use crate::io::memory;

/// Most blobs that a [`Reader`] keeps open: a tensor has at most four parts.
const OPEN: usize = 4;

/// The place of a part of a stored tensor. It lies in its blob, which has been checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored<'w> {
    /// Name of the tensor.
    tensor: &'w str,
    blob: Digest,
    /// Offset of the first byte in the blob.
    offset: u64,
}

impl<'w> Stored<'w> {
    pub(super) fn new(blob: &BlobEntry, tensor: &'w TensorEntry, part: &Part) -> Self {
        Self { tensor: &tensor.name, blob: part.blob.unwrap_or(blob.digest), offset: part.offset }
    }
}

/// A reader of the blobs of a store. Blobs are read, not mapped: a model may have more blobs than the system maps, and a
/// mapped blob that is truncated ends the process.
pub(super) struct Reader<'s> {
    store: &'s Store,
    /// The blobs that were read last.
    open: Vec<BlobReader>,
    /// Their digests.
    digests: Vec<Digest>,
}

impl<'s> Reader<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self { store, open: Vec::new(), digests: Vec::new() }
    }

    /// Fills `to` with the bytes of `part` from the byte `start`.
    pub(super) fn read(&mut self, part: &Stored<'_>, start: u64, to: &mut [u8]) -> Result<(), ExportError> {
        if to.is_empty() {
            return Ok(());
        }
        self.blob(part.blob)
            .and_then(|blob| blob.read_exact_at(to, part.offset.saturating_add(start)))
            .map_err(|FsError { path, source, .. }| ExportError::Read { path, layer: part.tensor.to_owned(), source })
    }

    /// Gives `to` the length `len` and fills it with the bytes of `part` from the byte `start`.
    pub(super) fn read_to(
        &mut self,
        part: &Stored<'_>,
        start: u64,
        len: u64,
        to: &mut Vec<u8>,
    ) -> Result<(), ExportError> {
        let path = || self.store.blob_path(&part.blob);
        memory::resize(to, usize::try_from(len).unwrap_or(usize::MAX)).map_err(|error| ExportError::Read {
            path: path(),
            layer: part.tensor.to_owned(),
            source: error.into(),
        })?;
        self.read(part, start, to)
    }

    fn blob(&mut self, digest: Digest) -> Result<&BlobReader, FsError> {
        if let Some(at) = self.digests.iter().position(|open| *open == digest) {
            return Ok(&self.open[at]);
        }
        if self.open.len() == OPEN {
            self.open.clear();
            self.digests.clear();
        }
        self.open.push(self.store.open_blob(&digest)?);
        self.digests.push(digest);
        Ok(self.open.last().expect("it was just added"))
    }
}
