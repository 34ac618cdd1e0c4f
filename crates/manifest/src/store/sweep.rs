//! Temporaries in `tmp`, and the removal of those whose owner is dead.

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

/// Age after which a temporary of unknown ownership counts as dead, if nothing was written to it in that time.
const EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);
/// Time after which a running import has certainly written to its directory.
const SILENCE: Duration = Duration::from_secs(3 * BEAT.as_secs());

/// A file or directory in `tmp`.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) path: PathBuf,
    /// Whether nobody uses it any more: its owner has certainly ended, or nothing was written to it for a day.
    pub(super) is_dead: bool,
}

/// Temporaries that were taken from dead owners.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// New paths of the temporaries.
    pub(super) paths: Vec<PathBuf>,
    /// First error that kept a temporary from being taken, or a blob in it from being put back.
    pub(super) failed: Option<FsError>,
}

impl Store {
    /// Lists all temporaries in `tmp`.
    pub(super) fn temporaries(&self) -> Result<Vec<Temporary>, FsError> {
        let dir = self.temporary();
        let found = fs::all_entries(&dir)?.into_iter().map(|(name, _)| {
            let path = dir.join(&name);
            let is_dead = is_dead(&path, name.to_str().unwrap_or_default());
            Temporary { path, is_dead }
        });
        Ok(found.collect())
    }

    /// Moves all dead temporaries from `tmp` into `own`, where no other process touches them. Puts back blobs that a
    /// dead `gc` had moved away.
    ///
    /// If two processes try to take a temporary, one renames it and the other finds nothing. Temporaries that cannot be
    /// taken stay, for example those of another user.
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

    /// Removes a directory in `tmp` with all its contents, after putting back the blobs that a `gc` had moved there.
    pub(super) fn discard(&self, dir: &Path) -> Result<(), FsError> {
        self.put_back_all(dir)?;
        self.disk.remove_tree(dir)
    }

    /// Renames every moved blob at any depth below `dir` back to its place in the store. A blob whose place is taken
    /// stays in `dir`.
    pub(super) fn put_back_all(&self, dir: &Path) -> Result<(), FsError> {
        if !fs::is_directory(dir)? {
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

/// Whether nobody uses what lies at `path` any more. `owner` is the unique name of its owner.
pub(super) fn is_dead(path: &Path, owner: &str) -> bool {
    let fate = Owner::current().zip(Owner::of(owner)).map_or(Fate::Unknown, |(me, owner)| owner.fate(&me));
    match fate {
        Fate::Running => false,
        Fate::Gone => true,
        Fate::OtherBoot => is_local(path) && is_from_before(path, boot_time()) || is_expired(path),
        Fate::Unknown => is_expired(path),
    }
}

/// Whether nothing was written to a temporary since this system was started, and for longer than a running import may
/// be silent. No process uses it then, even if other systems can reach the disk.
fn is_from_before(path: &Path, booted: Option<SystemTime>) -> bool {
    let (Some(newest), Some(booted)) = (weigh(path).newest, booted) else { return false };
    newest < booted && newest.elapsed().unwrap_or_default() >= SILENCE
}

fn is_expired(path: &Path) -> bool {
    let weight = weigh(path);
    match weight.newest {
        // A time in the near future counts as the present.
        Some(time) => time.elapsed().unwrap_or_default() >= EXPIRY,
        None => weight.is_ahead,
    }
}

/// Size and age of a temporary.
#[derive(Debug, Default)]
pub(super) struct Weight {
    /// Size of the files in bytes, without blobs that are to be put back.
    pub(super) bytes: u64,
    /// Time at which the temporary was last written to, or a file was created or removed in it. Times more than
    /// [`EXPIRY`] ahead are ignored: they come from a wrong clock, and would keep the temporary for ever.
    pub(super) newest: Option<SystemTime>,
    /// Whether a time was ignored.
    is_ahead: bool,
}

/// Computes the size and age of a file, or of a directory with all its contents.
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
