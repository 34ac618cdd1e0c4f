//! The weight files of a source, opened and checked.

use std::{io, path::PathBuf};

use crate::{
    io::{data::OpenData, memory::MemoryError},
    plan::planned::Unit,
    source::checkpoint::Source,
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
}

/// The largest number of files that are kept open. A store has a file for every tensor, and some systems allow a
/// process 1,024 open files or fewer.
const KEPT: usize = 256;

/// The weight files of a source, open for positioned reads from many threads.
pub(in crate::execute) struct ShardFiles<'s> {
    source: &'s Source,
    /// The first [`KEPT`] files. The others are opened for every read.
    files: Vec<Box<dyn OpenData>>,
}

impl<'s> ShardFiles<'s> {
    /// Opens every file once. A file whose length has changed is found before anything is written.
    pub(in crate::execute) fn open(source: &'s Source) -> Result<Self, ReadError> {
        let mut files = Vec::new();
        for shard in 0..source.shards.len() {
            let file = open(source, shard)?;
            if files.len() < KEPT {
                files.push(file);
            }
        }
        Ok(Self { source, files })
    }

    /// The source tensor with this index.
    pub(in crate::execute) fn tensor(&self, index: usize) -> &'s SourceTensor {
        &self.source.tensors[index]
    }

    /// The scales of a unit. Its coding must be one with scales.
    pub(in crate::execute) fn scales(&self, unit: &Unit) -> &'s SourceTensor {
        self.tensor(unit.parts.scales.expect("the coding was recognised by its scales"))
    }

    /// Fills `buffer` with the bytes of `tensor` from `offset` on, counted from the start of the tensor.
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
        file.read_exact_at(buffer, tensor.range.start + offset).map_err(|error| ReadError::Read {
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
