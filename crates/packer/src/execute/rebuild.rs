//! Rebuilding single blobs of a plan to replace damaged ones.

use std::collections::HashMap;

use longshore_manifest::{
    Config, Descriptor, Digest, FsError, Progress,
    document::{Chunks, TensorEntry},
    store::{Added, Ingest},
};

use super::{
    document, error::ImportError, jobs::Work, options::ImportOptions, read::shards::ShardFiles, sink::SinkBlob, table,
    write::blob::Done,
};
use crate::{
    plan::planned::{Plan, PlannedBlob},
    source::companions::Companion,
};

/// Blobs and files of a plan that are rebuilt to replace blobs of the store.
pub(crate) struct Rebuild {
    plan: Plan,
    /// Expected digests of the plan's blobs. `files` holds those of its files.
    blobs: Vec<Digest>,
    files: Vec<Digest>,
}

/// The digest that a blob should have, and the digest that it has, or the error that prevented building it.
pub(crate) type Rebuilt = (Digest, Result<Digest, ImportError>);

impl Rebuild {
    /// Creates an empty rebuild for plans of the same source as `plan`.
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut plan = plan.clone();
        plan.blobs.clear();
        plan.files.clear();
        Self { plan, blobs: Vec::new(), files: Vec::new() }
    }

    pub(crate) fn blob(&mut self, blob: &PlannedBlob, digest: Digest) {
        self.plan.blobs.push(blob.clone());
        self.blobs.push(digest);
    }

    pub(crate) fn file(&mut self, file: &Companion, digest: Digest) {
        self.plan.files.push(file.clone());
        self.files.push(digest);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.files.is_empty()
    }

    /// Builds all blobs and files. A blob with another digest than expected is in the ingest, too; the caller has to
    /// drop it.
    ///
    /// # Errors
    ///
    /// Returns errors that end the work: those of the store, and [`ImportError::Cancelled`].
    pub(crate) fn run(
        self,
        ingest: &Ingest<'_>,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Rebuilt>, ImportError> {
        let Self { plan, blobs, files } = self;
        let shards = ShardFiles::open(&plan)?;
        let wanted = [blobs, files].concat();
        let copied = plan.files.iter().map(|file| file.size);
        let read = plan.blobs.iter().map(PlannedBlob::source_len).chain(copied).fold(0, u64::saturating_add);
        progress.begin("rebuilding", read);
        let open = |job: usize, _: &str, _: u64| -> Result<Box<dyn SinkBlob + '_>, FsError> {
            Ok(Box::new(ingest.replacement(wanted[job])?))
        };
        let work = Work { open: &open, import: None, files: &shards, plan: &plan, options, progress };
        let is_fatal =
            |error: &ImportError| matches!(error, ImportError::Cancelled | ImportError::Ingest(_) | ImportError::Fs(_));
        let done = work.attempt(&is_fatal)?;
        Ok(wanted.into_iter().zip(done.into_iter().map(|done| done.map(|done| done.added.digest))).collect())
    }
}

/// The entries of the tensor table for `blob`.
pub(crate) fn entries(blob: &PlannedBlob) -> Vec<TensorEntry> {
    blob.tensors.iter().map(|tensor| table::entry(blob, tensor, None)).collect()
}

/// The config document that an import of `plan` without measuring would write if its blobs were `layers`, one for each
/// blob, in the same order. `chunks` has the digests of their chunks.
pub(crate) fn config(
    plan: &Plan,
    layers: &[Descriptor],
    chunks: &HashMap<Digest, Chunks>,
    options: &ImportOptions,
) -> Config {
    let added = layers.iter().map(|layer| {
        let mut added = Added::new(layer.digest, layer.size);
        added.chunks = chunks.get(&layer.digest).cloned();
        added
    });
    let done = plan.blobs.iter().zip(added).map(|(blob, added)| Done::found(added, blob.tensors.len()));
    document::config(plan, &done.collect::<Vec<_>>(), options)
}
