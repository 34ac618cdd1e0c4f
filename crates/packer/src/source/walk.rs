//! Every file below a directory, found once and in a fixed order.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::SourceError;

/// The most directories that may stand above a file below the model's directory.
pub(crate) const MAX_DEPTH: usize = 3;
/// The most entries that are looked at.
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
    /// A regular file, or a symbolic link to one.
    File { len: u64 },
    /// Something that is not looked into or read, and why.
    Skipped(&'static str),
    /// A symbolic link that leads nowhere, or a file whose metadata cannot be read.
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
}

/// Lists what is below `root`, sorted by name. Entries whose name starts with a dot are not listed, symbolic links to
/// files are followed, those to directories are not, and no file is opened.
pub(crate) fn walk(root: &Path) -> Result<Vec<Entry>, SourceError> {
    let mut entries = Vec::new();
    let mut seen = 0;
    visit(root, root, "", 0, &mut seen, &mut entries)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn visit(
    root: &Path,
    dir: &Path,
    prefix: &str,
    depth: usize,
    seen: &mut usize,
    entries: &mut Vec<Entry>,
) -> Result<(), SourceError> {
    let io = |source| SourceError::Io { path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        *seen += 1;
        if *seen > MAX_ENTRIES {
            return Err(SourceError::TooManyFiles { dir: root.to_owned(), limit: MAX_ENTRIES });
        }
        let path = entry.path();
        let file_name = entry.file_name();
        let (name, is_text) = match file_name.to_str() {
            Some(name) => (format!("{prefix}{name}"), true),
            None => (format!("{prefix}{}", file_name.to_string_lossy()), false),
        };
        if file_name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if !is_text {
            entries.push(Entry { name, path, kind: EntryKind::Skipped("its name is not UTF-8") });
            continue;
        }
        let is_directory = entry.file_type().map_err(io)?.is_dir();
        if is_directory && depth < MAX_DEPTH {
            visit(root, &path, &format!("{name}/"), depth + 1, seen, entries)?;
            continue;
        }
        let kind = if is_directory { EntryKind::Skipped("the directory is too deep") } else { kind_of(&path) };
        entries.push(Entry { name, path, kind });
    }
    Ok(())
}

/// What `path` is, behind any symbolic link.
fn kind_of(path: &Path) -> EntryKind {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => EntryKind::File { len: meta.len() },
        Ok(meta) if meta.is_dir() => EntryKind::Skipped("links to directories are not followed"),
        Ok(_) => EntryKind::Skipped("it is not a regular file"),
        Err(error) => EntryKind::Broken(error),
    }
}
