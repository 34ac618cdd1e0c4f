use std::str::Utf8Error;

use crate::{Dtype, Shape, ShapeError};

/// Why bytes are not a safetensors header that we accept. Offsets in messages count from the start of the data section.
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
        /// The most bytes.
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
    /// The caller passed fewer bytes than prefix and header have, though the file is long enough.
    #[error("the header needs the first {expected} bytes of the file: found {found}")]
    BytesTruncated {
        /// Bytes of prefix and header.
        expected: u64,
        /// Bytes passed.
        found: u64,
    },
    /// The header is not UTF-8.
    #[error("the header is not UTF-8 at byte {offset} of the file")]
    NotUtf8 {
        /// Where in the file the first bad byte lies.
        offset: u64,
        /// What is wrong there.
        source: Utf8Error,
    },
    /// The header does not begin with `{`. Leading white space is refused too.
    #[error("the header begins with {found:?}: expected '{{'")]
    NotAnObject {
        /// The first character.
        found: char,
    },
    /// The header is not JSON of the right form.
    #[error("the header is not JSON as expected{}", at_tensor(tensor.as_deref()))]
    Json {
        /// The entry in which it goes wrong, where it is inside one.
        tensor: Option<Box<str>>,
        /// What was expected and found, with line and column in the JSON.
        source: serde_json::Error,
    },
    /// Two entries have the same name.
    #[error("tensor {tensor:?} is declared twice")]
    DuplicateTensor {
        /// The name.
        tensor: Box<str>,
    },
    /// There is more than one `__metadata__`.
    #[error("`__metadata__` is declared twice")]
    DuplicateMetadata,
    /// `__metadata__` has the same key twice.
    #[error("`__metadata__` has the key {key:?} twice")]
    DuplicateMetadataKey {
        /// The key.
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
    /// An entry has a field other than the three.
    #[error("tensor {tensor:?} has the unknown field {field:?}: expected dtype, shape and data_offsets only")]
    UnknownField {
        /// The tensor.
        tensor: Box<str>,
        /// The field as found.
        field: Box<str>,
    },
    /// An entry lacks one of the three fields.
    #[error("tensor {tensor:?} has no `{field}`")]
    MissingField {
        /// The tensor.
        tensor: Box<str>,
        /// `dtype`, `shape` or `data_offsets`.
        field: &'static str,
    },
    /// A dtype that safetensors does not know.
    #[error("tensor {tensor:?} has the unknown dtype {found:?}")]
    UnknownDtype {
        /// The tensor.
        tensor: Box<str>,
        /// The dtype as found.
        found: Box<str>,
    },
    /// A dtype and shape that have no length in bytes.
    #[error("tensor {tensor:?} has an impossible shape")]
    Shape {
        /// The tensor.
        tensor: Box<str>,
        /// Overflow, or a partial byte.
        source: ShapeError,
    },
    /// More tensors than [`Limits::tensors`](crate::Limits::tensors).
    #[error("the header declares more than {limit} tensors")]
    TooManyTensors {
        /// The most tensors.
        limit: usize,
    },
    /// More dimensions than [`Limits::rank`](crate::Limits::rank).
    #[error("tensor {tensor:?} has more than {limit} dimensions")]
    RankTooLarge {
        /// The tensor.
        tensor: Box<str>,
        /// The most dimensions.
        limit: usize,
    },
    /// A longer name than [`Limits::name_bytes`](crate::Limits::name_bytes).
    #[error("the tensor name that begins {start:?} has {found} bytes: expected at most {limit}")]
    NameTooLong {
        /// The first characters of the name.
        start: Box<str>,
        /// Its length in bytes.
        found: usize,
        /// The most bytes.
        limit: usize,
    },
    /// More metadata than [`Limits::metadata_bytes`](crate::Limits::metadata_bytes).
    #[error("`__metadata__` holds more than {limit} bytes of keys and values")]
    MetadataTooLarge {
        /// The most bytes.
        limit: usize,
    },
    /// A range that ends before it begins.
    #[error("tensor {tensor:?} has the data_offsets [{begin}, {end}]: expected begin <= end")]
    ReversedRange {
        /// The tensor.
        tensor: Box<str>,
        /// First byte.
        begin: u64,
        /// One past the last byte.
        end: u64,
    },
    /// A range that ends beyond the file.
    #[error(
        "tensor {tensor:?} ends at byte {end} of the data section: expected at most {data_len}, where the file ends"
    )]
    RangeBeyondData {
        /// The tensor.
        tensor: Box<str>,
        /// One past its last byte.
        end: u64,
        /// Bytes in the data section.
        data_len: u64,
    },
    /// A range that is not as long as dtype and shape say.
    #[error("tensor {tensor:?} spans {found} bytes: expected {expected} for {dtype} × {shape}")]
    LengthMismatch {
        /// The tensor.
        tensor: Box<str>,
        /// Its element type.
        dtype: Dtype,
        /// Its extents.
        shape: Shape,
        /// Bytes by dtype and shape.
        expected: u64,
        /// Bytes by `data_offsets`.
        found: u64,
    },
    /// Bytes that belong to no tensor, before this one.
    #[error("tensor {tensor:?} begins at byte {found}: expected {expected}, the gap belongs to no tensor")]
    Gap {
        /// The tensor after the gap.
        tensor: Box<str>,
        /// Where it should begin, in bytes from the start of the data section.
        expected: u64,
        /// Where it begins, in the same bytes.
        found: u64,
    },
    /// Bytes that belong to two tensors.
    #[error("tensor {tensor:?} begins at byte {found}: expected {expected}, where {previous:?} ends")]
    Overlap {
        /// The tensor that begins too early.
        tensor: Box<str>,
        /// The tensor before it.
        previous: Box<str>,
        /// Where it should begin, in bytes from the start of the data section.
        expected: u64,
        /// Where it begins, in the same bytes.
        found: u64,
    },
    /// Bytes after the last tensor.
    #[error("the tensors end at byte {covered} of the data section: expected {data_len}, where the file ends")]
    TrailingData {
        /// Where the last tensor ends.
        covered: u64,
        /// Bytes in the data section.
        data_len: u64,
    },
}

fn at_tensor(tensor: Option<&str>) -> String {
    tensor.map(|name| format!(" in the entry of tensor {name:?}")).unwrap_or_default()
}
