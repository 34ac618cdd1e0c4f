//! Reading the headers of a checkpoint's weight files, and checking them against the shard index.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry as Slot},
    fs,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use longshore_manifest::Digest;
use longshore_st_format::{Header, Limits, OpenError, ShardIndex};

use super::{
    error::SourceError,
    inventory::{Contents, Inventory},
    scales,
    select::{self, Selection},
    stale,
    walk::Entry,
};
use crate::{
    io::{
        shown,
        threads::{share, threads},
    },
    tensor::{Shard, SourceTensor},
};

impl Inventory {
    /// Reads the headers of shards in the safetensors format, wherever their bytes are stored.
    ///
    /// # Errors
    ///
    /// Returns [`SourceError::Weights`] if the header of a shard cannot be read or is not valid, and
    /// [`SourceError::DuplicateTensor`] if two tensors have the same name.
    pub fn read(shards: Vec<Shard>, limits: &Limits) -> Result<Self, SourceError> {
        let headers = shards.iter().map(|shard| header(shard, limits)).collect::<Result<Vec<_>, _>>()?;
        join(shards.into_iter().zip(headers).collect(), None)
    }
}

/// Reads the header of a shard, which need not be a file.
fn header(shard: &Shard, limits: &Limits) -> Result<Header, SourceError> {
    let path = || shard.path.clone();
    let weights = |source| SourceError::Weights { source };
    let data = shard.data.open().map_err(|source| weights(OpenError::Open { path: path(), source }))?;
    let read = |buffer: &mut [u8], offset| data.read_exact_at(buffer, offset);
    Header::read_at(shard.file_len, limits, read).map_err(|error| weights(error.at(path())))
}

/// Reads one weight file.
pub(super) fn read_file(path: &Path, limits: &Limits) -> Result<Inventory, SourceError> {
    let name = path.file_name().map(shown).unwrap_or_default();
    let mut warnings = Vec::new();
    if let Some(part) = select::part_of(&name).filter(|part| part.total > 1) {
        warnings.push(format!("{name} is one of {} parts of a model; only this part is read", part.total));
    }
    let (_, header) = Header::open(path, limits).map_err(|source| SourceError::Weights { source })?;
    let shard = Shard::file(path.to_owned(), name, header.file_len());
    let mut inventory = join(vec![(shard, header)], None)?;
    inventory.warnings.splice(..0, warnings);
    Ok(inventory)
}

/// Reads the weight files of a directory.
pub(super) fn read_directory(dir: &Path, entries: &[Entry], limits: &Limits) -> Result<Inventory, SourceError> {
    let read_index = |entry: &Entry| {
        let bytes = entry.read(limits.header_bytes)?;
        ShardIndex::parse(&bytes, limits).map_err(|source| SourceError::Index { path: entry.path.clone(), source })
    };
    match select::select(dir, entries, read_index)? {
        Selection::Indexed { name, index } => {
            let path = dir.join(&name);
            let names = index.shards().map(str::to_owned).collect();
            let files =
                read_headers(dir, entries, names, limits).map_err(|error| match incomplete(error, &path, &index) {
                    missing @ SourceError::MissingShard { .. } => {
                        stale::explain(missing, entries, &path, &index, limits)
                    }
                    other => other,
                })?;
            let mut inventory = join(files, Some(&index))?;
            inventory.index = Some(name);
            Ok(inventory)
        }
        Selection::Named(names) => join(read_headers(dir, entries, names, limits)?, None),
    }
}

/// Reads the headers of files in `dir` in parallel. If several fail, returns the error of the first file in order.
/// A link out of the source is an error before any file is opened.
fn read_headers(
    dir: &Path,
    entries: &[Entry],
    names: Vec<String>,
    limits: &Limits,
) -> Result<Vec<(Shard, Header)>, SourceError> {
    let digests = names.iter().map(|name| digest(dir, entries, name)).collect::<Result<Vec<_>, _>>()?;
    let read: Vec<_> = names.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    share(threads(None).min(names.len()), &|| {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(name) = names.get(at) else { break };
            assert!(read[at].set(Header::open(dir.join(name), limits)).is_ok(), "BUG: header {at} was read twice");
        }
    });
    names
        .into_iter()
        .zip(digests)
        .zip(read)
        .map(|((name, digest), header)| match header.into_inner().expect("every header was read") {
            Ok((_, header)) => {
                let shard = Shard::file(dir.join(&name), name, header.file_len());
                Ok((Shard { digest, ..shard }, header))
            }
            Err(source) => Err(SourceError::Weights { source }),
        })
        .collect()
}

/// The digest that the name of a weight file in a hub cache says, if it says one. Refuses links out of the source.
fn digest(dir: &Path, entries: &[Entry], name: &str) -> Result<Option<Digest>, SourceError> {
    match entries.iter().find(|entry| entry.name == name) {
        Some(entry) => Ok(entry.readable()?.1),
        // A name that starts with a dot, or of no file: an index may have either.
        None => match fs::read_link(dir.join(name)) {
            Ok(target) => Err(SourceError::Link { link: dir.join(name), target }),
            Err(_) => Ok(None),
        },
    }
}

/// Names the tensor that is missing if a shard that the index names cannot be opened.
fn incomplete(error: SourceError, index_path: &Path, index: &ShardIndex) -> SourceError {
    match error {
        SourceError::Weights { source: OpenError::Open { path, source } } => {
            let name = path.file_name().map(|name| name.to_string_lossy());
            let tensor = index.iter().find(|(_, shard)| Some(*shard) == name.as_deref());
            let tensor = tensor.map(|(tensor, _)| tensor.to_owned()).unwrap_or_default();
            SourceError::MissingShard { shard: path, index: index_path.to_owned(), tensor, source }
        }
        other => other,
    }
}

/// Joins the tensors of all files into one list. With an index, the list holds exactly the tensors of the index, each
/// from the file that the index names.
fn join(files: Vec<(Shard, Header)>, index: Option<&ShardIndex>) -> Result<Inventory, SourceError> {
    let mut metadata = BTreeMap::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut tensors = Vec::new();
    let mut unlisted = Vec::new();
    for (at, (shard, header)) in files.iter().enumerate() {
        for (key, value) in header.metadata() {
            metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
        for info in header.iter() {
            if index.is_some_and(|index| index.shard_of(info.name()).is_none()) {
                unlisted.push((info.name(), &shard.name));
                continue;
            }
            match places.entry(info.name()) {
                Slot::Occupied(first) => {
                    return Err(SourceError::DuplicateTensor {
                        tensor: info.name().to_owned(),
                        first: files[*first.get()].0.path.clone(),
                        second: shard.path.clone(),
                    });
                }
                Slot::Vacant(slot) => {
                    slot.insert(at);
                }
            }
            tensors.push(SourceTensor {
                name: info.name().to_owned(),
                dtype: info.dtype(),
                shape: info.shape().clone(),
                shard: at,
                range: info.file_range(header),
            });
        }
    }
    for (tensor, shard) in index.iter().flat_map(|index| index.iter()) {
        let found = places.get(tensor).map(|at| &files[*at].0);
        if found.is_none_or(|found| found.name != shard) {
            let path = files.iter().find(|(file, _)| file.name == shard).map(|(file, _)| file.path.clone());
            return Err(SourceError::MissingTensor {
                tensor: tensor.to_owned(),
                shard: path.unwrap_or_else(|| PathBuf::from(shard)),
                found: found.map(|found| found.path.clone()),
            });
        }
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    unlisted.sort_unstable();
    let warnings = unlisted.first().map(|(tensor, file)| {
        format!(
            "left out tensors that the index does not list: {} of them, the first is {tensor} in {file}",
            unlisted.len()
        )
    });
    let warnings = warnings.into_iter().collect();
    let shards: Vec<Shard> = files.into_iter().map(|(shard, _)| shard).collect();
    let exact_scales = scales::powers_of_two(&tensors, &shards)?;
    let stated_shapes = scales::stated_shapes(&tensors, &shards)?;
    let contents = Contents::Checkpoint { exact_scales, stated_shapes };
    Ok(Inventory { shards, tensors, metadata, index: None, warnings, contents })
}
