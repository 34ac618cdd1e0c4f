//! Memory as the destination of an import.

use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use longshore_manifest::{
    Digest, FsError, Manifest, ModelName,
    store::{Added, Committed, IngestError},
    weights::MemoryFile,
};

use crate::execute::sink::{Sink, SinkBlob, SinkImport};

/// Blobs begin at multiples of so many bytes, so that their arrays are aligned as in a file.
const ALIGNMENT: u64 = 4096;

/// One file in memory that holds all blobs, one after the other. Its digests only tell the blobs apart.
pub(super) struct Memory {
    file: MemoryFile,
    end: AtomicU64,
    /// Start of each blob in the file.
    places: Mutex<HashMap<Digest, u64>>,
    /// The document that was added last: the config of the model.
    document: Mutex<Vec<u8>>,
}

struct Blob<'m> {
    memory: &'m Memory,
    start: u64,
    size: u64,
}

impl Memory {
    pub(super) fn create() -> io::Result<Self> {
        Ok(Self {
            file: MemoryFile::create()?,
            end: AtomicU64::new(0),
            places: Mutex::default(),
            document: Mutex::default(),
        })
    }

    /// The file, the start of each blob in it, and the config document.
    pub(super) fn into_parts(self) -> (MemoryFile, HashMap<Digest, u64>, Vec<u8>) {
        let places = self.places.into_inner().unwrap_or_else(PoisonError::into_inner);
        let document = self.document.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.file, places, document)
    }
}

impl Sink for Memory {
    fn check_name(&self, _: &ModelName) -> Result<(), IngestError> {
        Ok(())
    }

    fn begin(&self) -> Result<Box<dyn SinkImport + '_>, IngestError> {
        Ok(Box::new(self))
    }
}

impl SinkImport for &Memory {
    fn blob(&self, _: &str, size: u64) -> Result<Box<dyn SinkBlob + '_>, FsError> {
        let start = self.end.fetch_add(size.next_multiple_of(ALIGNMENT), Ordering::Relaxed);
        Ok(Box::new(Blob { memory: self, start, size }))
    }

    fn add(&self, document: &[u8]) -> Result<Added, FsError> {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = document.to_vec();
        Ok(Added::new(Digest::of(document), document.len() as u64))
    }

    fn commit(self: Box<Self>, _: &ModelName, manifest: &Manifest) -> Result<Committed, IngestError> {
        Ok(Committed::new(Digest::of(&manifest.to_bytes())))
    }
}

impl SinkBlob for Blob<'_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FsError> {
        let written = self.memory.file.write_all_at(bytes, self.start + offset);
        written.map_err(|source| FsError::new("write to", PathBuf::from("memory"), source))
    }

    fn finish(self: Box<Self>) -> Result<Added, FsError> {
        let digest = Digest::of(&self.start.to_le_bytes());
        self.memory.places.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, self.start);
        Ok(Added::new(digest, self.size))
    }
}
