//! The weight files of a source, opened and checked.

use std::{io, path::PathBuf};

use longshore_manifest::Digest;

use super::checks::Checks;
use crate::{
    io::{data::OpenData, memory::MemoryError},
    plan::planned::{Plan, PlannedBlob, PlannedTensor, Unit},
    source::{checkpoint::Source, error::DAMAGED, rotation::SourceRotation},
    tensor::SourceTensor,
};

/// Reason why a weight file cannot be read as it was when the source was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file cannot be opened.
    #[error("cannot open {}, which holds tensor {tensor:?}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// A tensor that the file should hold.
        tensor: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The file has another length than when its header was read.
    #[error(
        "{}, which holds tensor {tensor:?}, has {found} bytes, expected the {expected} that it had when its header was read",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// The first tensor that is cut off, or the first of the file if the file has grown.
        tensor: String,
        /// Length in bytes when the header was read.
        expected: u64,
        /// Current length in bytes.
        found: u64,
    },
    /// Values of a tensor cannot be changed as planned. They were others when the file was opened.
    #[error(
        "the values of tensor {tensor:?} cannot be changed and had back: they were others when its file was opened"
    )]
    Inexact {
        /// The tensor.
        tensor: String,
    },
    /// The system gives no memory to read into.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The file cannot be read, or ends before the tensor does.
    #[error("cannot read tensor {tensor:?} from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The file is not the one whose digest its source promises: a blob of a store, or of a hub cache.
    #[error("{} is damaged: its digest is {found}, expected {expected}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest of its bytes.
        found: Digest,
        /// The digest that its source promises.
        expected: Digest,
    },
}

impl ReadError {
    /// Advice to the user.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => DAMAGED,
            _ => "import it again once nothing changes the source's files",
        }
    }
}

/// The largest number of files that are kept open. A store has a file for every tensor, and some systems allow a
/// process 1,024 open files or fewer.
const KEPT: usize = 256;

/// The weight files of a source, open for positioned reads from many threads.
pub(in crate::execute) struct ShardFiles<'s> {
    source: &'s Source,
    plan: &'s Plan,
    checks: Checks,
    /// The first [`KEPT`] files. The others are opened for every read.
    files: Vec<Box<dyn OpenData>>,
}

impl<'s> ShardFiles<'s> {
    /// Opens every file of the plan's source once. A file whose length has changed is found before anything is written.
    pub(in crate::execute) fn open(plan: &'s Plan) -> Result<Self, ReadError> {
        let source = plan.source();
        let mut files = Vec::new();
        for shard in 0..source.shards.len() {
            let file = open(source, shard)?;
            if files.len() < KEPT {
                files.push(file);
            }
        }
        Ok(Self { source, plan, checks: Checks::new(plan), files })
    }

    /// The source tensor with this index.
    pub(in crate::execute) fn tensor(&self, index: usize) -> &'s SourceTensor {
        &self.source.tensors[index]
    }

    /// The scales of a unit. Its coding must be one with scales.
    pub(in crate::execute) fn scales(&self, unit: &Unit) -> &'s SourceTensor {
        self.tensor(unit.parts.scales.expect("the coding was recognised by its scales"))
    }

    /// The rotation of the plan's source. Only tensors of one that is rotated ask for it.
    pub(in crate::execute) fn rotation(&self) -> &'s SourceRotation {
        self.source.rotation.as_ref().expect("the plan turns tensors of a source that is rotated alone")
    }

    /// The file that holds the source tensor with this index.
    pub(in crate::execute) fn path_of(&self, index: usize) -> PathBuf {
        self.source.shards[self.source.tensors[index].shard].path.clone()
    }

    /// The directory of the first adapter that changes a planned tensor.
    pub(in crate::execute) fn adapter_of(&self, tensor: &PlannedTensor) -> PathBuf {
        let replaced = tensor.units.first().filter(|_| tensor.replaced.is_some()).map(|unit| unit.parts.weight);
        let of_tensor = replaced.and_then(|at| self.source.adapters.iter().rfind(|adapter| adapter.first <= at));
        let first = tensor.merges.first().map(|merge| &self.source.adapters[merge.adapter]);
        of_tensor.or(first).map(|adapter| adapter.path.clone()).unwrap_or_default()
    }

    /// Fills `buffer` with the bytes of `tensor` from `offset` on, counted from the start of the tensor. Hashes them if
    /// the source promises a digest.
    pub(in crate::execute) fn read(
        &self,
        tensor: &SourceTensor,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<(), ReadError> {
        let opened;
        let file = if let Some(file) = self.files.get(tensor.shard) {
            file
        } else {
            opened = open(self.source, tensor.shard)?;
            &opened
        };
        let start = tensor.range.start + offset;
        let read = file.read_exact_at(buffer, start).and_then(|()| match self.checks.get(tensor.shard) {
            Some(check) => check.add(&**file, start, buffer, offset == 0),
            None => Ok(()),
        });
        read.map_err(|error| ReadError::Read {
            path: self.source.shards[tensor.shard].path.clone(),
            tensor: tensor.name.clone(),
            source: match error.kind() {
                io::ErrorKind::UnexpectedEof => io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("the file ends before byte {}; it changed since its header was read", tensor.range.end),
                ),
                _ => error,
            },
        })
    }

    /// The place of `blob` in the order of work. Blobs that share a file with a promised digest follow each other, so
    /// that what has to be read once more to be hashed still lies in the system's cache.
    pub(in crate::execute) fn turn(&self, blob: &PlannedBlob) -> usize {
        let mut shared = self.checks.of(self.plan, blob).into_iter().filter(|(_, check)| check.is_shared());
        shared.next().map_or(0, |(shard, _)| shard + 1)
    }

    /// Notes that every tensor of `blob` has been read. Checks the digests of the files that no other blob of the plan
    /// is made of. What was read of such a file out of order is read once more. Returns false if it was stopped.
    pub(in crate::execute) fn complete(&self, blob: &PlannedBlob, stop: &dyn Fn() -> bool) -> Result<bool, ReadError> {
        for (shard, check) in self.checks.of(self.plan, blob) {
            if !check.completed() {
                continue;
            }
            let file = open(self.source, shard)?;
            let path = || self.source.shards[shard].path.clone();
            let found = check.rest(&*file, stop).map_err(|source| {
                let of_shard = self.source.tensors.iter().find(|tensor| tensor.shard == shard);
                let tensor = of_shard.map(|tensor| tensor.name.clone()).unwrap_or_default();
                ReadError::Read { path: path(), tensor, source }
            })?;
            let (Some(found), expected) = (found, check.expected) else { return Ok(false) };
            if found != expected {
                return Err(ReadError::Damaged { path: path(), found, expected });
            }
        }
        Ok(true)
    }
}

fn open(source: &Source, at: usize) -> Result<Box<dyn OpenData>, ReadError> {
    let shard = &source.shards[at];
    let path = || shard.path.clone();
    let tensors = || source.tensors.iter().filter(|tensor| tensor.shard == at);
    let first = || tensors().map(|tensor| tensor.name.clone()).next().unwrap_or_default();
    let opened = shard.data.open().and_then(|file| Ok((file.byte_len()?, file)));
    let (found, file) = opened.map_err(|source| ReadError::Open { path: path(), tensor: first(), source })?;
    if found == shard.file_len {
        return Ok(file);
    }
    let cut = tensors().find(|tensor| tensor.range.end > found).map(|tensor| tensor.name.clone());
    Err(ReadError::Changed { path: path(), tensor: cut.unwrap_or_else(first), expected: shard.file_len, found })
}
