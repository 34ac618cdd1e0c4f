//! The destination of a rolling import: each layer waits for its shards, and is durable before they go.

use std::{collections::HashMap, io, path::PathBuf};

use longshore_manifest::{
    FsError, Manifest, ModelName, Store,
    store::{Added, BlobWriter, Committed, Ingest, IngestError, Pull},
};
use longshore_packer::{Sink, SinkBlob, SinkImport};

use super::Shards;
use crate::{fetch, snapshot::Weights};

/// The destination of one pull.
pub(crate) struct Rolling<'a> {
    pub(crate) store: &'a Store,
    pub(crate) ingest: std::sync::Mutex<Option<Ingest<'a>>>,
    pub(crate) pull: &'a Pull<'a>,
    pub(crate) shards: &'a Shards,
    pub(crate) weights: &'a [Weights],
    /// Layers that earlier attempts finished.
    pub(crate) finished: &'a HashMap<String, Added>,
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

impl Sink for Rolling<'_> {
    fn check_name(&self, name: &ModelName) -> Result<(), IngestError> {
        Ok(self.store.check_spelling(name)?)
    }

    fn begin(&self) -> Result<Box<dyn SinkImport + '_>, IngestError> {
        let ingest = self.ingest.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        Ok(Box::new(Import { to: self, ingest: ingest.expect("an import begins once") }))
    }
}

/// Gives the space of a weight file back, unless it is the hub cache's.
pub(crate) fn release(weights: &Weights) -> Result<(), FsError> {
    if weights.is_cached {
        return Ok(());
    }
    let released = fetch::release(&weights.path, &weights.note, weights.file.size, &weights.mark());
    released.map_err(|error| FsError::new("give back the space of", weights.path.clone(), error))
}

struct Import<'i, 'a> {
    to: &'i Rolling<'a>,
    ingest: Ingest<'a>,
}

impl SinkImport for Import<'_, '_> {
    fn room(&self) -> Option<(PathBuf, u64)> {
        Some((self.to.store.root().to_path_buf(), self.to.store.available_bytes()?))
    }

    fn keep_leftovers(&self, is_wanted: &dyn Fn(&str, u64) -> bool) {
        self.ingest.keep_leftovers(is_wanted);
    }

    fn has_like(&self, name: &str, size: u64) -> bool {
        self.to.finished.contains_key(name) || self.ingest.has_like(name, size)
    }

    fn turn(&self, name: &str) -> usize {
        self.to.shards.turn(name)
    }

    fn finished(&self, name: &str, size: u64) -> Result<Option<Added>, FsError> {
        Ok(self.to.finished.get(name).cloned().filter(|added| added.size == size))
    }

    fn blob(&self, name: &str, size: u64) -> Result<Box<dyn SinkBlob + '_>, FsError> {
        if !self.to.shards.enter(name, &self.to.stop) {
            // The reason is the shards'.
            return Err(FsError::new("wait for the shards of", PathBuf::from(name), io::ErrorKind::Interrupted.into()));
        }
        let writer = match self.ingest.blob_like(name, size) {
            Ok(writer) => writer,
            Err(error) => {
                self.to.shards.leave(name, false);
                return Err(error);
            }
        };
        Ok(Box::new(Blob { import: self, writer: Some(writer), name: name.to_owned() }))
    }

    fn add(&self, document: &[u8]) -> Result<Added, FsError> {
        self.ingest.add(document)
    }

    fn commit(self: Box<Self>, name: &ModelName, manifest: &Manifest) -> Result<Committed, IngestError> {
        self.ingest.commit(name, manifest)
    }
}

struct Blob<'b, 'i, 'a> {
    import: &'b Import<'i, 'a>,
    writer: Option<BlobWriter<'b>>,
    name: String,
}

impl SinkBlob for Blob<'_, '_, '_> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FsError> {
        self.writer.as_mut().expect("it is there until the end").write_at(offset, bytes)
    }

    fn hash_aside(&mut self) -> bool {
        self.writer.as_mut().expect("it is there until the end").hash_aside()
    }

    fn finish(mut self: Box<Self>) -> Result<Added, FsError> {
        let writer = self.writer.take().expect("it ends once");
        let to = self.import.to;
        let done = writer.finish().and_then(|added| {
            if to.shards.turn(&self.name) > 0 {
                self.import.ingest.keep(to.pull, &self.name, &added)?;
            }
            Ok(added)
        });
        for shard in to.shards.leave(&self.name, done.is_ok()) {
            release(&to.weights[shard])?;
        }
        done
    }
}

impl Drop for Blob<'_, '_, '_> {
    fn drop(&mut self) {
        if self.writer.is_some() {
            self.import.to.shards.leave(&self.name, false);
        }
    }
}
