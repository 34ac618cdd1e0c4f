//! Turns declared entries into a checked [`Header`]: names are unique, lengths fit, and ranges cover the data section
//! once.

use std::cmp::Reverse;

use super::{
    Header, HeaderError, TensorInfo,
    json::{RawEntry, RawHeader},
};

pub(super) fn build(raw: RawHeader, data_start: u64, file_len: u64) -> Result<Header, HeaderError> {
    let data_len = file_len - data_start;
    let tensors = raw.entries.into_iter().map(|entry| check_entry(entry, data_len)).collect::<Result<Vec<_>, _>>()?;
    let header = Header::assemble(tensors, raw.metadata, data_start, file_len)
        .map_err(|tensor| HeaderError::DuplicateTensor { tensor })?;
    check_cover(&header)?;
    Ok(header)
}

fn check_entry(entry: RawEntry, data_len: u64) -> Result<TensorInfo, HeaderError> {
    let RawEntry { name, dtype, shape, offsets } = entry;
    let Some(found) = offsets.end.checked_sub(offsets.start) else {
        return Err(HeaderError::ReversedRange { tensor: name, begin: offsets.start, end: offsets.end });
    };
    let expected = match shape.byte_len(dtype) {
        Ok(expected) => expected,
        Err(source) => return Err(HeaderError::Shape { tensor: name, source }),
    };
    if found != expected {
        return Err(HeaderError::LengthMismatch { tensor: name, dtype, shape, expected, found });
    }
    if offsets.end > data_len {
        return Err(HeaderError::RangeBeyondData { tensor: name, end: offsets.end, data_len });
    }
    Ok(TensorInfo { name, dtype, shape, range: offsets })
}

/// Checks that each tensor starts where the previous one ends, and that the last one ends with the file.
fn check_cover(header: &Header) -> Result<(), HeaderError> {
    let mut previous: Option<&TensorInfo> = None;
    for tensor in header.iter() {
        let expected = previous.map_or(0, |previous| previous.range.end);
        let found = tensor.range.start;
        if found > expected {
            return Err(HeaderError::Gap { tensor: tensor.name.clone(), expected, found });
        }
        if found < expected {
            let previous = previous.map(|previous| previous.name.clone()).unwrap_or_default();
            return Err(HeaderError::Overlap { tensor: tensor.name.clone(), previous, expected, found });
        }
        previous = Some(tensor);
    }
    let covered = previous.map_or(0, |previous| previous.range.end);
    if covered != header.data_len() {
        return Err(HeaderError::TrailingData { covered, data_len: header.data_len() });
    }
    Ok(())
}

impl Header {
    /// Builds a header with `tensors` in data order and an index by name. `Err` holds a name that occurs twice.
    pub(crate) fn assemble(
        mut tensors: Vec<TensorInfo>,
        metadata: std::collections::BTreeMap<String, String>,
        data_start: u64,
        file_len: u64,
    ) -> Result<Self, Box<str>> {
        // Empty tensors may share a range, so the order needs the width and the name as well.
        tensors.sort_unstable_by(|a, b| {
            let key = |tensor: &TensorInfo| (tensor.range.start, tensor.range.end, Reverse(tensor.dtype.bits()));
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        // An entry has dozens of bytes of JSON, so a slice of 2^32 entries cannot have been parsed or planned.
        let mut by_name: Vec<u32> = (0..=u32::MAX).take(tensors.len()).collect();
        by_name.sort_unstable_by(|&a, &b| tensors[a as usize].name.cmp(&tensors[b as usize].name));
        if let Some(pair) =
            by_name.windows(2).find(|pair| tensors[pair[0] as usize].name == tensors[pair[1] as usize].name)
        {
            return Err(tensors[pair[0] as usize].name.clone());
        }
        Ok(Self { tensors: tensors.into(), by_name: by_name.into(), metadata, data_start, file_len })
    }
}
