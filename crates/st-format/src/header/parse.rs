use super::{Header, HeaderError, PREFIX_LEN, check, json};
use crate::Limits;

impl Header {
    /// Parses the header of a file of `file_len` bytes. `bytes` holds the first bytes of the file: at least the prefix
    /// and the header, and any number of bytes after them.
    ///
    /// Costs O(n log n) for n tensors, and memory in proportion to the header.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] names the tensor, and what was expected and found. Only [`HeaderError::BytesTruncated`] is no
    /// fault of the file: it says that `bytes` ends too early.
    pub fn parse(bytes: &[u8], file_len: u64, limits: &Limits) -> Result<Self, HeaderError> {
        let Some(prefix) = bytes.first_chunk() else {
            return Err(if file_len < PREFIX_LEN {
                HeaderError::PrefixTruncated { file_len }
            } else {
                HeaderError::BytesTruncated { expected: PREFIX_LEN, found: bytes.len() as u64 }
            });
        };
        let data_start = data_start(*prefix, file_len, limits)?;
        let json = usize::try_from(data_start)
            .ok()
            .and_then(|end| bytes.get(prefix.len()..end))
            .ok_or(HeaderError::BytesTruncated { expected: data_start, found: bytes.len() as u64 })?;
        let text = std::str::from_utf8(json)
            .map_err(|source| HeaderError::NotUtf8 { offset: PREFIX_LEN + source.valid_up_to() as u64, source })?;
        let raw = json::collect(text, limits)?;
        check::build(raw, data_start, file_len)
    }
}

/// Computes the start of the data section, in bytes from the start of the file, from the prefix alone. The start lies
/// inside the file.
pub(super) fn data_start(prefix: [u8; 8], file_len: u64, limits: &Limits) -> Result<u64, HeaderError> {
    let header_len = u64::from_le_bytes(prefix);
    if header_len == 0 {
        return Err(HeaderError::EmptyHeader);
    }
    if header_len > limits.header_bytes {
        return Err(HeaderError::HeaderTooLong { found: header_len, limit: limits.header_bytes });
    }
    PREFIX_LEN
        .checked_add(header_len)
        .filter(|&end| end <= file_len)
        .ok_or(HeaderError::HeaderBeyondFile { header_len, file_len })
}
