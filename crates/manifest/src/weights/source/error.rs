//! Errors from opening plain files.

use std::{
    io,
    path::{Path, PathBuf},
};

use longshore_model::Contradiction;
use longshore_st_format::{HeaderError, IndexError};

use crate::FsError;

/// Reason why a directory or files cannot be opened as a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The directory has no file of weights.
    #[error("no weights in {}: expected .safetensors files{}", path.display(), found.as_ref().map_or_else(String::new, |found| format!(", found {}", found.display())))]
    NoWeights {
        /// The directory.
        path: PathBuf,
        /// A file of weights in another format.
        found: Option<PathBuf>,
    },
    /// A file or a directory cannot be read.
    #[error(transparent)]
    Read(#[from] FsError),
    /// The header of a file is not valid.
    #[error("{} is not a valid safetensors file", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The header's error.
        source: HeaderError,
    },
    /// The index of a checkpoint is not one.
    #[error("{} is no index of shards", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// The problem.
        source: IndexError,
    },
    /// A document beside the weights cannot be used.
    #[error("{}: {problem}", path.display())]
    Document {
        /// The document.
        path: PathBuf,
        /// The expected and the found value.
        problem: String,
    },
    /// The configuration contradicts itself, or the shape of a tensor.
    #[error("{} is wrong about the model, or the weights are another model's", config.display())]
    Contradiction {
        /// The configuration.
        config: PathBuf,
        /// The two statements, with what each says.
        source: Box<Contradiction>,
    },
    /// A file of the checkpoint is not there.
    #[error("{} is missing: {} names it", missing.display(), by.display())]
    MissingShard {
        /// The missing file.
        missing: PathBuf,
        /// The index, or a file of the same numbered set.
        by: PathBuf,
    },
    /// A file does not hold what the index says: it may belong to another model.
    #[error("{} does not hold the tensors that {} says: {problem}", shard.display(), index.display())]
    WrongShard {
        /// The file.
        shard: PathBuf,
        /// The index.
        index: PathBuf,
        /// The tensor that is missing or too much.
        problem: String,
    },
    /// Two files have a tensor of the same name.
    #[error("tensor {tensor:?} is in {} and in {}", first.display(), second.display())]
    Duplicate {
        /// The tensor.
        tensor: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The parts of a quantized tensor do not fit each other.
    #[error("the parts of the quantized tensor {tensor:?} of {} do not fit: {problem}", path.display())]
    Parts {
        /// The tensor.
        tensor: String,
        /// The file.
        path: PathBuf,
        /// The expected and the found value.
        problem: String,
    },
}

impl SourceError {
    pub(super) fn open(action: &'static str, path: &Path, source: io::Error) -> Self {
        FsError::at(action, path)(source).into()
    }
}
