//! A directory as the repository's, in which weight files have their headers and no bytes yet.

use std::{
    fs::{self, OpenOptions},
    io::{Read, Seek, SeekFrom, Write as _},
    ops::Range,
    path::{Path, PathBuf},
};

use longshore_manifest::{Digest, RelativePath};
use serde_json::Value;

use crate::{
    HubError, Listed, cache,
    error::at,
    fetch::{self, Files, parents, sparse},
    gguf,
    select::{Chosen, has_suffix},
};

/// Bytes of a weight file that are read first: they hold most headers.
pub(crate) const FIRST: u64 = 1 << 20;
/// Longest header, in bytes.
pub(crate) const MAX_HEADER: u64 = 100 << 20;
/// Bytes between two ranges that are read along rather than asked for apart.
const GAP: u64 = 1 << 20;
/// Most bytes of values that are held in memory at a time.
const MAX_RANGE: u64 = 16 << 20;
/// Most bytes of values that are read before an import is planned.
const MAX_VALUES: u64 = 2 << 30;

/// A weight file of the snapshot.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) file: Listed,
    pub(crate) path: PathBuf,
    /// File that says how many bytes are there.
    pub(crate) note: PathBuf,
    /// What was read before the file was verified: ranges, and the digests of their bytes.
    pub(crate) read: Vec<(Range<u64>, Digest)>,
    /// Whether the whole file is there, and right.
    pub(crate) is_whole: bool,
    /// Whether it is the hub cache's, and stays.
    pub(crate) is_cached: bool,
    /// Whether an earlier attempt verified all of it, and gave its space back.
    pub(crate) is_gone: bool,
}

impl Weights {
    pub(crate) fn is_gguf(&self) -> bool {
        has_suffix(&self.file, ".gguf")
    }

    /// A digest of what was read before the file was verified.
    pub(crate) fn mark(&self) -> Digest {
        let lines = self.read.iter().map(|(range, digest)| format!("{} {} {digest}\n", range.start, range.end));
        Digest::of(lines.collect::<String>().as_bytes())
    }
}

/// Makes the snapshot in `dir`, with notes in `notes`.
pub(crate) fn make(files: &Files<'_>, chosen: &Chosen<'_>, dir: &Path, notes: &Path) -> Result<Vec<Weights>, HubError> {
    fs::create_dir_all(notes).map_err(at("create the directory", notes))?;
    let options = &files.hub.options;
    let mut weights = Vec::new();
    for (number, file) in chosen.files.iter().enumerate() {
        let path = dir.join(file.path.as_str());
        parents(&path)?;
        let cached = cache::find(options, &files.listing.repository, file, &files.stop);
        if !crate::select::is_weights(file) {
            match cached {
                Some(cached) => drop(fs::copy(&cached, &path).map_err(at("copy", &cached))?),
                None => files.small(file, &path, &notes.join("part"))?,
            }
            continue;
        }
        let note = notes.join(number.to_string());
        let is_cached = cached.is_some();
        let (file, read) = ((*file).clone(), Vec::new());
        let mut found = Weights { file, path, note, read, is_whole: is_cached, is_cached, is_gone: false };
        if let Some(cached) = cached {
            link(&cached, &found.path)?;
        } else {
            if sparse(&found.path, found.file.size)? {
                fs::write(&found.note, "0").map_err(at("write to", &found.note))?;
            }
            if !chosen.is_gguf {
                headers(files, &mut found)?;
            }
        }
        weights.push(found);
    }
    if chosen.is_gguf {
        gguf::headers(files, &mut weights)?;
    }
    // The bytes that were read of a file that is not fetched again have to be those that an earlier attempt verified.
    for found in &mut weights {
        if let Some(mark) = fetch::mark_of_gone(&found.note).filter(|_| !found.is_whole) {
            found.is_gone = mark == found.mark().to_string();
            if !found.is_gone {
                return Err(HubError::Changed { path: found.file.path.to_string() });
            }
        }
    }
    Ok(weights)
}

/// Makes a directory of verified files of the hub's cache, which lie at the second paths.
pub(crate) fn links<'f>(dir: &Path, files: impl Iterator<Item = (&'f RelativePath, &'f Path)>) -> Result<(), HubError> {
    for (name, cached) in files {
        let path = dir.join(name.as_str());
        parents(&path)?;
        link(cached, &path)?;
    }
    Ok(())
}

#[cfg(unix)]
fn link(cached: &Path, path: &Path) -> Result<(), HubError> {
    let _ = fs::remove_file(path);
    std::os::unix::fs::symlink(cached, path).map_err(at("link", path))
}

#[cfg(not(unix))]
fn link(cached: &Path, path: &Path) -> Result<(), HubError> {
    fs::copy(cached, path).map(drop).map_err(at("copy", path))
}

/// Writes bytes that were read before the file was verified into their place.
pub(crate) fn put(weights: &mut Weights, start: u64, bytes: &[u8]) -> Result<(), HubError> {
    let mut opened = OpenOptions::new().write(true).open(&weights.path).map_err(at("open", &weights.path))?;
    let written = opened.seek(SeekFrom::Start(start)).and_then(|_| opened.write_all(bytes));
    written.map_err(at("write to", &weights.path))?;
    weights.read.push((start..start + bytes.len() as u64, Digest::of(bytes)));
    Ok(())
}

/// Fetches the values that planning reads into their places.
pub(crate) fn values(files: &Files<'_>, weights: &mut Weights, ranges: Vec<Range<u64>>) -> Result<(), HubError> {
    let ranges = joined(ranges);
    let total = ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.end - range.start));
    if total > MAX_VALUES {
        let problem = format!("{}: the values by which it is planned have {total} bytes", weights.file.path);
        return Err(HubError::Listing { reference: files.reference.to_owned(), problem });
    }
    for Range { start, end } in ranges.into_iter().flat_map(pieces) {
        let bytes = files.range(&weights.file, start, end)?;
        put(weights, start, &bytes)?;
    }
    Ok(())
}

/// Cuts a range into pieces that memory holds one at a time.
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let starts = std::iter::successors(Some(range.start), |start| start.checked_add(MAX_RANGE));
    starts
        .take_while(move |start| *start < range.end)
        .map(move |start| start..range.end.min(start.saturating_add(MAX_RANGE)))
}

/// Joins ranges that lie near each other.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP) => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// Reads the header of a safetensors file into its place, and with it the small tensors that planning reads.
fn headers(files: &Files<'_>, weights: &mut Weights) -> Result<(), HubError> {
    let size = weights.file.size;
    let path = weights.file.path.clone();
    let listing = |problem: String| HubError::Listing {
        reference: files.reference.to_owned(),
        problem: format!("{path}: {problem}"),
    };
    let mut head = files.range(&weights.file, 0, size.min(FIRST))?;
    let Some(length) = head.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(listing(format!("it has {size} bytes, which is no safetensors file")));
    };
    let end = length.saturating_add(8);
    if end > size || length > MAX_HEADER {
        return Err(listing(format!("its header would have {length} bytes, of a file of {size}")));
    }
    let have = head.len() as u64;
    if end > have {
        head.extend(files.range(&weights.file, have, end)?);
    }
    head.truncate(usize::try_from(end).unwrap_or(usize::MAX));
    put(weights, 0, &head)?;
    values(files, weights, scales(&head[8..], end, size))
}

/// The ranges of the tensors whose values an import is planned by: scales of 8-bit floats, and stated shapes. A header that is not valid has
/// none; who opens it says what is wrong.
fn scales(header: &[u8], start: u64, size: u64) -> Vec<Range<u64>> {
    let Ok(Value::Object(entries)) = serde_json::from_slice(header) else { return Vec::new() };
    let is_fp8 = entries.values().any(|entry| entry["dtype"] == "F8_E4M3");
    let wanted = entries.iter().filter(|(name, _)| is_fp8 && name.contains("scale") || name.ends_with("weight_shape"));
    let ranges = wanted.filter_map(|(_, entry)| {
        let offset = |at: usize| entry["data_offsets"][at].as_u64()?.checked_add(start);
        let range = offset(0)?..offset(1)?;
        (range.start < range.end && range.end <= size).then_some(range)
    });
    ranges.collect()
}

/// Checks that a verified file has the bytes that were read of it before.
pub(crate) fn check_read(weights: &Weights) -> Result<(), HubError> {
    let mut opened = fs::File::open(&weights.path).map_err(at("open", &weights.path))?;
    for (range, digest) in &weights.read {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
        opened.seek(SeekFrom::Start(range.start)).map_err(at("read", &weights.path))?;
        opened.read_exact(&mut bytes).map_err(at("read", &weights.path))?;
        if Digest::of(&bytes) != *digest {
            return Err(HubError::Changed { path: weights.file.path.to_string() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_held_a_piece_at_a_time() {
        const MORE: u64 = MAX_RANGE + 5;
        assert_eq!(pieces(3..MORE).collect::<Vec<_>>(), [3..MAX_RANGE + 3, MAX_RANGE + 3..MORE]);
        assert_eq!(pieces(7..7).count(), 0);
        assert_eq!(pieces(u64::MAX - 1..u64::MAX).collect::<Vec<_>>(), vec![u64::MAX - 1..u64::MAX]);
    }

    #[test]
    fn scales_are_found_and_joined() {
        let header = br#"{"a.weight":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},
            "a.weight_scale_inv":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},
            "b.scale":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},
            "far.scale":{"dtype":"F32","shape":[1],"data_offsets":[9000000,9000004]},
            "bad.scale":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551615,4]},
            "__metadata__":{"scale":"x"}}"#;
        assert_eq!(joined(scales(header, 100, 10_000_000)), [104..116, 9_000_100..9_000_104]);
        assert_eq!(scales(br#"{"b.scale":{"dtype":"F32","data_offsets":[0,4]}}"#, 0, 100), []);
        assert_eq!(scales(br#"{"b.weight_shape":{"dtype":"I64","data_offsets":[0,4]}}"#, 0, 100), vec![0..4]);
        assert_eq!(scales(b"[]", 0, 100), []);
    }
}
