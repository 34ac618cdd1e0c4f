//! Reads blobs into staging buffers: the half of loading that needs no device.

mod cold;
mod file;
mod fill;
mod hashing;
mod schedule;

use std::{collections::HashMap, path::PathBuf, sync::OnceLock};

use longshore_manifest::{
    document::Chunks,
    weights::{Source, plan::LoadPlan},
};

use crate::CudaError;
use file::{BlobFile, Identity};
pub(crate) use fill::Filler;
pub(crate) use hashing::Hashed;
pub(crate) use schedule::Schedule;

/// Method to read bytes that are not in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColdReads {
    /// Past the page cache (`O_DIRECT`), where the system supports it. This is the fastest way from disk, and leaves
    /// nothing in memory for the next load. Each thread waits for one read at a time, by `pread`.
    #[default]
    Direct,
    /// Like [`Self::Direct`], but each thread has many reads in flight by `io_uring`, including those of the next
    /// piece. Where the kernel does not permit `io_uring`, `pread` reads. This is for disks that need many requests; a
    /// virtual disk was faster without it.
    DirectRing,
    /// Through the page cache: slower from disk, but the next load finds the bytes in memory.
    Buffered,
}

/// The blobs of a plan, as files.
#[derive(Debug)]
pub(crate) struct Blobs<'p> {
    source: &'p Source,
    pub(crate) plan: &'p LoadPlan,
    /// Identity of each blob's file when it was first opened.
    identities: Vec<OnceLock<Identity>>,
    cold: ColdReads,
}

impl<'p> Blobs<'p> {
    pub(crate) fn new(source: &'p Source, plan: &'p LoadPlan, cold: ColdReads) -> Self {
        let identities = plan.blobs.iter().map(|_| OnceLock::new()).collect();
        Self { source, plan, identities, cold }
    }

    /// The digests of the chunks of each blob that is read as a whole, where the table has them.
    pub(crate) fn chunks(&self) -> Vec<Option<&'p Chunks>> {
        let entries = &self.source.table().blobs;
        let lists: HashMap<_, _> =
            entries.iter().filter_map(|entry| Some((entry.digest, entry.chunks.as_ref()?))).collect();
        let list_of = |blob: usize| {
            let planned = &self.plan.blobs[blob];
            let list = lists.get(&planned.digest).copied().filter(|_| planned.is_whole)?;
            // A file of another length is wrong as a whole.
            let size = self.path(blob).metadata().ok()?.len();
            list.fits(size).then_some(list)
        };
        (0..self.plan.blobs.len()).map(list_of).collect()
    }

    fn path(&self, blob: usize) -> PathBuf {
        self.source.path(&self.plan.blobs[blob].digest)
    }

    /// Opens a blob. Its file must be the same as when it was first opened, and as long as the plan requires.
    fn open(&self, blob: usize) -> Result<BlobFile, CudaError> {
        let path = self.path(blob);
        let file = BlobFile::open(&path).and_then(|file| file.identity().map(|identity| (file, identity)));
        let (file, identity) = file.map_err(|source| self.read_error("open", blob, None, source))?;
        let planned = &self.plan.blobs[blob];
        // A plain file must be the one whose header was read.
        let is_same = self.source.checked(&planned.digest).map_or(Ok(true), |checked| file.is_checked(&checked));
        if !is_same.map_err(|source| self.read_error("read the size of", blob, None, source))? {
            return Err(CudaError::Changed { path, tensor: planned.tensor.clone() });
        }
        if identity.size < planned.end {
            let tensor = self.tensor_before(blob, identity.size);
            return Err(CudaError::Short { path, tensor, found: identity.size, expected: planned.end });
        }
        if *self.identities[blob].get_or_init(|| identity) != identity {
            return Err(CudaError::Changed { path, tensor: planned.tensor.clone() });
        }
        Ok(file)
    }

    /// Checks that the file has not changed since it was first opened.
    fn check(&self, blob: usize, file: &BlobFile) -> Result<(), CudaError> {
        let identity = file.identity().map_err(|source| self.read_error("read the size of", blob, None, source))?;
        if self.identities[blob].get().is_some_and(|first| *first != identity) {
            return Err(CudaError::Changed { path: self.path(blob), tensor: self.plan.blobs[blob].tensor.clone() });
        }
        Ok(())
    }

    /// Builds the error of a failed read, with the tensor at arena offset `arena` if it is given.
    fn read_error(&self, action: &'static str, blob: usize, arena: Option<u64>, source: std::io::Error) -> CudaError {
        CudaError::Read { action, path: self.path(blob), tensor: self.tensor(blob, arena), source }
    }

    /// Builds the error of a file that ends at `found`.
    fn short(&self, blob: usize, arena: u64, found: u64, expected: u64) -> CudaError {
        CudaError::Short { path: self.path(blob), tensor: self.tensor(blob, Some(arena)), found, expected }
    }

    fn tensor(&self, blob: usize, arena: Option<u64>) -> String {
        let found = arena.and_then(|arena| self.plan.tensor_at(arena));
        found.map_or_else(|| self.plan.blobs[blob].tensor.clone(), |tensor| tensor.name.clone())
    }

    /// Returns the first tensor whose bytes end beyond `size`.
    fn tensor_before(&self, blob: usize, size: u64) -> String {
        let mut reads = self.plan.reads.iter().filter(|read| read.blob == blob);
        self.tensor(blob, reads.find(|read| read.extent.end() > size).map(|read| read.arena))
    }
}
