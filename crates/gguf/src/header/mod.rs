mod cursor;
mod encode;
mod error;
mod padding;
mod pairs;
mod parse;
mod read;
mod tensors;

use std::{iter::FusedIterator, ops::Range};

pub(crate) use encode::{data_start, info_len};
pub use error::{AlignmentError, HeaderError, Part};
pub use read::ReadError;
pub(crate) use read::{open_file, regular_len};
pub(crate) use tensors::{align, place};

use crate::{Dims, GgmlType, Limits, Metadata, Value};

/// First bytes of every file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// The version of new files.
pub(crate) const VERSION: u32 = 3;
/// The key that holds the alignment.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";
/// The alignment of a file that does not say it, in bytes.
const DEFAULT_ALIGNMENT: u32 = 32;

/// One tensor of a [`Header`]: its bytes are known to lie inside the file and to be as many as its type and dims say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub(crate) name: Box<str>,
    pub(crate) ggml_type: GgmlType,
    pub(crate) dims: Dims,
    /// From the start of the data section.
    pub(crate) offset: u64,
    pub(crate) byte_len: u64,
    /// From the start of the file.
    pub(crate) file_range: Range<u64>,
}

impl TensorInfo {
    /// The tensor's name. It is data from the file: no path is to be made from it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its blocks.
    #[must_use]
    pub fn ggml_type(&self) -> GgmlType {
        self.ggml_type
    }

    /// Its extents.
    #[must_use]
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Where it begins, in bytes from the start of the **data section**.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its length in bytes, without padding.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.byte_len
    }

    /// Its bytes, counted from the start of the **file**, without padding.
    #[must_use]
    pub fn file_range(&self) -> Range<u64> {
        self.file_range.clone()
    }
}

/// A parsed and checked GGUF header: metadata and the tensor table.
///
/// Every tensor lies inside the file, is as long as its type and dims say, and begins where the padding of the one before it ends;
/// the last ends with the file, with or without padding. Keys are unique, and so are names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub(crate) version: u32,
    pub(crate) metadata: Metadata,
    /// In the file's order.
    pub(crate) tensors: Box<[TensorInfo]>,
    /// Indices into `tensors`, in byte order of the names.
    pub(crate) by_name: Box<[u32]>,
    pub(crate) alignment: u64,
    pub(crate) data_start: u64,
    pub(crate) file_len: u64,
}

impl Header {
    /// The version of the format, 2 or 3. Both have the same bytes otherwise.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata, in the file's order.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Alignment of tensors in bytes: `general.alignment`, or 32.
    #[must_use]
    pub fn alignment(&self) -> u64 {
        self.alignment
    }

    /// The number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor. Such a file is valid: a vocabulary alone, or the first of a split set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Where the data section starts, in bytes from the start of the file. In a file without tensors, that is its end.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        self.data_start
    }

    /// The length of the data section in bytes, padding included.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.file_len - self.data_start
    }

    /// The length of the whole file in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The tensors in the file's order, which is the order of their bytes.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &TensorInfo> + DoubleEndedIterator + FusedIterator + Clone {
        self.tensors.iter()
    }

    /// The names in byte order.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator + FusedIterator + Clone {
        self.by_name.iter().map(|&index| &*self.tensors[index as usize].name)
    }

    /// The tensor called `name`, in O(log n).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        let at = self.by_name.binary_search_by(|&index| (*self.tensors[index as usize].name).cmp(name)).ok()?;
        Some(&self.tensors[self.by_name[at] as usize])
    }
}

/// The alignment that metadata asks for, in bytes.
pub(crate) fn alignment(metadata: &Metadata, limits: &Limits) -> Result<u64, AlignmentError> {
    let found = match metadata.get(ALIGNMENT_KEY) {
        None => DEFAULT_ALIGNMENT,
        Some(Value::U32(found)) => found,
        Some(other) => return Err(AlignmentError::Type { found: other.value_type() }),
    };
    if !found.is_power_of_two() {
        return Err(AlignmentError::NotAPowerOfTwo { found });
    }
    if found > limits.alignment {
        return Err(AlignmentError::TooLarge { found, limit: limits.alignment });
    }
    Ok(found.into())
}

/// Capacity to reserve for `declared` items, of which there can be no more than `possible`.
fn at_most(declared: u64, possible: u64) -> usize {
    usize::try_from(declared.min(possible)).unwrap_or(0)
}
