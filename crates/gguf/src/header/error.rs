use std::fmt;

use crate::{DimsError, NameError, UnknownGgmlType, ValueType};

/// Where in a header something is. Pairs and tensors are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The first four bytes.
    Magic,
    /// The version.
    Version,
    /// The numbers of tensors and of pairs.
    Counts,
    /// The key of a pair.
    Key {
        /// The pair.
        index: u64,
    },
    /// The value of a pair, or the type of the value.
    Value {
        /// The key.
        key: Box<str>,
    },
    /// The info of a tensor: name, dims, type and offset.
    Tensor {
        /// The tensor.
        index: u64,
    },
    /// The padding before the data section.
    Padding,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("the magic"),
            Self::Version => f.write_str("the version"),
            Self::Counts => f.write_str("the counts"),
            Self::Key { index } => write!(f, "the key of pair {index}"),
            Self::Value { key } => write!(f, "the value of {key:?}"),
            Self::Tensor { index } => write!(f, "the info of tensor {index}"),
            Self::Padding => f.write_str("the padding before the data"),
        }
    }
}

/// Why bytes are not a GGUF file that we accept. Pairs and tensors are counted from 0, bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// The file does not begin with `GGUF`.
    #[error("the file begins with \"{}\": expected \"GGUF\"", found.escape_ascii())]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The version has its bytes in the other order.
    #[error("the version is {found:#010x}: this is a big-endian file, expected a little-endian one")]
    BigEndian {
        /// The version as found.
        found: u32,
    },
    /// A version that we do not read.
    #[error("the version is {found}: expected 2 or 3")]
    Version {
        /// The version as found.
        found: u32,
    },
    /// The file ends inside the header.
    #[error("truncated in {part}: expected {expected} bytes or more, found a file of {found}")]
    Truncated {
        /// Where.
        part: Part,
        /// The least length of a file that would hold this part.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// The caller passed fewer bytes than the header has, though the file is long enough.
    #[error("the header needs the first {expected} bytes of the file, or more: found {found}")]
    BytesTruncated {
        /// Bytes that are needed to read on.
        expected: u64,
        /// Bytes passed.
        found: u64,
    },
    /// The header is longer than [`Limits::header_bytes`](crate::Limits::header_bytes).
    #[error("the header has {found} bytes or more with {part}: expected at most {limit}")]
    HeaderTooLong {
        /// Where it passes the limit.
        part: Part,
        /// Bytes up to the end of that part.
        found: u64,
        /// The most bytes.
        limit: u64,
    },
    /// More pairs than [`Limits::pairs`](crate::Limits::pairs).
    #[error("the header declares {found} pairs: expected at most {limit}")]
    TooManyPairs {
        /// The number of pairs.
        found: u64,
        /// The most pairs.
        limit: u64,
    },
    /// More tensors than [`Limits::tensors`](crate::Limits::tensors).
    #[error("the header declares {found} tensors: expected at most {limit}")]
    TooManyTensors {
        /// The number of tensors.
        found: u64,
        /// The most tensors.
        limit: u64,
    },
    /// The numbers of pairs and tensors are more than the file has room for.
    #[error("truncated: {pairs} pairs and {tensors} tensors need {expected} bytes or more, found a file of {found}")]
    CountsBeyondFile {
        /// The number of pairs.
        pairs: u64,
        /// The number of tensors.
        tensors: u64,
        /// The least length of a file that would hold so many.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// A key that is none, or is longer than [`Limits::key_bytes`](crate::Limits::key_bytes).
    #[error("the key of pair {index} is refused")]
    Key {
        /// The pair.
        index: u64,
        /// What is wrong with it.
        source: NameError,
    },
    /// Two pairs have the same key.
    #[error("the key {key:?} occurs twice")]
    DuplicateKey {
        /// The key.
        key: Box<str>,
    },
    /// A type of values that the format does not know.
    #[error("the value of {key:?} has the unknown type {found}: expected at most 12")]
    ValueType {
        /// The key.
        key: Box<str>,
        /// The type as found.
        found: u32,
    },
    /// An array of arrays.
    #[error("the value of {key:?} is an array of arrays: expected elements of another type")]
    NestedArray {
        /// The key.
        key: Box<str>,
    },
    /// A `bool` that is neither 0 nor 1.
    #[error("the value of {key:?} has the byte {found} at {offset}: expected a bool, 0 or 1")]
    Bool {
        /// The key.
        key: Box<str>,
        /// Where the byte lies.
        offset: u64,
        /// The byte as found.
        found: u8,
    },
    /// A string that is longer than [`Limits::string_bytes`](crate::Limits::string_bytes).
    #[error("a string of {key:?} has {found} bytes: expected at most {limit}")]
    StringTooLong {
        /// The key.
        key: Box<str>,
        /// Bytes of the string.
        found: u64,
        /// The most bytes.
        limit: u64,
    },
    /// An array that is longer than [`Limits::array_elements`](crate::Limits::array_elements).
    #[error("the array {key:?} has {found} elements: expected at most {limit}")]
    ArrayTooLong {
        /// The key.
        key: Box<str>,
        /// The number of elements.
        found: u64,
        /// The most elements.
        limit: u64,
    },
    /// `general.alignment` is none.
    #[error("the alignment is refused")]
    Alignment {
        /// What is wrong with it.
        #[from]
        source: AlignmentError,
    },
    /// A name of a tensor that is none, or longer than 63 bytes.
    #[error("the name of tensor {index} is refused")]
    TensorName {
        /// The tensor.
        index: u64,
        /// What is wrong with it.
        source: NameError,
    },
    /// Two tensors have the same name.
    #[error("tensor {tensor:?} is declared twice")]
    DuplicateTensor {
        /// The name.
        tensor: Box<str>,
    },
    /// A type that ggml does not know, or has removed. Without its size the whole file is unreadable.
    #[error("tensor {tensor:?} has a type of no known size")]
    UnknownType {
        /// The tensor.
        tensor: Box<str>,
        /// The id.
        source: UnknownGgmlType,
    },
    /// Dims that are none, or have no length in bytes.
    #[error("tensor {tensor:?} has impossible dims")]
    Dims {
        /// The tensor.
        tensor: Box<str>,
        /// The problem.
        source: DimsError,
    },
    /// A tensor does not begin where the padding of the one before it ends.
    #[error("tensor {tensor:?} is at offset {found} of the data: expected {expected}")]
    Offset {
        /// The tensor.
        tensor: Box<str>,
        /// Where it should begin, in bytes from the start of the data section.
        expected: u64,
        /// Where it begins, in the same bytes.
        found: u64,
    },
    /// The file would pass [`u64::MAX`] bytes.
    #[error("the data passes 2^64 bytes at tensor {tensor:?}")]
    FileTooLong {
        /// The tensor that does not fit any more.
        tensor: Box<str>,
    },
    /// A tensor ends beyond the file.
    #[error("truncated: tensor {tensor:?} ends at byte {expected}, found a file of {found}")]
    DataBeyondFile {
        /// The first such tensor.
        tensor: Box<str>,
        /// One past its last byte.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// The file ends inside the padding of the last tensor, or of the header where there is no tensor.
    #[error("truncated: the file has {found} bytes: expected {padded}, or {unpadded} without the last padding")]
    PartialPadding {
        /// Bytes of the file with the last padding.
        padded: u64,
        /// Bytes of the file without it.
        unpadded: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// Bytes after the last tensor and its padding.
    #[error("the file has {found} bytes: expected {expected}, where the last tensor and its padding end")]
    TrailingData {
        /// Bytes of the file as its header says.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// Padding that is not zero.
    #[error("byte {offset} is {found:#04x}: expected 0, it is padding{}", after_tensor(after.as_deref()))]
    Padding {
        /// The tensor before the padding; none before the first.
        after: Option<Box<str>>,
        /// Where the byte lies.
        offset: u64,
        /// The byte as found.
        found: u8,
    },
}

/// Why a value is no `general.alignment`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AlignmentError {
    /// It is of another type than `u32`.
    #[error("general.alignment is a {found}: expected a u32")]
    Type {
        /// The type as found.
        found: ValueType,
    },
    /// It is 0, or no power of two.
    #[error("general.alignment is {found}: expected a power of two")]
    NotAPowerOfTwo {
        /// The value as found.
        found: u32,
    },
    /// It is above [`Limits::alignment`](crate::Limits::alignment).
    #[error("general.alignment is {found}: expected at most {limit}")]
    TooLarge {
        /// The value as found.
        found: u32,
        /// The most bytes.
        limit: u32,
    },
}

fn after_tensor(tensor: Option<&str>) -> String {
    tensor.map(|name| format!(" after tensor {name:?}")).unwrap_or_default()
}
