//! Buffers whose memory the system may refuse.

use std::io;

/// Error of a buffer that the system gives no memory for.
#[derive(Debug, thiserror::Error)]
#[error("there is no memory for {bytes} bytes")]
#[non_exhaustive]
pub struct MemoryError {
    /// Length of the buffer in bytes.
    pub bytes: usize,
    /// An error of the kind [`io::ErrorKind::OutOfMemory`].
    pub source: io::Error,
}

impl From<MemoryError> for io::Error {
    fn from(error: MemoryError) -> Self {
        Self::new(io::ErrorKind::OutOfMemory, error.to_string())
    }
}

/// Gives `buffer` the length `len`. New elements are zero.
pub(crate) fn resize<T: Copy + Default>(buffer: &mut Vec<T>, len: usize) -> Result<(), MemoryError> {
    if len > buffer.capacity() {
        let bytes = len.saturating_mul(size_of::<T>());
        let refused = |_| MemoryError { bytes, source: io::ErrorKind::OutOfMemory.into() };
        buffer.try_reserve_exact(len - buffer.len()).map_err(refused)?;
    }
    buffer.resize(len, T::default());
    Ok(())
}

/// Gives `buffer` the length `len`, and every element the value `value`.
pub(crate) fn fill(buffer: &mut Vec<f32>, len: usize, value: f32) -> Result<(), MemoryError> {
    buffer.clear();
    if len > buffer.capacity() {
        let refused = |_| MemoryError { bytes: len.saturating_mul(4), source: io::ErrorKind::OutOfMemory.into() };
        buffer.try_reserve_exact(len).map_err(refused)?;
    }
    buffer.resize(len, value);
    Ok(())
}

/// Adds `more` elements of 0 to `buffer`.
pub(crate) fn grow(buffer: &mut Vec<f32>, more: usize) -> Result<(), MemoryError> {
    let refused = |_| MemoryError { bytes: more.saturating_mul(4), source: io::ErrorKind::OutOfMemory.into() };
    buffer.try_reserve(more).map_err(refused)?;
    buffer.resize(buffer.len() + more, 0.0);
    Ok(())
}

/// A buffer of `len` zero bytes.
pub(crate) fn zeros(len: usize) -> Result<Vec<u8>, MemoryError> {
    let mut buffer = Vec::new();
    resize(&mut buffer, len)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_there_is_not_is_an_error() {
        let mut buffer = zeros(100).expect("there is memory for that");
        assert_eq!(buffer, [0; 100]);
        resize(&mut buffer, 1).expect("it has that");
        let error = resize(&mut buffer, usize::MAX).expect_err("no machine has that");
        assert_eq!((error.bytes, error.source.kind()), (usize::MAX, io::ErrorKind::OutOfMemory));
        assert_eq!(buffer.len(), 1);
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::OutOfMemory);
    }
}
