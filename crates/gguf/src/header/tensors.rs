//! The tensor table of a header, and where its tensors lie.

use super::{
    Header, HeaderError, TensorInfo,
    cursor::{Cursor, Place},
};
use crate::{Dims, DimsError, GgmlType, dims, name};

/// The fewest bytes of a tensor's info: the length of a name, a rank, a type and an offset.
pub(super) const LEAST_BYTES: u64 = 8 + 4 + 4 + 8;

/// The tensors as declared, with offsets as found and no place in the file.
pub(super) fn read(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<TensorInfo>, HeaderError> {
    let mut tensors = Vec::with_capacity(super::at_most(count, cursor.left() as u64 / LEAST_BYTES));
    for index in 0..count {
        tensors.push(read_one(cursor, index)?);
    }
    Ok(tensors)
}

fn read_one(cursor: &mut Cursor<'_>, index: u64) -> Result<TensorInfo, HeaderError> {
    let place = Place::Tensor(index);
    let refuse = |source| HeaderError::TensorName { index, source };
    let name_len = cursor.u64(place)?;
    name::check_len(name_len, name::TENSOR_NAME_LIMIT).map_err(refuse)?;
    let name = name::check(cursor.take(name_len, place)?, name::TENSOR_NAME_LIMIT).map_err(refuse)?;

    let refuse = |source: DimsError| HeaderError::Dims { tensor: name.into(), source };
    let rank = dims::check_rank(cursor.u32(place)?.into()).map_err(refuse)?;
    let mut extents = [0; dims::MAX_RANK];
    let extents = &mut extents[..rank.into()];
    for extent in &mut *extents {
        *extent = cursor.u64(place)?;
    }
    let dims = Dims::new(extents).map_err(refuse)?;
    let ggml_type = GgmlType::from_id(cursor.u32(place)?)
        .map_err(|source| HeaderError::UnknownType { tensor: name.into(), source })?;
    let byte_len = dims.byte_len(ggml_type).map_err(refuse)?;
    let offset = cursor.u64(place)?;
    Ok(TensorInfo { name: name.into(), ggml_type, dims, offset, byte_len, file_range: 0..0 })
}

/// Gives every tensor its place in a file whose data begins at `data_start`, one after the other, each padded to the alignment.
/// Returns the length of the file without the last padding. `Err` is the tensor at which the file passes [`u64::MAX`] bytes.
pub(crate) fn place(tensors: &mut [TensorInfo], data_start: u64, alignment: u64) -> Result<u64, Box<str>> {
    let mut end = data_start;
    for tensor in tensors {
        // A data section begins aligned, so that aligned positions are aligned offsets.
        let range = align(end, alignment)
            .and_then(|start| Some(start..start.checked_add(tensor.byte_len)?))
            .filter(|range| align(range.end, alignment).is_some())
            .ok_or_else(|| tensor.name.clone())?;
        end = range.end;
        tensor.file_range = range;
    }
    Ok(end)
}

/// The next multiple of the alignment, a power of two.
pub(crate) fn align(position: u64, alignment: u64) -> Option<u64> {
    position.checked_next_multiple_of(alignment)
}

/// Each tensor is where it was placed, and the file has room for all of them and nothing else.
pub(super) fn check(
    tensors: &[TensorInfo],
    data_start: u64,
    unpadded: u64,
    alignment: u64,
    found: u64,
) -> Result<(), HeaderError> {
    for tensor in tensors {
        let expected = tensor.file_range.start - data_start;
        if tensor.offset != expected {
            return Err(HeaderError::Offset { tensor: tensor.name.clone(), expected, found: tensor.offset });
        }
    }
    if let Some(tensor) = tensors.iter().find(|tensor| tensor.file_range.end > found) {
        let expected = tensor.file_range.end;
        return Err(HeaderError::DataBeyondFile { tensor: tensor.name.clone(), expected, found });
    }
    let padded = align(unpadded, alignment).unwrap_or(u64::MAX);
    if found > padded {
        return Err(HeaderError::TrailingData { expected: padded, found });
    }
    if found != unpadded && found != padded {
        return Err(HeaderError::PartialPadding { padded, unpadded, found });
    }
    Ok(())
}

impl Header {
    /// Indices of tensors in byte order of their names. `Err` is a name that occurs twice.
    pub(crate) fn index(tensors: &[TensorInfo]) -> Result<Box<[u32]>, Box<str>> {
        // An info has 24 bytes, so that 2^32 of them could not have been parsed.
        let mut by_name: Box<[u32]> = (0..=u32::MAX).take(tensors.len()).collect();
        let name = |index: u32| &tensors[index as usize].name;
        by_name.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
        match by_name.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
            Some(pair) => Err(name(pair[0]).clone()),
            None => Ok(by_name),
        }
    }
}
