use std::io::{self, Write};

use crate::{Layout, LayoutPart};

/// Streams the file that a [`Layout`] plans, in one pass and without a buffer of its own.
///
/// The caller passes bytes in the order of [`Layout::parts`], in pieces of any size. A piece may span several tensors.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
    layout: Layout,
    /// Bytes written, header included.
    position: u64,
    /// Index in data order of the first tensor that is not written in full.
    next: usize,
}

/// Error from writing a planned file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The underlying writer failed. An unknown part of the last piece has reached it, so the file must be thrown away.
    #[error("cannot write the file at byte {position}{}", in_tensor(tensor.as_deref()))]
    Io {
        /// Number of bytes that are known to be written, header included.
        position: u64,
        /// The tensor that was being written; `None` in the header.
        tensor: Option<Box<str>>,
        /// The underlying I/O error.
        source: io::Error,
    },
    /// A piece has more bytes than the plan has left. No byte of the piece was written.
    #[error("{found} more bytes for a file that has room for {room}")]
    TooLong {
        /// Number of bytes that the plan has left.
        room: u64,
        /// Number of bytes in the piece.
        found: u64,
    },
    /// The file was finished with fewer bytes than planned.
    #[error("the file ends in tensor {tensor:?} after {found} bytes: expected {expected}")]
    TooShort {
        /// The first tensor that is not written in full.
        tensor: Box<str>,
        /// Length of the planned file in bytes.
        expected: u64,
        /// Number of bytes written.
        found: u64,
    },
}

impl<W: Write> Writer<W> {
    /// Writes the header to `inner`. Each piece goes to `inner` directly, so pass an [`io::BufWriter`] or pieces of
    /// some size.
    ///
    /// # Errors
    ///
    /// [`WriteError::Io`].
    pub fn new(mut inner: W, layout: Layout) -> Result<Self, WriteError> {
        inner.write_all(layout.header()).map_err(|source| WriteError::Io { position: 0, tensor: None, source })?;
        let position = layout.data_start();
        let mut writer = Self { inner, layout, position, next: 0 };
        writer.skip_whole();
        Ok(writer)
    }

    /// The plan that this writer follows.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Bytes written so far, header included.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The tensor that the next byte belongs to, or `None` where the file is complete. Empty tensors are skipped.
    #[must_use]
    pub fn current(&self) -> Option<LayoutPart<'_>> {
        self.layout.nth(self.next)
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    ///
    /// [`WriteError::TooLong`] where `bytes` pass the end of the planned file; [`WriteError::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let (room, found) = (self.layout.file_len() - self.position, bytes.len() as u64);
        if found > room {
            return Err(WriteError::TooLong { room, found });
        }
        self.inner.write_all(bytes).map_err(|source| WriteError::Io {
            position: self.position,
            tensor: self.current().map(|part| part.name.into()),
            source,
        })?;
        self.position += found;
        self.skip_whole();
        Ok(())
    }

    /// Flushes the underlying writer and returns it. The caller must make the file durable.
    ///
    /// # Errors
    ///
    /// [`WriteError::TooShort`] where bytes are missing; [`WriteError::Io`].
    pub fn finish(mut self) -> Result<W, WriteError> {
        if let Some(part) = self.current() {
            return Err(WriteError::TooShort {
                tensor: part.name.into(),
                expected: self.layout.file_len(),
                found: self.position,
            });
        }
        self.inner.flush().map_err(|source| WriteError::Io { position: self.position, tensor: None, source })?;
        Ok(self.inner)
    }

    fn skip_whole(&mut self) {
        while self.current().is_some_and(|part| part.range.end <= self.position) {
            self.next += 1;
        }
    }
}

fn in_tensor(tensor: Option<&str>) -> String {
    tensor.map(|name| format!(", in tensor {name:?}")).unwrap_or_default()
}
