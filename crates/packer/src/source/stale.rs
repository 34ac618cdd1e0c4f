//! An index that does not belong to the weight files beside it.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
};

use longshore_st_format::{Header, Limits, ShardIndex};

use super::{
    error::SourceError,
    select::{STEMS, SUFFIX, part_of},
    walk::Entry,
};
use crate::io::has_suffix;

/// Replaces `error`, by which a file that the index names is missing, if other weight files of the directory hold every
/// tensor of the index: the index is then left from the same model in other files.
pub(super) fn explain(
    error: SourceError,
    entries: &[Entry],
    index_path: &Path,
    index: &ShardIndex,
    limits: &Limits,
) -> SourceError {
    let SourceError::MissingShard { shard, .. } = &error else { return error };
    let named: HashSet<&str> = index.shards().collect();
    let is_named = |entry: &&Entry| named.contains(entry.name.as_str());
    let files = || entries.iter().filter(|entry| entry.is_top_level() && entry.is_file());
    // Files without an index are found by these names, so they are found once the index is gone.
    let is_found =
        |entry: &&Entry| STEMS.iter().any(|stem| entry.name.starts_with(stem)) && has_suffix(&entry.name, SUFFIX);
    let mut sets: BTreeMap<(&str, u32), Vec<&Entry>> = BTreeMap::new();
    for entry in files().filter(|entry| is_found(entry) && !is_named(entry)) {
        let set = part_of(&entry.name).map_or((entry.name.as_str(), 1), |part| (part.stem, part.total));
        sets.entry(set).or_default().push(entry);
    }
    let whole =
        sets.into_iter().find(|((_, total), set)| set.len() as u64 == u64::from(*total) && hold(set, index, limits));
    let Some((_, set)) = whole else { return error };
    let paths = |entries: &mut dyn Iterator<Item = &Entry>| -> Vec<PathBuf> {
        entries.map(|entry| entry.path.clone()).collect()
    };
    SourceError::StaleIndex {
        index: index_path.to_owned(),
        missing: shard.clone(),
        found: paths(&mut set.into_iter()),
        left: paths(&mut files().filter(is_named)),
    }
}

/// Whether the files hold every tensor of the index.
fn hold(files: &[&Entry], index: &ShardIndex, limits: &Limits) -> bool {
    let mut names: HashSet<String> = HashSet::new();
    for file in files {
        let Ok((_, header)) = Header::open(&file.path, limits) else { return false };
        names.extend(header.iter().map(|tensor| tensor.name().to_owned()));
    }
    index.iter().all(|(tensor, _)| names.contains(tensor))
}
