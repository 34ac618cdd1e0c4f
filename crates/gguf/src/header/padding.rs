use std::ops::Range;

use super::{Header, HeaderError, TensorInfo};

impl Header {
    /// The padding behind tensors, in bytes from the start of the file, without ranges that are empty. The file must have zeros there.
    pub fn padding(&self) -> impl Iterator<Item = Range<u64>> {
        self.padding_after().map(|(_, range)| range)
    }

    /// Checks that the padding behind tensors is zero. `file` is the whole file.
    ///
    /// # Errors
    ///
    /// [`HeaderError::Padding`], with the tensor before it; [`HeaderError::BytesTruncated`] where `file` has fewer bytes than
    /// [`Self::file_len`].
    pub fn check_padding(&self, file: &[u8]) -> Result<(), HeaderError> {
        let found = file.len() as u64;
        for (tensor, range) in self.padding_after() {
            let bytes = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let bytes = bytes
                .and_then(|(start, end)| file.get(start..end))
                .ok_or(HeaderError::BytesTruncated { expected: self.file_len, found })?;
            check_zero(bytes, range.start, Some(tensor))?;
        }
        Ok(())
    }

    /// Each padding that is not empty, with the tensor before it.
    pub(super) fn padding_after(&self) -> impl Iterator<Item = (&TensorInfo, Range<u64>)> {
        let ends = self.tensors.iter().skip(1).map(|next| next.file_range.start).chain([self.file_len]);
        self.tensors
            .iter()
            .zip(ends)
            .map(|(tensor, end)| (tensor, tensor.file_range.end..end))
            .filter(|(_, range)| !range.is_empty())
    }
}

/// `bytes` begin at `start` of the file, and are padding.
pub(super) fn check_zero(bytes: &[u8], start: u64, after: Option<&TensorInfo>) -> Result<(), HeaderError> {
    match bytes.iter().zip(start..).find(|(byte, _)| **byte != 0) {
        Some((&found, offset)) => {
            Err(HeaderError::Padding { after: after.map(|tensor| tensor.name.clone()), offset, found })
        }
        None => Ok(()),
    }
}
