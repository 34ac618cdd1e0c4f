//! Which tensors a checkpoint holds and where: the headers of its weight files, checked against its index.

mod select;

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry as Slot},
    path::{Path, PathBuf},
};

use longshore_st_format::{Header, Limits, OpenError, ShardIndex};
use rayon::prelude::*;

use self::select::Selection;
pub(crate) use self::select::{has_weights, no_weights};
use crate::source::{Shard, SourceError, SourceTensor, read_small_file, walk::Entry};

/// What the weight files hold.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// In byte order of the names.
    pub shards: Vec<Shard>,
    /// In byte order of the names, which are unique.
    pub tensors: Vec<SourceTensor>,
    pub metadata: BTreeMap<String, String>,
    /// The file name of the shard index, where there is one.
    pub index: Option<String>,
    pub warnings: Vec<String>,
}

/// Reads one weight file.
pub(crate) fn read_file(path: &Path, limits: &Limits) -> Result<Inventory, SourceError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut warnings = Vec::new();
    if let Some(part) = select::part_of(&name).filter(|part| part.total > 1) {
        warnings.push(format!("{name} is one of {} parts of a model; only this part is read", part.total));
    }
    let (_, header) = Header::open(path, limits).map_err(|source| SourceError::Weights { source })?;
    let files = vec![(name, path.to_owned(), header)];
    let mut inventory = join(&files, None)?;
    inventory.warnings.splice(..0, warnings);
    Ok(inventory)
}

/// Reads the weight files of a directory.
pub(crate) fn read_directory(dir: &Path, entries: &[Entry], limits: &Limits) -> Result<Inventory, SourceError> {
    let read_index = |path: &Path| {
        let bytes = read_small_file(path, limits.header_bytes)?;
        ShardIndex::parse(&bytes, limits).map_err(|source| SourceError::Index { path: path.to_owned(), source })
    };
    match select::select(dir, entries, read_index)? {
        Selection::Indexed { name, index } => {
            let path = dir.join(&name);
            let names = index.shards().map(str::to_owned).collect();
            let files = read_headers(dir, names, limits).map_err(|error| incomplete(error, &path, &index))?;
            let mut inventory = join(&files, Some(&index))?;
            inventory.index = Some(name);
            Ok(inventory)
        }
        Selection::Named(names) => join(&read_headers(dir, names, limits)?, None),
    }
}

type NamedHeader = (String, PathBuf, Header);

/// The headers of files in `dir`, read in parallel. The error is that of the first file that has one.
fn read_headers(dir: &Path, names: Vec<String>, limits: &Limits) -> Result<Vec<NamedHeader>, SourceError> {
    let headers: Vec<_> = names.par_iter().map(|name| Header::open(dir.join(name), limits)).collect();
    names
        .into_iter()
        .zip(headers)
        .map(|(name, header)| match header {
            Ok((_, header)) => {
                let path = dir.join(&name);
                Ok((name, path, header))
            }
            Err(source) => Err(SourceError::Weights { source }),
        })
        .collect()
}

/// Says which tensor is missed where a shard that the index names cannot be opened.
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

/// One list of the tensors of all files. With an index, exactly the tensors that it lists, each in its place.
fn join(files: &[NamedHeader], index: Option<&ShardIndex>) -> Result<Inventory, SourceError> {
    let mut shards = Vec::with_capacity(files.len());
    let mut metadata = BTreeMap::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut tensors = Vec::new();
    let mut unlisted = Vec::new();
    for (at, (name, path, header)) in files.iter().enumerate() {
        shards.push(Shard { path: path.clone(), name: name.clone(), file_len: header.file_len() });
        for (key, value) in header.metadata() {
            metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
        for info in header.iter() {
            if index.is_some_and(|index| index.shard_of(info.name()).is_none()) {
                unlisted.push((info.name(), name));
                continue;
            }
            match places.entry(info.name()) {
                Slot::Occupied(first) => {
                    return Err(SourceError::DuplicateTensor {
                        tensor: info.name().to_owned(),
                        first: files[*first.get()].1.clone(),
                        second: path.clone(),
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
        let found = places.get(tensor).map(|at| &files[*at]);
        if found.is_none_or(|(name, ..)| name != shard) {
            let path = files.iter().find(|(name, ..)| name == shard).map(|(_, path, _)| path.clone());
            return Err(SourceError::MissingTensor {
                tensor: tensor.to_owned(),
                shard: path.unwrap_or_else(|| PathBuf::from(shard)),
                found: found.map(|(_, path, _)| path.clone()),
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
    Ok(Inventory { shards, tensors, metadata, index: None, warnings: warnings.into_iter().collect() })
}
