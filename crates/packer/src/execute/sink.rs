//! The place that an import writes to.

use std::path::PathBuf;

use longshore_manifest::{
    FsError, Manifest, ModelName, Store,
    store::{Added, BlobWriter, Committed, Ingest, IngestError},
};

/// A place that models are imported into. [`Store`] is one.
pub trait Sink: Sync {
    /// Refuses a name that could not be given, before anything is read.
    ///
    /// # Errors
    ///
    /// [`IngestError::Spelling`] where the place has the name in another spelling.
    fn check_name(&self, name: &ModelName) -> Result<(), IngestError>;

    /// Starts an import.
    ///
    /// # Errors
    ///
    /// [`IngestError`] where the place cannot be written.
    fn begin(&self) -> Result<Box<dyn SinkImport + '_>, IngestError>;
}

/// One import into a [`Sink`]. Dropped without [`Self::commit`], it leaves nothing behind.
pub trait SinkImport: Sync {
    /// The directory that the blobs go to and the bytes that are free there, if the place knows.
    fn room(&self) -> Option<(PathBuf, u64)> {
        None
    }

    /// Removes leftovers of earlier imports, unless `is_wanted` says of a layer's name and size in bytes that this import writes it.
    fn keep_leftovers(&self, _is_wanted: &dyn Fn(&str, u64) -> bool) {}

    /// Whether the place probably has a layer of this name and size in bytes, so that it needs no room.
    fn has_like(&self, _name: &str, _size: u64) -> bool {
        false
    }

    /// Starts the blob of a layer of this name and size in bytes. Any number of threads may do so at once.
    ///
    /// # Errors
    ///
    /// [`FsError`] where it cannot be made.
    fn blob(&self, name: &str, size: u64) -> Result<Box<dyn SinkBlob + '_>, FsError>;

    /// Writes a document of the model as a blob.
    ///
    /// # Errors
    ///
    /// [`FsError`] where it cannot be written.
    fn add(&self, document: &[u8]) -> Result<Added, FsError> {
        let mut blob = self.blob("", document.len() as u64)?;
        blob.write_at(0, document)?;
        blob.finish()
    }

    /// Points `name` at `manifest`, whose blobs are all there, and makes everything durable.
    ///
    /// # Errors
    ///
    /// [`IngestError`] where that fails; no name points at anything new then.
    fn commit(self: Box<Self>, name: &ModelName, manifest: &Manifest) -> Result<Committed, IngestError>;
}

/// A blob that is being written.
pub trait SinkBlob {
    /// Writes bytes at an offset from the start of the blob. Every byte is written once, in any order.
    ///
    /// # Errors
    ///
    /// [`FsError`] where they cannot be written.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FsError>;

    /// Ends the blob and tells its digest.
    ///
    /// # Errors
    ///
    /// [`FsError`] where it cannot be completed.
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

    fn finish(self: Box<Self>) -> Result<Added, FsError> {
        BlobWriter::finish(*self)
    }
}
