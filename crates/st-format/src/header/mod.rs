mod check;
mod entry;
mod error;
mod json;
mod parse;
mod read;

use std::{collections::BTreeMap, iter::FusedIterator, ops::Range};

pub use error::HeaderError;
pub use read::ReadError;
pub(crate) use read::{open_file, regular_len};

use crate::{Dtype, Shape};

/// Length in bytes of the prefix of a file: the length of the JSON as a little-endian `u64`.
pub(crate) const PREFIX_LEN: u64 = 8;
/// Key of the file's own metadata. No tensor may have this name.
pub(crate) const METADATA_KEY: &str = "__metadata__";

/// One tensor of a [`Header`]. Its range lies inside the file and is as long as its dtype and shape require.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub(crate) name: Box<str>,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Shape,
    pub(crate) range: Range<u64>,
}

impl TensorInfo {
    /// Name of the tensor.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Type of the tensor's elements.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Extents of the tensor, outermost first.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Byte range of the tensor, counted from the start of the **data section**.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Length of the tensor in bytes.
    #[must_use]
    pub fn byte_len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Byte range of the tensor, counted from the start of the **file**. `header` must be the header that this tensor
    /// came from; with any other, the range is meaningless.
    #[must_use]
    pub fn file_range(&self, header: &Header) -> Range<u64> {
        // The ranges of one's own header never come near the end of `u64`. Saturation keeps those of a foreign header
        // from wrapping.
        let start = header.data_start();
        start.saturating_add(self.range.start)..start.saturating_add(self.range.end)
    }
}

/// A parsed and checked safetensors header.
///
/// Every range lies inside the data section, is as long as its dtype and shape require, and starts where the previous
/// range ends. The last range ends with the file. Names are unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Tensors in data order.
    tensors: Box<[TensorInfo]>,
    /// Indices into `tensors`, in byte order of the names.
    by_name: Box<[u32]>,
    metadata: BTreeMap<String, String>,
    data_start: u64,
    file_len: u64,
}

impl Header {
    /// Number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Returns true where the file has no tensor. Such a file is valid: it ends with its header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Start of the data section, in bytes from the start of the file.
    #[must_use]
    pub fn data_start(&self) -> u64 {
        self.data_start
    }

    /// Length of the data section in bytes.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.file_len - self.data_start
    }

    /// Length of the whole file in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Iterates over the tensors in the order of their bytes in the file.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &TensorInfo> + DoubleEndedIterator + FusedIterator + Clone {
        self.tensors.iter()
    }

    /// Iterates over the names in byte order.
    #[must_use]
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator + FusedIterator + Clone {
        self.by_name.iter().map(|&index| &*self.tensors[index as usize].name)
    }

    /// Looks the tensor called `name` up, in O(log n).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        let at = self.by_name.binary_search_by(|&index| (*self.tensors[index as usize].name).cmp(name)).ok()?;
        Some(&self.tensors[self.by_name[at] as usize])
    }

    /// The file's `__metadata__`; empty where it is absent or null.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Iterates over the tensors in byte order of their names.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = &TensorInfo> {
        self.by_name.iter().map(|&index| &self.tensors[index as usize])
    }

    /// Returns the tensor at `index` in data order.
    pub(crate) fn nth(&self, index: usize) -> Option<&TensorInfo> {
        self.tensors.get(index)
    }

    /// Moves the data section to start at `data_start`. Its length stays the same.
    pub(crate) fn place(&mut self, data_start: u64, file_len: u64) {
        debug_assert_eq!(self.data_len(), file_len - data_start);
        self.data_start = data_start;
        self.file_len = file_len;
    }
}
