use std::path::{Path, PathBuf};

use crate::{OpenError, ValueType};

/// Why files are not a split set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// A member cannot be opened, or is no GGUF file that we accept.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A member is at odds with its own name, or with the others.
    #[error("{} does not fit into its split set", path.display())]
    Member {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: MemberError,
    },
    /// There is no file at all.
    #[error("a split set of no files: expected one or more")]
    Empty,
}

impl SplitError {
    /// The file that it is about, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Open(error) => Some(error.path()),
            Self::Member { path, .. } => Some(path),
            Self::Empty => None,
        }
    }
}

/// Why a file is at odds with its own name, or with the other members of its set. Members are counted from 0, as `split.no` does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// One of the three keys is missing where another is there, or where the first member has it.
    #[error("it has no `{key}`")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// One of the three keys has another type than every writer gives it.
    #[error("`{key}` is a {found}: expected a {expected}")]
    KeyType {
        /// The key.
        key: &'static str,
        /// Its right type.
        expected: ValueType,
        /// Its type as found.
        found: ValueType,
    },
    /// One of the three keys has an impossible value.
    #[error("`{key}` is {found}: expected {expected}")]
    KeyValue {
        /// The key.
        key: &'static str,
        /// The expected value.
        expected: &'static str,
        /// The value as found.
        found: i64,
    },
    /// The keys say that it is a member, and the name does not.
    #[error("`split.no` {no} and `split.count` {count} ask for a file name that ends in {expected:?}: found {found:?}")]
    FileName {
        /// `split.no`.
        no: u16,
        /// `split.count`.
        count: u16,
        /// Expected end of the file name.
        expected: Box<str>,
        /// The file name.
        found: Box<str>,
    },
    /// The name says that it is a member of several, and the keys do not.
    #[error("the file name {found:?} is that of one of {expected} members: expected a `split.count` that says so too")]
    Alone {
        /// The file name.
        found: Box<str>,
        /// The number of members by the name.
        expected: u16,
    },
    /// A key that should be otherwise, by the first member's keys and by which member it is.
    #[error("`{key}` is {found}: expected {expected} by the first member")]
    Differs {
        /// The key.
        key: &'static str,
        /// The expected value.
        expected: u64,
        /// The value as found.
        found: u64,
    },
    /// More or fewer members than the first says, which may be alone.
    #[error("a set of {expected} members: found {found}")]
    Members {
        /// Members by the first one's keys.
        expected: u16,
        /// Members given.
        found: usize,
    },
    /// A pair in a later member that the first has not, or has otherwise.
    #[error("it has the key {key:?}, which is not the same in the first member")]
    ForeignKey {
        /// The key.
        key: Box<str>,
    },
    /// A tensor that an earlier member has too.
    #[error("it has tensor {tensor:?}, which member {earlier} has too")]
    DuplicateTensor {
        /// The name.
        tensor: Box<str>,
        /// The earlier member.
        earlier: u16,
    },
    /// All members together have another number of tensors than `split.tensors.count` says.
    #[error("`split.tensors.count` is {expected}: found {found} tensors up to this member")]
    TensorCount {
        /// `split.tensors.count`.
        expected: u32,
        /// Tensors of the members up to this one.
        found: u64,
    },
    /// `split.tensors.count` is above [`Limits::tensors`](crate::Limits::tensors).
    #[error("`split.tensors.count` is {found}: expected at most {limit}")]
    TooManyTensors {
        /// The number of tensors.
        found: u32,
        /// The most tensors.
        limit: u64,
    },
}
