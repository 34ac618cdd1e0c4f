//! The destination of an import.

use std::path::PathBuf;

use longshore_manifest::{
    FsError, Manifest, ModelName, Store,
    store::{Added, BlobWriter, Committed, Ingest, IngestError},
};

/// A destination that models are imported into. [`Store`] implements it.
pub trait Sink: Sync {
    /// Refuses a name that cannot be used, before anything is read.
    ///
    /// # Errors
    ///
    /// Returns [`IngestError::Spelling`] if the destination has the same name in another spelling.
    fn check_name(&self, name: &ModelName) -> Result<(), IngestError>;

    /// Starts an import.
    ///
    /// # Errors
    ///
    /// Returns an [`IngestError`] if the destination cannot be written.
    fn begin(&self) -> Result<Box<dyn SinkImport + '_>, IngestError>;
}

/// One import into a [`Sink`]. If it is dropped without [`Self::commit`], nothing of it remains.
pub trait SinkImport: Sync {
    /// The directory that the blobs are written to and the number of free bytes there, if known.
    fn room(&self) -> Option<(PathBuf, u64)> {
        None
    }

    /// Removes leftovers of earlier imports. Keeps those for which `is_wanted` returns true: it receives a layer's name
    /// and size in bytes, and says whether this import writes that layer.
    fn keep_leftovers(&self, _is_wanted: &dyn Fn(&str, u64) -> bool) {}

    /// Whether the destination probably holds a layer with this name and size in bytes, so that no space is needed for
    /// it.
    fn has_like(&self, _name: &str, _size: u64) -> bool {
        false
    }

    /// The turn of the layer with this name: those with a lower one are made first.
    fn turn(&self, _name: &str) -> usize {
        0
    }

    /// The blob of the layer with this name and size in bytes, if the destination has it from an earlier attempt at the same import, so that
    /// it is not made again.
    ///
    /// # Errors
    ///
    /// Returns an [`FsError`] if the destination cannot be looked at.
    fn finished(&self, _name: &str, _size: u64) -> Result<Option<Added>, FsError> {
        Ok(None)
    }

    /// Starts the blob of a layer with this name and size in bytes. Any number of threads may call this at once.
    ///
    /// # Errors
    ///
    /// Returns an [`FsError`] if the blob cannot be created.
    fn blob(&self, name: &str, size: u64) -> Result<Box<dyn SinkBlob + '_>, FsError>;

    /// Writes a document of the model as a blob.
    ///
    /// # Errors
    ///
    /// Returns an [`FsError`] if the document cannot be written.
    fn add(&self, document: &[u8]) -> Result<Added, FsError> {
        let mut blob = self.blob("", document.len() as u64)?;
        blob.write_at(0, document)?;
        blob.finish()
    }

    /// Points `name` at `manifest` and makes everything durable. All blobs of the manifest have been written.
    ///
    /// # Errors
    ///
    /// Returns an [`IngestError`] if that fails. No name then points at anything new.
    fn commit(self: Box<Self>, name: &ModelName, manifest: &Manifest) -> Result<Committed, IngestError>;
}

/// A blob that is being written.
pub trait SinkBlob: Send {
    /// Writes bytes at an offset from the start of the blob. Every byte is written once, in any order.
    ///
    /// # Errors
    ///
    /// Returns an [`FsError`] if the bytes cannot be written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FsError>;

    /// Hashes on a thread of its own from here on, if the destination can do that. Returns whether it does. The bytes stay the same.
    fn hash_aside(&mut self) -> bool {
        false
    }

    /// Completes the blob and returns its digest and size.
    ///
    /// # Errors
    ///
    /// Returns an [`FsError`] if the blob cannot be completed.
    fn finish(self: Box<Self>) -> Result<Added, FsError>;
}

impl Sink for Store {
    fn check_name(&self, name: &ModelName) -> Result<(), IngestError> {
        Ok(self.check_spelling(name)?)
    }

    fn begin(&self) -> Result<Box<dyn SinkImport + '_>, IngestError> {
        Ok(Box::new(StoreImport { store: self, ingest: self.ingest()? }))
    }
}

struct StoreImport<'s> {
    store: &'s Store,
    ingest: Ingest<'s>,
}

impl SinkImport for StoreImport<'_> {
    fn room(&self) -> Option<(PathBuf, u64)> {
        Some((self.store.root().to_path_buf(), self.store.available_bytes()?))
    }

    fn keep_leftovers(&self, is_wanted: &dyn Fn(&str, u64) -> bool) {
        self.ingest.keep_leftovers(is_wanted);
    }

    fn has_like(&self, name: &str, size: u64) -> bool {
        self.ingest.has_like(name, size)
    }

    fn blob(&self, name: &str, size: u64) -> Result<Box<dyn SinkBlob + '_>, FsError> {
        Ok(Box::new(self.ingest.blob_like(name, size)?))
    }

    fn add(&self, document: &[u8]) -> Result<Added, FsError> {
        self.ingest.add(document)
    }

    fn commit(self: Box<Self>, name: &ModelName, manifest: &Manifest) -> Result<Committed, IngestError> {
        self.ingest.commit(name, manifest)
    }
}

impl SinkBlob for BlobWriter<'_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FsError> {
        BlobWriter::write_at(self, offset, bytes)
    }

    fn hash_aside(&mut self) -> bool {
        BlobWriter::hash_aside(self)
    }

    fn finish(self: Box<Self>) -> Result<Added, FsError> {
        BlobWriter::finish(*self)
    }
}
