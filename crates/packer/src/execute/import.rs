//! Importing a planned source.

use std::sync::Arc;

use longshore_manifest::{Descriptor, Manifest, ModelName, Progress};

use super::{
    document,
    error::ImportError,
    jobs::Work,
    options::{ImportOptions, ImportOutcome},
    read::shards::ShardFiles,
    sink::Sink,
    space, warnings,
};
use crate::plan::planned::{Plan, PlannedBlob};

impl Plan {
    /// Imports the source into `sink` and names it `name`.
    ///
    /// Each thread takes one blob at a time, the largest first. It holds a few chunks of at most 4 MiB of the blob,
    /// however large the tensors and their rows are, so memory is bounded by the number of threads. Columns that are rotated are
    /// held in stripes of 2 Mi numbers, or of 128 columns, a few times over: some 40 MiB for each thread. The bytes of the
    /// result do not depend on that number.
    ///
    /// If a model of the store has a blob under the same name, the new bytes are compared with it instead of written.
    /// The blob is replaced if it is damaged.
    ///
    /// # Errors
    ///
    /// After any error, no name points at anything new, and what was written is removed again.
    ///
    /// - [`ImportError::Read`], [`ImportError::Companion`]: the source has changed since it was opened, or a file of it
    ///   is not the one whose digest the source promises;
    /// - [`ImportError::Encode`], [`ImportError::Repack`], [`ImportError::TakeOver`], [`ImportError::NonFinite`]: a tensor
    ///   cannot be stored as planned;
    /// - [`ImportError::Importance`], [`ImportError::Hessians`]: the file of statistics does not fit the weights;
    /// - [`ImportError::Space`], [`ImportError::Ingest`], [`ImportError::Fs`]: the store cannot take the model;
    /// - [`ImportError::Cancelled`]: `progress` asked to stop.
    pub fn import(
        &self,
        sink: &dyn Sink,
        name: &ModelName,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<ImportOutcome, ImportError> {
        if let Some(importance) = &options.importance {
            importance.check(self)?;
        }
        if let Some(gptq) = &options.gptq {
            gptq.check(self)?;
        }
        sink.check_name(name)?;
        let shards = ShardFiles::open(self)?;
        // Starting the import takes over leftovers of killed imports, so it comes before the free space is measured.
        let import = sink.begin()?;
        space::drop_others(&*import, self);
        space::check(&*import, self)?;
        let files = self.files.iter().map(|file| file.size).fold(0, u64::saturating_add);
        // Bytes that two tensors are made of are read twice.
        let read = self.blobs.iter().map(PlannedBlob::source_len).fold(0, u64::saturating_add);
        progress.begin("importing", self.source_bytes().max(read).saturating_add(files));
        let open = |_: usize, name: &str, size: u64| import.blob(name, size);
        let done = Work { open: &open, import: Some(&*import), files: &shards, plan: self, options, progress }.run()?;

        let layers = document::layers(self, &done);
        let (blobs, _) = done.split_at(self.blobs.len());
        let config = import.add(&document::config(self, blobs, options).to_bytes())?;
        let manifest = Manifest::new(Descriptor::config(config), layers);
        if progress.cancelled() {
            return Err(ImportError::Cancelled);
        }
        progress.begin("making durable", 0);
        let committed = import.commit(name, &manifest)?;
        let tensors = self.blobs.iter().flat_map(|blob| &blob.tensors);
        let losses = tensors.zip(done.iter().flat_map(|done| &done.losses));
        let losses = losses.filter_map(|(tensor, loss)| Some((tensor.name.clone(), (*loss)?))).collect();
        Ok(ImportOutcome {
            digest: committed.digest,
            new_bytes: committed.new_bytes,
            reused_bytes: committed.reused_bytes,
            taken_over_bytes: committed.taken_over_bytes,
            freed_bytes: committed.freed_bytes,
            left: committed.left.map(Arc::new),
            warnings: warnings::lines(&done.into_iter().flat_map(|done| done.warnings).collect::<Vec<_>>()),
            losses,
        })
    }
}
