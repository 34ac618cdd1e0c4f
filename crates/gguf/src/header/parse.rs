use super::{
    Header, HeaderError, MAGIC, VERSION, align,
    cursor::{Cursor, Place},
    padding, pairs, place, tensors,
};
use crate::Limits;

impl Header {
    /// Parses the header of a file of `file_len` bytes. `bytes` are the first bytes of the file: at least all before the data
    /// section, and any number more.
    ///
    /// Padding behind tensors is not looked at, since it lies in the data: [`Self::check_padding`] does it, and so do
    /// [`Gguf::new`](crate::Gguf::new) and [`Self::read_from`].
    ///
    /// Costs O(n log n) for n pairs and tensors, and memory in proportion to the header. For an element of an array nothing is kept.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] names the key or the tensor, and what was expected and found. [`HeaderError::BytesTruncated`] is the one
    /// that is no fault of the file: `bytes` ends too early.
    pub fn parse(bytes: &[u8], file_len: u64, limits: &Limits) -> Result<Self, HeaderError> {
        Self::parse_file(bytes, Some(file_len), limits)
    }

    /// Parses what [`Self::to_bytes_with_end`] made: the header of a file whose tensors are kept elsewhere. The length of the
    /// file follows from it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::parse`] and, for the last padding, of [`Self::check_padding`].
    pub fn parse_with_end(bytes: &[u8], limits: &Limits) -> Result<Self, HeaderError> {
        Self::parse_file(bytes, None, limits)
    }

    /// `file_len` is `None` where `bytes` are all of the file but its tensors and the padding between them.
    fn parse_file(bytes: &[u8], file_len: Option<u64>, limits: &Limits) -> Result<Self, HeaderError> {
        let is_known = file_len.is_some();
        let mut file_len = file_len.unwrap_or(bytes.len() as u64);
        let mut cursor = Cursor::new(bytes, file_len, limits.header_bytes);
        let version = version(&mut cursor)?;
        let (tensor_count, pair_count) = counts(&mut cursor, file_len, limits)?;
        let metadata = pairs::read(&mut cursor, pair_count, limits)?;
        let alignment = super::alignment(&metadata, limits)?;
        let mut tensors = tensors::read(&mut cursor, tensor_count)?;
        let by_name = Self::index(&tensors).map_err(|tensor| HeaderError::DuplicateTensor { tensor })?;

        let end = cursor.at() as u64;
        let data_start = if tensors.is_empty() {
            tensors::check(&[], end, end, alignment, file_len)?;
            file_len
        } else {
            align(end, alignment).unwrap_or(u64::MAX)
        };
        let start = cursor.at();
        let zeros = cursor.take(data_start - end, Place::Padding)?;
        padding::check_zero(zeros, start as u64, None)?;
        if !tensors.is_empty() {
            let unpadded =
                place(&mut tensors, data_start, alignment).map_err(|tensor| HeaderError::FileTooLong { tensor })?;
            if !is_known {
                let last = &bytes[cursor.at()..];
                padding::check_zero(last, unpadded, tensors.last())?;
                file_len = unpadded.saturating_add(last.len() as u64);
            }
            tensors::check(&tensors, data_start, unpadded, alignment, file_len)?;
        }
        Ok(Self { version, metadata, tensors: tensors.into(), by_name, alignment, data_start, file_len })
    }
}

fn version(cursor: &mut Cursor<'_>) -> Result<u32, HeaderError> {
    let found = cursor.array(Place::Magic)?;
    if found != MAGIC {
        return Err(HeaderError::Magic { found });
    }
    match cursor.u32(Place::Version)? {
        found @ 2..=VERSION => Ok(found),
        found if found != 0 && found.trailing_zeros() >= u16::BITS => Err(HeaderError::BigEndian { found }),
        found => Err(HeaderError::Version { found }),
    }
}

/// The numbers of tensors and of pairs. The file has room for so many.
fn counts(cursor: &mut Cursor<'_>, file_len: u64, limits: &Limits) -> Result<(u64, u64), HeaderError> {
    let tensors = cursor.u64(Place::Counts)?;
    let pairs = cursor.u64(Place::Counts)?;
    if tensors > limits.tensors {
        return Err(HeaderError::TooManyTensors { found: tensors, limit: limits.tensors });
    }
    if pairs > limits.pairs {
        return Err(HeaderError::TooManyPairs { found: pairs, limit: limits.pairs });
    }
    let expected = (cursor.at() as u64)
        .saturating_add(pairs.saturating_mul(pairs::LEAST_BYTES))
        .saturating_add(tensors.saturating_mul(tensors::LEAST_BYTES));
    if expected > file_len {
        return Err(HeaderError::CountsBeyondFile { pairs, tensors, expected, found: file_len });
    }
    Ok((tensors, pairs))
}
