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
    fetch::{Files, at, parents, sparse},
    select::Chosen,
};

/// Bytes of a weight file that are read first: they hold most headers.
const FIRST: u64 = 1 << 20;
/// Longest header, in bytes.
const MAX_HEADER: u64 = 100 << 20;
/// Bytes between two ranges that are read along rather than asked for apart.
const GAP: u64 = 1 << 20;
/// Most bytes of scales that are read before an import is planned.
const MAX_SCALES: u64 = 2 << 30;

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
    /// Whether it stays once nothing needs it: it is the hub cache's, or is needed to go on.
    pub(crate) stays: bool,
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
        let mut found =
            Weights { file: (*file).clone(), path, note, read: Vec::new(), is_whole: false, stays: chosen.is_gguf };
        if let Some(cached) = cached {
            link(&cached, &found.path)?;
            (found.is_whole, found.stays) = (true, true);
        } else {
            if sparse(&found.path, file.size)? {
                fs::write(&found.note, "0").map_err(at("write to", &found.note))?;
            }
            if !chosen.is_gguf {
                headers(files, &mut found)?;
            }
        }
        weights.push(found);
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

/// Reads the header of a safetensors file into its place, and with it the small tensors that planning reads.
fn headers(files: &Files<'_>, weights: &mut Weights) -> Result<(), HubError> {
    let size = weights.file.size;
    let listing = |problem: String| HubError::Listing {
        reference: files.reference.to_owned(),
        problem: format!("{}: {problem}", weights.file.path),
    };
    let mut head = files.range(&weights.file, 0, size.min(FIRST))?;
    let Some(length) = head.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(listing(format!("it has {size} bytes, which is no safetensors file")));
    };
    let end = length.saturating_add(8);
    if end > size || length > MAX_HEADER {
        return Err(listing(format!("its header would have {length} bytes, of a file of {size}")));
    }
    if end > head.len() as u64 {
        head.extend(files.range(&weights.file, head.len() as u64, end)?);
    }
    head.truncate(usize::try_from(end).unwrap_or(usize::MAX));
    let mut opened = OpenOptions::new().write(true).open(&weights.path).map_err(at("open", &weights.path))?;
    opened.write_all(&head).map_err(at("write to", &weights.path))?;
    weights.read.push((0..end, Digest::of(&head)));
    let scales = scales(&head[8..], end, size);
    let total: u64 = scales.iter().map(|range| range.end - range.start).sum();
    if total > MAX_SCALES {
        return Err(listing(format!("its scales have {total} bytes")));
    }
    for range in scales {
        let bytes = files.range(&weights.file, range.start, range.end)?;
        opened.seek(SeekFrom::Start(range.start)).map_err(at("write to", &weights.path))?;
        opened.write_all(&bytes).map_err(at("write to", &weights.path))?;
        weights.read.push((range, Digest::of(&bytes)));
    }
    Ok(())
}

/// The ranges of the tensors whose values an import is planned by: scales of 8-bit floats, and stated shapes. A header that is not valid has
/// none; who opens it says what is wrong.
fn scales(header: &[u8], start: u64, size: u64) -> Vec<Range<u64>> {
    let Ok(Value::Object(entries)) = serde_json::from_slice(header) else { return Vec::new() };
    let is_fp8 = entries.values().any(|entry| entry["dtype"] == "F8_E4M3");
    let wanted = entries.iter().filter(|(name, _)| is_fp8 && name.contains("scale") || name.ends_with("weight_shape"));
    let mut ranges: Vec<Range<u64>> = wanted
        .filter_map(|(_, entry)| {
            let offset = |at: usize| entry["data_offsets"][at].as_u64()?.checked_add(start);
            let range = offset(0)?..offset(1)?;
            (range.start < range.end && range.end <= size).then_some(range)
        })
        .collect();
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
    fn scales_are_found_and_joined() {
        let header = br#"{"a.weight":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},
            "a.weight_scale_inv":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},
            "b.scale":{"dtype":"F32","shape":[1],"data_offsets":[12,16]},
            "far.scale":{"dtype":"F32","shape":[1],"data_offsets":[9000000,9000004]},
            "bad.scale":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551615,4]},
            "__metadata__":{"scale":"x"}}"#;
        assert_eq!(scales(header, 100, 10_000_000), [104..116, 9_000_100..9_000_104]);
        assert_eq!(scales(br#"{"b.scale":{"dtype":"F32","data_offsets":[0,4]}}"#, 0, 100), []);
        assert_eq!(scales(br#"{"b.weight_shape":{"dtype":"I64","data_offsets":[0,4]}}"#, 0, 100), vec![0..4]);
        assert_eq!(scales(b"[]", 0, 100), []);
    }
}
