//! Everything below a directory, to be compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    path::Path,
};

/// Where a store keeps what is temporary.
pub(crate) const TEMPORARY: &str = "store/tmp/";

/// The files and directories below a directory, by their paths there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tree(BTreeMap<String, Entry>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Directory,
    /// A hash of the content.
    File(u64),
}

impl Tree {
    pub(crate) fn of(directory: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.add(directory, "")?;
        Ok(tree)
    }

    fn add(&mut self, directory: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let path = format!("{prefix}{}", entry.file_name().display());
            if entry.file_type()?.is_dir() {
                self.add(&entry.path(), &format!("{path}/"))?;
                // One that has no name in it says nothing.
                if !path.starts_with("store/manifests/") {
                    self.0.insert(path, Entry::Directory);
                }
            } else {
                let mut hasher = DefaultHasher::new();
                fs::read(entry.path())?.hash(&mut hasher);
                self.0.insert(path, Entry::File(hasher.finish()));
            }
        }
        Ok(())
    }

    /// Without what is temporary.
    pub(crate) fn lasting(&self) -> Self {
        self.filter(|path| !path.starts_with(TEMPORARY))
    }

    /// Entries below this path, which ends in a slash.
    pub(crate) fn below(&self, path: &str) -> Self {
        self.filter(|other| other.starts_with(path))
    }

    fn filter(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|(path, _)| keep(path)).map(|(path, entry)| (path.clone(), *entry)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Differences: paths with `+` where only this tree has them, `-` where only the other has, `~` where both have other bytes.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let paths: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        let differences = paths.into_iter().filter_map(|path| match (self.0.get(path), other.0.get(path)) {
            (Some(_), None) => Some(format!("+{path}")),
            (None, Some(_)) => Some(format!("-{path}")),
            (Some(mine), Some(its)) if mine != its => Some(format!("~{path}")),
            _ => None,
        });
        differences.collect()
    }
}

/// Copies a directory with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
