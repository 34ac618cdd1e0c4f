use std::io::{self, Write};

use crate::{Layout, TensorInfo};

/// Zeros that padding is written from.
const ZEROS: [u8; 64] = [0; 64];

/// Streams the file that a [`Layout`] plans, in one pass and without a buffer of its own. It writes the padding.
///
/// Bytes of tensors come in the order of the layout, in pieces of any size. A piece may span several tensors.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
    layout: Layout,
    /// Bytes written, header and padding included.
    position: u64,
    /// Bytes of tensors that are planned and not written.
    room: u64,
    /// The first tensor that is not whole yet.
    next: usize,
}

/// Why a file could not be written as planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The writer below failed. What has reached it is not known, so the file must be thrown away.
    #[error("cannot write the file at byte {position}{}", in_tensor(tensor.as_deref()))]
    Io {
        /// The bytes that are known to be written, header included.
        position: u64,
        /// The tensor that was being written, or behind the padding that was; none in the header and behind the last one.
        tensor: Option<Box<str>>,
        /// The system's error.
        source: io::Error,
    },
    /// More bytes than planned. None of this piece was written.
    #[error("{found} more bytes for tensors that have room for {room}")]
    TooLong {
        /// Bytes of tensors still planned.
        room: u64,
        /// Bytes in this piece.
        found: u64,
    },
    /// Fewer bytes than planned.
    #[error("the file ends in tensor {tensor:?} after {found} bytes: expected {expected}")]
    TooShort {
        /// The first tensor that is not whole.
        tensor: Box<str>,
        /// Bytes of the planned file.
        expected: u64,
        /// Bytes written.
        found: u64,
    },
}

impl<W: Write> Writer<W> {
    /// Writes the header. Give it a [`io::BufWriter`] or pieces of some size, as each piece goes to `inner` at once.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`].
    pub fn new(inner: W, layout: Layout) -> Result<Self, WriteError> {
        let room = layout.parsed().iter().map(TensorInfo::byte_len).sum();
        let mut writer = Self { inner, layout, position: 0, room, next: 0 };
        writer.inner.write_all(writer.layout.header()).map_err(|source| WriteError::Io {
            position: 0,
            tensor: None,
            source,
        })?;
        writer.position = writer.layout.parsed().data_start();
        writer.settle()?;
        Ok(writer)
    }

    /// The plan.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes written so far, header and padding included.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The tensor that the next byte belongs to, or `None` where the file is whole. Empty tensors are passed over.
    #[must_use]
    pub fn current(&self) -> Option<&TensorInfo> {
        self.layout.parsed().tensors.get(self.next)
    }

    /// Writes the next bytes of tensors, and the padding behind each tensor that they end.
    ///
    /// # Errors
    ///
    /// [`WriteError::TooLong`] where they pass the end of the last planned tensor; [`WriteError::Io`].
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), WriteError> {
        let (room, found) = (self.room, bytes.len() as u64);
        if found > room {
            return Err(WriteError::TooLong { room, found });
        }
        while let Some(tensor) = self.current().filter(|_| !bytes.is_empty()) {
            let left = tensor.file_range.end - self.position;
            let (piece, rest) = bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
            self.put(piece)?;
            self.room -= piece.len() as u64;
            bytes = rest;
            self.settle()?;
        }
        Ok(())
    }

    /// Flushes, and gives the writer below back. Making the file durable is the caller's work.
    ///
    /// # Errors
    ///
    /// [`WriteError::TooShort`] where bytes are missing; [`WriteError::Io`].
    pub fn finish(mut self) -> Result<W, WriteError> {
        let (expected, found) = (self.layout.file_len(), self.position);
        if let Some(tensor) = self.current() {
            return Err(WriteError::TooShort { tensor: tensor.name.clone(), expected, found });
        }
        debug_assert_eq!(found, expected, "the padding ends with the file");
        self.inner.flush().map_err(|source| WriteError::Io { position: found, tensor: None, source })?;
        Ok(self.inner)
    }

    /// Passes over the tensors that are whole, and writes the padding up to the next one, or to the end of the file.
    fn settle(&mut self) -> Result<(), WriteError> {
        loop {
            let (start, end) = match self.current() {
                Some(tensor) => (tensor.file_range.start, tensor.file_range.end),
                None => (self.layout.file_len(), u64::MAX),
            };
            while self.position < start {
                let left = usize::try_from(start - self.position).unwrap_or(usize::MAX);
                self.put(&ZEROS[..left.min(ZEROS.len())])?;
            }
            if self.position < end {
                return Ok(());
            }
            self.next += 1;
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.inner.write_all(bytes).map_err(|source| WriteError::Io {
            position: self.position,
            tensor: self.current().map(|tensor| tensor.name.clone()),
            source,
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

fn in_tensor(tensor: Option<&str>) -> String {
    tensor.map(|name| format!(", in tensor {name:?}")).unwrap_or_default()
}
