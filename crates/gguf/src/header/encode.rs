use super::{Header, MAGIC, TensorInfo, align, tensors::LEAST_BYTES};

/// Bytes before the pairs: magic, version and counts.
const PREFIX_LEN: u64 = 4 + 4 + 8 + 8;

impl Header {
    /// All bytes before the data section, as the file has them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.data_start).unwrap_or(0));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&(self.metadata.len() as u64).to_le_bytes());
        bytes.extend_from_slice(self.metadata.as_bytes());
        for tensor in &self.tensors {
            encode(tensor, &mut bytes);
        }
        // The rest is padding, and shorter than the header, which is in memory.
        bytes.resize(usize::try_from(self.data_start).unwrap_or(bytes.len()), 0);
        bytes
    }

    /// All bytes before the data section, and behind them the padding of the last tensor, where the file has it. Together with
    /// the tensors they are the whole file: [`Self::parse_with_end`] reads them.
    #[must_use]
    pub fn to_bytes_with_end(&self) -> Vec<u8> {
        let mut bytes = self.to_bytes();
        let padding = self.tensors.last().map_or(0, |last| self.file_len - last.file_range.end);
        // It is shorter than the alignment, which has a limit.
        bytes.resize(bytes.len() + usize::try_from(padding).unwrap_or(0), 0);
        bytes
    }
}

/// Where the data section starts in a file of pairs of so many bytes and these tensors. A file without tensors ends there, without
/// padding. `None` where it passes [`u64::MAX`].
pub(crate) fn data_start(metadata_len: u64, infos_len: u64, alignment: u64) -> Option<u64> {
    let end = PREFIX_LEN.checked_add(metadata_len)?.checked_add(infos_len)?;
    if infos_len == 0 { Some(end) } else { align(end, alignment) }
}

/// Bytes of a tensor's info.
pub(crate) fn info_len(tensor: &TensorInfo) -> u64 {
    LEAST_BYTES + tensor.name.len() as u64 + 8 * tensor.dims.rank() as u64
}

fn encode(tensor: &TensorInfo, bytes: &mut Vec<u8>) {
    let extents = tensor.dims.as_slice();
    bytes.extend_from_slice(&(tensor.name.len() as u64).to_le_bytes());
    bytes.extend_from_slice(tensor.name.as_bytes());
    bytes.extend_from_slice(&u32::try_from(extents.len()).expect("there are at most four").to_le_bytes());
    for extent in extents {
        bytes.extend_from_slice(&extent.to_le_bytes());
    }
    bytes.extend_from_slice(&tensor.ggml_type.id().to_le_bytes());
    bytes.extend_from_slice(&tensor.offset.to_le_bytes());
}
