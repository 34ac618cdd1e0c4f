//! The headers of GGUF files, and the values by which an import of them is planned, had before the files are there.

use std::{collections::BTreeMap, ops::Range};

use longshore_packer::{
    gguf_values,
    longshore_gguf::{Header, HeaderError, Limits, SplitError, SplitSet},
};

use crate::{
    HubError,
    fetch::Files,
    snapshot::{self, MAX_HEADER, Weights},
};

/// Reads the headers of the files of one model into their places, and the values that planning reads. Where they are no such files, that is
/// left to be said by who opens them.
pub(crate) fn headers(files: &Files<'_>, weights: &mut [Weights]) -> Result<(), HubError> {
    let limits = Limits::default();
    let mut members = Vec::new();
    for found in &mut *weights {
        let header = if found.is_whole {
            Header::open(&found.path, &limits).ok().map(|(_, header)| header)
        } else {
            header(files, found, &limits)?
        };
        let Some(header) = header else { return Ok(()) };
        members.push((found.path.clone(), header));
    }
    let values = SplitSet::new(members, &limits).ok().and_then(|set| gguf_values(&set).ok()).unwrap_or_default();
    let mut of_file: BTreeMap<usize, Vec<Range<u64>>> = BTreeMap::new();
    for (file, range) in values {
        of_file.entry(file).or_default().push(range);
    }
    for (file, ranges) in of_file {
        if let Some(found) = weights.get_mut(file).filter(|found| !found.is_whole) {
            snapshot::values(files, found, ranges)?;
        }
    }
    Ok(())
}

/// Reads the header of a file. Nothing says how long it is, so it is read until it is whole.
fn header(files: &Files<'_>, found: &mut Weights, limits: &Limits) -> Result<Option<Header>, HubError> {
    let size = found.file.size;
    let mut bytes = Vec::new();
    let mut wanted = snapshot::FIRST.min(size);
    loop {
        bytes.extend(files.range(&found.file, bytes.len() as u64, wanted)?);
        match Header::parse(&bytes, size, limits) {
            Ok(header) => {
                // Values that came along are fetched again with the file, and may be damaged here.
                bytes.truncate(usize::try_from(header.data_start()).unwrap_or(usize::MAX));
                snapshot::put(found, 0, &bytes)?;
                return Ok(Some(header));
            }
            Err(HeaderError::BytesTruncated { expected, .. }) if expected <= MAX_HEADER => {
                wanted = wanted.saturating_mul(2).min(MAX_HEADER).max(expected).min(size);
            }
            Err(HeaderError::BytesTruncated { expected, .. }) => {
                let problem = format!("{}: its header would have {expected} bytes or more", found.file.path);
                return Err(HubError::Listing { reference: files.reference.to_owned(), problem });
            }
            Err(_) => {
                snapshot::put(found, 0, &bytes)?;
                return Ok(None);
            }
        }
    }
}

/// Checks what the header of a file that is whole by now says of the rest of it.
pub(crate) fn check(weights: &Weights) -> Result<(), HubError> {
    let opened = Header::open(&weights.path, &Limits::default());
    opened.map(drop).map_err(|error| HubError::Source(SplitError::from(error).into()))
}
