//! Opening GGUF files as a source: one file, a split set by any of its files, or a directory with the files of one model.

use std::path::{Path, PathBuf};

use longshore_gguf::{Header, Limits, MemberName, SplitSet};
use longshore_manifest::Digest;

use super::inventory;
use crate::{
    gguf::{facts, rebuild},
    io::has_suffix,
    source::{
        checkpoint::Source,
        companions::{self, Companion},
        error::SourceError,
        links::{Links, Place},
        walk::Entry,
    },
    tensor::Shard,
};

const SUFFIX: &str = ".gguf";

/// Whether a file has the name of a GGUF file.
pub(in crate::source) fn is_gguf(path: &Path) -> bool {
    path.file_name().is_some_and(|name| has_suffix(&name.to_string_lossy(), SUFFIX))
}

/// Whether `path` may lead to GGUF files: a directory that has some and no safetensors files, or anything that has not the name of
/// a safetensors file, such as the manifest of a model of Ollama's.
pub(crate) fn may_hold_gguf(path: &Path) -> bool {
    let is_safetensors =
        |path: &Path| path.file_name().is_some_and(|name| has_suffix(&name.to_string_lossy(), ".safetensors"));
    match std::fs::read_dir(path) {
        Err(_) => !is_safetensors(path),
        Ok(entries) => {
            let paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            paths.iter().any(|path| is_gguf(path)) && !paths.iter().any(|path| is_safetensors(path))
        }
    }
}

/// Opens the file at `path`, and the other files of its set, which lie beside it.
pub(in crate::source) fn open_file(path: &Path, follow_links: bool) -> Result<Source, SourceError> {
    let set = SplitSet::open(path, &Limits::default())?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let digest = |found: &Path| {
        // The file was named by the user, so a link may lead anywhere. Its siblings were not.
        let links = Links::of(directory, follow_links || found == path);
        digest(found, links)
    };
    let digests = set.members().iter().map(|member| digest(&member.path)).collect::<Result<Vec<_>, _>>()?;
    source(path, &set, &digests, Vec::new(), Vec::new())
}

/// Opens the blob of an ollama store that holds a model. `path` is the manifest.
pub(in crate::source) fn open_blob(path: &Path, blob: &Path, digest: Digest) -> Result<Source, SourceError> {
    let limits = Limits::default();
    let (_, header) = Header::open(blob, &limits).map_err(longshore_gguf::SplitError::from)?;
    let set = SplitSet::new([(blob, header)], &limits)?;
    source(path, &set, &[Some(digest)], Vec::new(), Vec::new())
}

/// The GGUF files in a directory.
pub(in crate::source) fn files(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| entry.is_top_level() && has_suffix(&entry.name, SUFFIX))
}

/// Opens a directory whose weights are GGUF files: those of one model. Its other files become companions.
pub(in crate::source) fn open_directory(dir: &Path, entries: Vec<Entry>) -> Result<Source, SourceError> {
    let found: Vec<&Entry> = files(&entries).collect();
    let [first, others @ ..] = &*found else { return Err(SourceError::Empty { dir: dir.to_owned() }) };
    let set_of = |name: &str| name.parse::<MemberName>().ok().map(|name| (name.prefix().to_owned(), name.count()));
    let of_first = set_of(&first.name);
    if let Some(other) = others.iter().find(|other| of_first.is_none() || set_of(&other.name) != of_first) {
        return Err(SourceError::Ambiguous { first: first.path.clone(), second: other.path.clone() });
    }
    let digests = found.iter().map(|entry| Ok(entry.readable()?.1)).collect::<Result<Vec<_>, SourceError>>()?;
    let set = SplitSet::open(&first.path, &Limits::default())?;
    let used: Vec<String> = found.iter().map(|entry| entry.name.clone()).collect();
    let mut warnings = Vec::new();
    let companions = companions::collect(dir, entries, &used, &mut warnings)?;
    source(dir, &set, &digests, companions, warnings)
}

/// The digest that a hub cache promises for the file that `found` is a link to.
fn digest(found: &Path, links: std::io::Result<Links>) -> Result<Option<Digest>, SourceError> {
    if !found.is_symlink() {
        return Ok(None);
    }
    match links.and_then(|links| links.place(found)) {
        Ok(Place::Inside(digest)) => Ok(digest),
        Ok(Place::Outside(target)) => Err(SourceError::Link { link: found.to_owned(), target }),
        Err(source) => Err(SourceError::Io { path: found.to_owned(), source }),
    }
}

/// The source that consists of a set, whose files have these digests.
fn source(
    root: &Path,
    set: &SplitSet,
    digests: &[Option<Digest>],
    mut companions: Vec<Companion>,
    warnings: Vec<String>,
) -> Result<Source, SourceError> {
    let metadata = set.metadata();
    let path = || set.members()[0].path.clone();
    if facts::model_type(metadata) == Some("adapter") {
        return Err(SourceError::Adapter { path: path() });
    }
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let shard = |(at, member): (usize, &longshore_gguf::Member)| Shard {
        digest: digests.get(at).copied().flatten(),
        ..Shard::file(member.path.clone(), name(&member.path), member.header.file_len())
    };
    let shards = set.members().iter().enumerate().map(shard).collect();
    let mut inventory = inventory::inventory(set, shards)?;
    inventory.warnings = warnings;
    companions.extend(inventory::headers(set)?);
    let found = facts::config(metadata, &|name| set.get(name).is_some());
    // A file that lies beside the weights stands before one that is made of the metadata.
    let is_there = |name: &str| companions.iter().any(|file| file.name.as_str() == name);
    let rebuilt = rebuild::files(metadata, &found, &is_there);
    inventory.warnings.extend(rebuilt.notes);
    companions.extend(rebuilt.files.into_iter().map(|(name, bytes)| Companion::derived(name, bytes)));
    companions.sort_by(|a, b| a.name.cmp(&b.name));
    let mut config = found.model().clone();
    config.has_vision = facts::model_type(metadata) == Some("mmproj");
    let mut source = Source::new(PathBuf::from(root), inventory, companions, Some(config))?;
    source.template = facts::template(metadata);
    Ok(source)
}
