use super::{HeaderError, Part};

/// Reads the first bytes of a file in order, and says of those that are not there whether the file lacks them, the limit forbids
/// them, or the caller has not passed them.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    file_len: u64,
    limit: u64,
}

/// A [`Part`] that costs nothing until something is wrong there.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    Magic,
    Version,
    Counts,
    Key(u64),
    Value(&'a str),
    Tensor(u64),
    Padding,
}

impl From<Place<'_>> for Part {
    fn from(place: Place<'_>) -> Self {
        match place {
            Place::Magic => Self::Magic,
            Place::Version => Self::Version,
            Place::Counts => Self::Counts,
            Place::Key(index) => Self::Key { index },
            Place::Value(key) => Self::Value { key: key.into() },
            Place::Tensor(index) => Self::Tensor { index },
            Place::Padding => Self::Padding,
        }
    }
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8], file_len: u64, limit: u64) -> Self {
        Self { bytes, at: 0, file_len, limit }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes that were passed and not read.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes read since the cursor was at `start`.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.at]
    }

    pub(super) fn take(&mut self, len: u64, place: Place<'_>) -> Result<&'a [u8], HeaderError> {
        let start = self.at;
        self.skip(len, place)?;
        Ok(self.since(start))
    }

    pub(super) fn skip(&mut self, len: u64, place: Place<'_>) -> Result<(), HeaderError> {
        let end = (self.at as u64).saturating_add(len);
        if end > self.file_len {
            return Err(HeaderError::Truncated { part: place.into(), expected: end, found: self.file_len });
        }
        if end > self.limit {
            return Err(HeaderError::HeaderTooLong { part: place.into(), found: end, limit: self.limit });
        }
        match usize::try_from(end).ok().filter(|&end| end <= self.bytes.len()) {
            Some(end) => self.at = end,
            None => return Err(HeaderError::BytesTruncated { expected: end, found: self.bytes.len() as u64 }),
        }
        Ok(())
    }

    pub(super) fn u32(&mut self, place: Place<'_>) -> Result<u32, HeaderError> {
        self.array(place).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, place: Place<'_>) -> Result<u64, HeaderError> {
        self.array(place).map(u64::from_le_bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, place: Place<'_>) -> Result<[u8; N], HeaderError> {
        let bytes = self.take(N as u64, place)?;
        Ok(*bytes.first_chunk().expect("so many were taken"))
    }
}
