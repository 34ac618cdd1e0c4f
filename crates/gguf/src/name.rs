use std::str::Utf8Error;

/// Why bytes are neither a key nor the name of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There are none.
    #[error("it is empty")]
    Empty,
    /// There are too many.
    #[error("it has {found} bytes: expected at most {limit}")]
    TooLong {
        /// Bytes of the name.
        found: u64,
        /// The most bytes.
        limit: u64,
    },
    /// They are not UTF-8.
    #[error("it is not UTF-8 at its byte {at}")]
    NotUtf8 {
        /// The first bad byte, counted from 0 within the name.
        at: usize,
        /// The problem there.
        source: Utf8Error,
    },
    /// One is NUL, at which a reader in C takes the name to end: two names could be one to it.
    #[error("its byte {at} is NUL")]
    Nul {
        /// The first NUL, counted from 0 within the name.
        at: usize,
    },
}

/// Bytes of a tensor's name: what ggml has room for.
pub(crate) const TENSOR_NAME_LIMIT: u64 = 63;

/// `bytes` as a name of at most `limit` bytes.
pub(crate) fn check(bytes: &[u8], limit: u64) -> Result<&str, NameError> {
    check_len(bytes.len() as u64, limit)?;
    let name = std::str::from_utf8(bytes).map_err(|source| NameError::NotUtf8 { at: source.valid_up_to(), source })?;
    match bytes.iter().position(|&byte| byte == 0) {
        Some(at) => Err(NameError::Nul { at }),
        None => Ok(name),
    }
}

/// The same of the length alone, which comes first in a file.
pub(crate) fn check_len(found: u64, limit: u64) -> Result<(), NameError> {
    match found {
        0 => Err(NameError::Empty),
        _ if found > limit => Err(NameError::TooLong { found, limit }),
        _ => Ok(()),
    }
}
