//! Take-over of files that killed imports had finished.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{Store, lease, owner::is_local};
use crate::{
    Digest, FsError,
    fs::{self, Disk},
};

/// Complete blob files that dead imports left, by the name and the size in bytes of the intended layer.
///
/// Their bytes are not trusted: a writer compares them with the bytes that it would write, and they are synced before
/// they count as stored.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Mutex<HashMap<(String, u64), Vec<PathBuf>>>);

impl Leftovers {
    /// Finds the complete files in directories that were taken over, and removes all other files except leases.
    pub(super) fn of(disk: &Disk, taken: &[PathBuf]) -> Result<Self, FsError> {
        let mut found = HashMap::new();
        let mut kept = HashSet::new();
        for dir in taken {
            collect(dir, &mut found, &mut kept)?;
            remove_others(disk, dir, &kept)?;
        }
        Ok(Self(Mutex::new(found)))
    }

    pub(super) fn has(&self, name: &str, size: u64) -> bool {
        self.files().get(&(name.to_owned(), size)).is_some_and(|files| !files.is_empty())
    }

    /// Returns a file of this layer and hands it over, so that no other writer gets it.
    pub(super) fn take(&self, name: &str, size: u64) -> Option<PathBuf> {
        self.files().get_mut(&(name.to_owned(), size))?.pop()
    }

    /// Returns the files of unwanted layers and hands them over.
    pub(super) fn take_others(&self, is_wanted: impl Fn(&str, u64) -> bool) -> Vec<PathBuf> {
        let mut others = Vec::new();
        self.files().retain(|(name, size), files| {
            let keep = is_wanted(name, *size);
            if !keep {
                others.append(files);
            }
            keep
        });
        others
    }

    fn files(&self) -> std::sync::MutexGuard<'_, HashMap<(String, u64), Vec<PathBuf>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Returns the blobs that the leases below these directories list. They include the blobs that the dead owners had
    /// brought into the store, and those that they were about to delete. Such blobs need not wait for the grace of a
    /// `gc`. Returns none on a file system that may be shared, because another machine may reuse such a blob and its
    /// lease may become visible too late.
    pub(super) fn orphans(&self, taken: &[PathBuf]) -> HashSet<Digest> {
        if is_local(&self.temporary()) { listed(taken) } else { HashSet::new() }
    }
}

fn listed<'d>(dirs: impl IntoIterator<Item = &'d PathBuf>) -> HashSet<Digest> {
    let mut found = HashSet::new();
    for dir in dirs {
        // Blobs of an unreadable lease stay until a `gc` deletes them.
        found.extend(lease::read(dir).unwrap_or_default().into_iter().map(|line| line.digest));
        found.extend(listed(&directories(dir).unwrap_or_default()));
    }
    found
}

fn collect(
    dir: &Path,
    found: &mut HashMap<(String, u64), Vec<PathBuf>>,
    kept: &mut HashSet<PathBuf>,
) -> Result<(), FsError> {
    // Files that a damaged lease listed are made again; nothing else is lost.
    for line in lease::read(dir).unwrap_or_default() {
        let (Some(name), Some(file)) = (line.name, line.file) else { continue };
        let path = dir.join(file.as_str());
        let is_whole = path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == line.size);
        if is_whole && kept.insert(path.clone()) {
            found.entry((name, line.size)).or_default().push(path);
        }
    }
    for inner in directories(dir)? {
        collect(&inner, found, kept)?;
    }
    Ok(())
}

/// Removes everything except the kept files and the leases, which the next take-over needs.
fn remove_others(disk: &Disk, path: &Path, kept: &HashSet<PathBuf>) -> Result<(), FsError> {
    if !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return disk.remove_file(path);
    }
    for (name, kind) in fs::entries(path)? {
        let inner = path.join(&name);
        if kind.is_dir() && !inner.is_symlink() {
            remove_others(disk, &inner, kept)?;
        } else if name != lease::NAME && !kept.contains(&inner) {
            disk.remove_file(&inner)?;
        }
    }
    Ok(())
}

fn directories(dir: &Path) -> Result<Vec<PathBuf>, FsError> {
    if !dir.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return Ok(Vec::new());
    }
    let inner = fs::entries(dir)?.into_iter().map(|(name, _)| dir.join(name));
    Ok(inner.filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_dir())).collect())
}
