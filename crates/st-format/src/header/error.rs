use std::str::Utf8Error;

use crate::{Dtype, Shape, ShapeError};

/// Error from parsing a safetensors header. Offsets in messages count from the start of the data section.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file ends inside the length prefix.
    #[error("truncated: expected an 8-byte header length, found a file of {file_len} bytes")]
    PrefixTruncated {
        /// Bytes in the file.
        file_len: u64,
    },
    /// The header length is zero.
    #[error("the header length is 0: expected at least the 2 bytes of an empty object")]
    EmptyHeader,
    /// The header is longer than [`Limits::header_bytes`](crate::Limits::header_bytes).
    #[error("the header length is {found}: expected at most {limit} bytes")]
    HeaderTooLong {
        /// The header length as found, in bytes.
        found: u64,
        /// The largest permitted header length, in bytes.
        limit: u64,
    },
    /// The header ends beyond the file.
    #[error(
        "truncated: expected a header of {header_len} bytes after the 8-byte prefix, found a file of {file_len} bytes"
    )]
    HeaderBeyondFile {
        /// The header length as found, in bytes.
        header_len: u64,
        /// Bytes in the file.
        file_len: u64,
    },
    /// The caller passed fewer bytes than the prefix and the header have, though the file is long enough.
    #[error("the header needs the first {expected} bytes of the file: found {found}")]
    BytesTruncated {
        /// Bytes of the prefix and the header together.
        expected: u64,
        /// Bytes passed.
        found: u64,
    },
    /// The header is not UTF-8.
    #[error("the header is not UTF-8 at byte {offset} of the file")]
    NotUtf8 {
        /// Offset of the first invalid byte, from the start of the file.
        offset: u64,
        /// The reason why the bytes are not UTF-8.
        source: Utf8Error,
    },
    /// The header does not begin with `{`. Leading white space is refused too.
    #[error("the header begins with {found:?}: expected '{{'")]
    NotAnObject {
        /// The first character.
        found: char,
    },
    /// The header is not JSON, or does not have the form of a safetensors header.
    #[error("the header is not JSON as expected{}", at_tensor(tensor.as_deref()))]
    Json {
        /// The tensor whose entry is at fault, where the fault lies inside an entry.
        tensor: Option<Box<str>>,
        /// Expected and found, with line and column in the JSON.
        source: serde_json::Error,
    },
    /// Two entries declare the same tensor.
    #[error("tensor {tensor:?} is declared twice")]
    DuplicateTensor {
        /// The repeated name.
        tensor: Box<str>,
    },
    /// The key `__metadata__` occurs more than once.
    #[error("`__metadata__` is declared twice")]
    DuplicateMetadata,
    /// `__metadata__` has the same key twice.
    #[error("`__metadata__` has the key {key:?} twice")]
    DuplicateMetadataKey {
        /// The repeated key.
        key: Box<str>,
    },
    /// An entry has the same field twice.
    #[error("tensor {tensor:?} has the field `{field}` twice")]
    DuplicateField {
        /// The tensor.
        tensor: Box<str>,
        /// `dtype`, `shape` or `data_offsets`.
        field: &'static str,
    },
    /// An entry has a field other than `dtype`, `shape` and `data_offsets`.
    #[error("tensor {tensor:?} has the unknown field {field:?}: expected dtype, shape and data_offsets only")]
    UnknownField {
        /// The tensor.
        tensor: Box<str>,
        /// The field as found.
        field: Box<str>,
    },
    /// An entry lacks one of the fields `dtype`, `shape` and `data_offsets`.
    #[error("tensor {tensor:?} has no `{field}`")]
    MissingField {
        /// The tensor.
        tensor: Box<str>,
        /// `dtype`, `shape` or `data_offsets`.
        field: &'static str,
    },
    /// An entry has a dtype that safetensors does not define.
    #[error("tensor {tensor:?} has the unknown dtype {found:?}")]
    UnknownDtype {
        /// The tensor.
        tensor: Box<str>,
        /// The dtype as found.
        found: Box<str>,
    },
    /// An entry has a dtype and a shape that together have no length in bytes.
    #[error("tensor {tensor:?} has an impossible shape")]
    Shape {
        /// The tensor.
        tensor: Box<str>,
        /// The overflow or the partial byte.
        source: ShapeError,
    },
    /// The header declares more tensors than [`Limits::tensors`](crate::Limits::tensors).
    #[error("the header declares more than {limit} tensors")]
    TooManyTensors {
        /// The largest permitted number of tensors.
        limit: usize,
    },
    /// A tensor has more dimensions than [`Limits::rank`](crate::Limits::rank).
    #[error("tensor {tensor:?} has more than {limit} dimensions")]
    RankTooLarge {
        /// The tensor.
        tensor: Box<str>,
        /// The largest permitted number of dimensions.
        limit: usize,
    },
    /// A tensor's name is longer than [`Limits::name_bytes`](crate::Limits::name_bytes).
    #[error("the tensor name that begins {start:?} has {found} bytes: expected at most {limit}")]
    NameTooLong {
        /// The first characters of the name.
        start: Box<str>,
        /// Length of the name in bytes.
        found: usize,
        /// The largest permitted length in bytes.
        limit: usize,
    },
    /// The metadata is larger than [`Limits::metadata_bytes`](crate::Limits::metadata_bytes).
    #[error("`__metadata__` holds more than {limit} bytes of keys and values")]
    MetadataTooLarge {
        /// The largest permitted number of bytes.
        limit: usize,
    },
    /// A tensor's range ends before it begins.
    #[error("tensor {tensor:?} has the data_offsets [{begin}, {end}]: expected begin <= end")]
    ReversedRange {
        /// The tensor.
        tensor: Box<str>,
        /// First byte of the range.
        begin: u64,
        /// One past the last byte of the range.
        end: u64,
    },
    /// A tensor's range ends beyond the file.
    #[error(
        "tensor {tensor:?} ends at byte {end} of the data section: expected at most {data_len}, where the file ends"
    )]
    RangeBeyondData {
        /// The tensor.
        tensor: Box<str>,
        /// One past the tensor's last byte.
        end: u64,
        /// Length of the data section in bytes.
        data_len: u64,
    },
    /// A tensor's range is not as long as its dtype and shape require.
    #[error("tensor {tensor:?} spans {found} bytes: expected {expected} for {dtype} × {shape}")]
    LengthMismatch {
        /// The tensor.
        tensor: Box<str>,
        /// Element type of the tensor.
        dtype: Dtype,
        /// Extents of the tensor.
        shape: Shape,
        /// Length in bytes that dtype and shape require.
        expected: u64,
        /// Length in bytes of `data_offsets`.
        found: u64,
    },
    /// Bytes before a tensor belong to no tensor.
    #[error("tensor {tensor:?} begins at byte {found}: expected {expected}, the gap belongs to no tensor")]
    Gap {
        /// The tensor after the gap.
        tensor: Box<str>,
        /// Byte at which the tensor should begin, from the start of the data section.
        expected: u64,
        /// Byte at which the tensor begins, from the start of the data section.
        found: u64,
    },
    /// Bytes belong to two tensors.
    #[error("tensor {tensor:?} begins at byte {found}: expected {expected}, where {previous:?} ends")]
    Overlap {
        /// The tensor that begins too early.
        tensor: Box<str>,
        /// The tensor before it.
        previous: Box<str>,
        /// Byte at which the tensor should begin, from the start of the data section.
        expected: u64,
        /// Byte at which the tensor begins, from the start of the data section.
        found: u64,
    },
    /// Bytes after the last tensor belong to no tensor.
    #[error("the tensors end at byte {covered} of the data section: expected {data_len}, where the file ends")]
    TrailingData {
        /// One past the last byte of the last tensor.
        covered: u64,
        /// Length of the data section in bytes.
        data_len: u64,
    },
}

fn at_tensor(tensor: Option<&str>) -> String {
    tensor.map(|name| format!(" in the entry of tensor {name:?}")).unwrap_or_default()
}
