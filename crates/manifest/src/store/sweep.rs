//! Entries of `tmp`, and those among them that no process works with any more.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    Store,
    lease::BEAT,
    owner::{Fate, Owner, boot_time, is_local},
};
use crate::{Digest, FsError, fs};

/// Where nobody can tell whether the owner of a temporary is alive, it is given up when nothing was written to it for this long.
const EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);
/// A running import is never silent for this long.
const SILENCE: Duration = Duration::from_secs(3 * BEAT.as_secs());

/// A file or directory in `tmp`.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) path: PathBuf,
    /// Nobody works with it any more: its owner is certainly gone, or has not been heard of for a day.
    pub(super) is_dead: bool,
}

/// Entries taken from dead owners.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Where it is now.
    pub(super) paths: Vec<PathBuf>,
    /// Why something was not taken, or not all blobs in it put back: the first failure.
    pub(super) failed: Option<FsError>,
}

impl Store {
    /// Everything in `tmp`.
    pub(super) fn temporaries(&self) -> Result<Vec<Temporary>, FsError> {
        let (me, dir) = (Owner::current(), self.temporary());
        let (local, booted) = (is_local(&dir), boot_time());
        let found = fs::all_entries(&dir)?.into_iter().map(|(name, _)| {
            let path = dir.join(&name);
            let owner = name.to_str().and_then(Owner::of);
            let fate = me.as_ref().zip(owner).map_or(Fate::Unknown, |(me, owner)| owner.fate(me));
            let is_dead = match fate {
                Fate::Running => false,
                Fate::Gone => true,
                Fate::OtherBoot => local && is_from_before(&path, booted) || is_expired(&path),
                Fate::Unknown => is_expired(&path),
            };
            Temporary { path, is_dead }
        });
        Ok(found.collect())
    }

    /// Moves everything dead from `tmp` into `own`, where nobody else will touch it, puts blobs back that a dead `gc` had moved
    /// away, and returns what it took.
    ///
    /// If two processes try, one renames and the other finds nothing. An entry that cannot be taken stays, such as another user's.
    pub(super) fn take_dead(&self, own: &Path) -> Result<Taken, FsError> {
        let mut taken = Taken::default();
        for dead in self.temporaries()?.into_iter().filter(|found| found.is_dead) {
            let Some(name) = dead.path.file_name() else { continue };
            let mine = own.join(name);
            match self.disk.rename(&dead.path, &mine).map(|()| self.put_back_all(&mine)) {
                Ok(Ok(())) => taken.paths.push(mine),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(Err(error)) | Err(error) => taken.failed = taken.failed.or(Some(error)),
            }
        }
        Ok(taken)
    }

    /// Removes a directory in `tmp` with everything in it, but for blobs that a `gc` had moved there: these are put back.
    pub(super) fn discard(&self, dir: &Path) -> Result<(), FsError> {
        self.put_back_all(dir)?;
        self.disk.remove_tree(dir)
    }

    /// Gives every moved blob at any depth below `dir` its place in the store again. One that is there again is left here.
    pub(super) fn put_back_all(&self, dir: &Path) -> Result<(), FsError> {
        if !dir.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        for (name, kind) in fs::all_entries(dir)? {
            let path = dir.join(&name);
            if let Some(digest) = name.to_str().and_then(Digest::from_file_name) {
                self.disk.rename_new(&path, &self.blob_path(&digest))?;
            } else if kind.is_dir() && !path.is_symlink() {
                self.put_back_all(&path)?;
            }
        }
        Ok(())
    }
}

/// Whether nothing was written to a temporary since this system was started, nor for as long as a running import may be silent:
/// whatever other systems may reach the disk, nobody works with it.
fn is_from_before(path: &Path, booted: Option<SystemTime>) -> bool {
    let (Some(newest), Some(booted)) = (weigh(path).newest, booted) else { return false };
    newest < booted && newest.elapsed().unwrap_or_default() >= SILENCE
}

fn is_expired(path: &Path) -> bool {
    let weight = weigh(path);
    match weight.newest {
        // A time in the near future is as good as now.
        Some(time) => time.elapsed().unwrap_or_default() >= EXPIRY,
        None => weight.is_ahead,
    }
}

/// A temporary's size and age.
#[derive(Debug, Default)]
pub(super) struct Weight {
    /// The size of its files in bytes, without blobs that are only to be put back.
    pub(super) bytes: u64,
    /// When it was last written to, or a file made or removed in it. Times more than [`EXPIRY`] ahead do not count: they come
    /// from a clock that was wrong, and would keep it for ever.
    pub(super) newest: Option<SystemTime>,
    /// Whether such a time did not count.
    is_ahead: bool,
}

/// Weighs a file, or a directory with everything in it.
pub(super) fn weigh(path: &Path) -> Weight {
    let Ok(itself) = path.symlink_metadata() else { return Weight::default() };
    let latest = SystemTime::now() + EXPIRY;
    let modified = itself.modified().ok();
    let newest = modified.filter(|time| *time <= latest);
    let mut weight = Weight { bytes: 0, newest, is_ahead: modified != newest };
    if itself.is_dir() {
        for (name, _) in fs::all_entries(path).unwrap_or_default() {
            let inner = weigh(&path.join(&name));
            weight.newest = weight.newest.max(inner.newest);
            weight.is_ahead |= inner.is_ahead;
            if name.to_str().and_then(Digest::from_file_name).is_none() {
                weight.bytes = weight.bytes.saturating_add(inner.bytes);
            }
        }
    } else {
        weight.bytes = itself.len();
    }
    weight
}
