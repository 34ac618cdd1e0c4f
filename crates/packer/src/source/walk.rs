//! A list of the files below a directory, read once and in a fixed order.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use longshore_manifest::{Digest, store::MARKER_NAME};

use super::{
    error::SourceError,
    links::{Links, Place},
};
use crate::io::small;

/// The largest number of directories between the model's directory and a file.
pub(crate) const MAX_DEPTH: usize = 3;
/// The largest number of entries that are looked at.
const MAX_ENTRIES: usize = 100_000;

/// One entry below the model's directory.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Path below the model's directory, with `/` between segments.
    pub name: String,
    pub path: PathBuf,
    pub kind: EntryKind,
}

#[derive(Debug)]
pub(crate) enum EntryKind {
    /// A regular file, or a symbolic link to one. The digest is that of its name in a hub cache, if it has one.
    File { len: u64, digest: Option<Digest> },
    /// A symbolic link to a file outside the source.
    Outside { target: PathBuf },
    /// A pipe, a socket or a device, or a symbolic link to one.
    Special,
    /// An entry that is not read or searched, with the reason.
    Skipped(String),
    /// A symbolic link whose target does not exist, or a file whose metadata cannot be read.
    Broken(io::Error),
}

impl Entry {
    /// The last segment of the name.
    pub(crate) fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the entry lies directly in the model's directory.
    pub(crate) fn is_top_level(&self) -> bool {
        !self.name.contains('/')
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.kind, EntryKind::File { .. })
    }

    /// The same entry relative to the directory `prefix`, such as `transformer/`. `None` if the entry lies elsewhere.
    pub(crate) fn below(&self, prefix: &str) -> Option<Self> {
        let name = self.name.strip_prefix(prefix)?.to_owned();
        let kind = match &self.kind {
            EntryKind::File { len, digest } => EntryKind::File { len: *len, digest: *digest },
            EntryKind::Outside { target } => EntryKind::Outside { target: target.clone() },
            EntryKind::Special => EntryKind::Special,
            EntryKind::Skipped(why) => EntryKind::Skipped(why.clone()),
            EntryKind::Broken(error) => EntryKind::Broken(error.kind().into()),
        };
        Some(Self { name, path: self.path.clone(), kind })
    }

    /// The path of a file that may be read, and the digest of its name in a hub cache. A link out of the source is an
    /// error. Entries of other kinds have to be refused by whoever reads them.
    pub(crate) fn readable(&self) -> Result<(&Path, Option<Digest>), SourceError> {
        match &self.kind {
            EntryKind::Outside { target } => Err(SourceError::Link { link: self.path.clone(), target: target.clone() }),
            EntryKind::File { digest, .. } => Ok((&self.path, *digest)),
            _ => Ok((&self.path, None)),
        }
    }

    /// Reads the whole file, of at most `limit` bytes, and checks its digest if it has one.
    pub(crate) fn read(&self, limit: u64) -> Result<Vec<u8>, SourceError> {
        let (path, digest) = self.readable()?;
        let bytes = small::read(path, limit).map_err(|error| SourceError::of_small_file(error, path, limit))?;
        SourceError::unless_whole(path, &bytes, digest)?;
        Ok(bytes)
    }
}

/// Lists all entries below `root`, sorted by name. Entries whose names start with a dot are not listed. Symbolic links
/// to files are followed as far as `links` allows, symbolic links to directories are not. No file is opened. Stores are not searched, nor are
/// directories below `root` that cannot be read, such as a volume's `lost+found`.
pub(crate) fn walk(root: &Path, links: &Links) -> Result<Vec<Entry>, SourceError> {
    walk_with(root, links, &list)
}

/// Lists a directory, up to one entry more than allowed.
fn list(dir: &Path) -> io::Result<Vec<fs::DirEntry>> {
    crate::io::read_dir(dir)?.take(MAX_ENTRIES + 1).collect()
}

type List<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<fs::DirEntry>>;

fn walk_with(root: &Path, links: &Links, list: List<'_>) -> Result<Vec<Entry>, SourceError> {
    let listed = list(root).map_err(|source| SourceError::Io { path: root.to_owned(), source })?;
    let mut walk = Walk { root, links, list, seen: 0, entries: Vec::new() };
    walk.visit(listed, "", 0)?;
    walk.entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(walk.entries)
}

struct Walk<'a> {
    root: &'a Path,
    links: &'a Links,
    list: List<'a>,
    seen: usize,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    fn visit(&mut self, listed: Vec<fs::DirEntry>, prefix: &str, depth: usize) -> Result<(), SourceError> {
        self.seen += listed.len();
        if self.seen > MAX_ENTRIES {
            return Err(SourceError::TooManyFiles { dir: self.root.to_owned(), limit: MAX_ENTRIES });
        }
        for entry in listed {
            let path = entry.path();
            let file_name = entry.file_name();
            if file_name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let name = format!("{prefix}{}", crate::io::shown(&file_name));
            let skipped = |why: &str| EntryKind::Skipped(why.to_owned());
            let kind = match entry.file_type() {
                _ if file_name.to_str().is_none() => skipped("its name is not UTF-8"),
                _ if depth == 0 && file_name == MARKER_NAME => skipped("it marks a store"),
                Ok(found) if !found.is_dir() => kind_of(&path, found.is_symlink().then_some(self.links)),
                Ok(_) if depth == MAX_DEPTH => skipped("the directory is too deep"),
                Ok(_) if path.join(MARKER_NAME).is_file() => skipped("it is a store"),
                Ok(_) => match (self.list)(&path) {
                    Ok(listed) => {
                        self.visit(listed, &format!("{name}/"), depth + 1)?;
                        continue;
                    }
                    Err(error) => EntryKind::Skipped(format!("the directory cannot be read: {error}")),
                },
                Err(error) => EntryKind::Broken(error),
            };
            self.entries.push(Entry { name, path, kind });
        }
        Ok(())
    }
}

/// The kind of the entry at `path`, after following symbolic links. `links` is there if the entry is one.
fn kind_of(path: &Path, links: Option<&Links>) -> EntryKind {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => match links.map_or(Ok(Place::Inside(None)), |links| links.place(path)) {
            Ok(Place::Inside(digest)) => EntryKind::File { len: meta.len(), digest },
            Ok(Place::Outside(target)) => EntryKind::Outside { target },
            Err(error) => EntryKind::Broken(error),
        },
        Ok(meta) if meta.is_dir() => EntryKind::Skipped("links to directories are not followed".to_owned()),
        Ok(_) => EntryKind::Special,
        Err(error) if crate::io::is_circle(&error) => EntryKind::Special,
        Err(error) => EntryKind::Broken(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model's directory with another directory `inner` in it, which holds `a.json`.
    fn nested() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("the system has room for temporary files");
        fs::create_dir(dir.path().join("inner")).expect("the directory is ours");
        for name in ["config.json", "inner/a.json"] {
            fs::write(dir.path().join(name), "{}").expect("the directory is ours");
        }
        dir
    }

    fn links(dir: &tempfile::TempDir) -> Links {
        Links::of(dir.path(), false).expect("it is there")
    }

    fn names(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn directories_below_that_cannot_be_read_are_entries() {
        let dir = nested();
        assert_eq!(names(&walk(dir.path(), &links(&dir)).expect("it can be read")), ["config.json", "inner/a.json"]);
        let refuse = |at: &Path| {
            if at.ends_with("inner") { Err(io::ErrorKind::PermissionDenied.into()) } else { list(at) }
        };
        let entries = walk_with(dir.path(), &links(&dir), &refuse).expect("the top can be read");
        assert_eq!(names(&entries), ["config.json", "inner"]);
        let EntryKind::Skipped(why) = &entries[1].kind else { panic!("{:?}", entries[1]) };
        assert_eq!(why, "the directory cannot be read: permission denied");
    }

    #[test]
    fn one_that_is_removed_meanwhile_is_an_entry() {
        let dir = nested();
        let remove = |at: &Path| {
            if at.ends_with("inner") {
                fs::remove_dir_all(at)?;
            }
            list(at)
        };
        let entries = walk_with(dir.path(), &links(&dir), &remove).expect("the top can be read");
        assert!(matches!(&entries[1].kind, EntryKind::Skipped(why) if why.starts_with("the directory cannot be read")));
    }

    #[test]
    fn the_top_must_be_readable() {
        let dir = nested();
        let error = walk_with(dir.path(), &links(&dir), &|_| Err(io::ErrorKind::PermissionDenied.into()));
        assert!(matches!(error, Err(SourceError::Io { path, .. }) if path == dir.path()));
    }

    #[test]
    fn stores_are_not_looked_into() {
        let dir = nested();
        for name in ["longshore.json", "inner/longshore.json"] {
            fs::write(dir.path().join(name), "{}").expect("the directory is ours");
        }
        let entries = walk(dir.path(), &links(&dir)).expect("it can be read");
        assert_eq!(names(&entries), ["config.json", "inner", "longshore.json"]);
        assert!(entries[1..].iter().all(|entry| matches!(entry.kind, EntryKind::Skipped(_))), "{entries:?}");
    }
}
