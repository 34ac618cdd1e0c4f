//! The directory that an export is written to until it is complete.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use super::error::ExportError;
use crate::io::read_dir;

const END: &str = ".partial";
/// Beginning of the name of a partial directory inside an existing target.
const INSIDE: &str = ".export";

/// A directory beside the target that it will become, or inside the target if that exists. An existing empty directory
/// is kept, because it may be a mount point, a link, or belong to another user. The partial directory is removed unless
/// it is completed.
///
/// The directory is locked while it is written. The next export to the same target can therefore tell what a killed
/// export has left, and removes it. If directories cannot be locked, nothing is removed.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    target: PathBuf,
    is_inside: bool,
    _lock: Option<File>,
}

/// Refuses a target that is no directory, or that holds anything but leftovers of exports, before any work is done.
pub(super) fn check(target: &Path) -> Result<(), ExportError> {
    if let Some(path) = not_a_directory(target) {
        return Err(ExportError::NotADirectory { path: path.to_path_buf() });
    }
    match read_dir(target) {
        Ok(mut entries) => match entries.find(|entry| !is_ours(entry)) {
            None => Ok(()),
            Some(_) => Err(ExportError::NotEmpty { dir: target.to_path_buf() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(fail(target)(source)),
    }
}

/// The file, or the link without a target, that stands where `target` or a directory above it should be.
fn not_a_directory(target: &Path) -> Option<&Path> {
    // Taking the components drops a trailing slash, with which the system would report neither files nor links.
    let places = target.components().as_path().ancestors().filter(|place| !place.as_os_str().is_empty());
    for place in places {
        match fs::metadata(place) {
            Ok(found) => return (!found.is_dir()).then_some(place),
            Err(error) if error.kind() == io::ErrorKind::NotFound && place.is_symlink() => return Some(place),
            Err(_) => {}
        }
    }
    None
}

impl Partial {
    /// Creates the directory, with missing parents, and removes leftovers of killed exports.
    pub(super) fn create(target: &Path) -> Result<Self, ExportError> {
        let is_inside = target.is_dir();
        let (parent, prefix) = if is_inside {
            (target, INSIDE.to_owned())
        } else {
            let name = target.file_name().ok_or_else(|| fail(target)(io::ErrorKind::InvalidInput.into()))?;
            let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (parent, format!(".{}", name.to_string_lossy()))
        };
        fs::create_dir_all(parent).map_err(fail(parent))?;
        sweep(parent, &prefix);
        if is_inside {
            // An export that was killed before the target existed has left its directory beside it.
            if let (Some(name), Some(above)) = (target.file_name(), target.parent()) {
                let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
                sweep(above, &format!(".{}", name.to_string_lossy()));
            }
            only(target, None)?;
        }
        let paths = (0_u64..).map(|count| parent.join(format!("{prefix}.{}-{count}{END}", std::process::id())));
        for path in paths {
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(fail(&path))?,
            }
            let partial = Self { _lock: lock(&path), path, target: target.to_path_buf(), is_inside };
            match partial.path.symlink_metadata() {
                Ok(_) => return Ok(partial),
                // Another export took the directory for a leftover and removed it before it was locked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(fail(&partial.path)(source)),
            }
        }
        unreachable!("BUG: 2^64 directories")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the written directory its final name.
    pub(super) fn complete(self) -> Result<(), ExportError> {
        if !self.is_inside {
            return fs::rename(&self.path, &self.target).map_err(fail(&self.target));
        }
        only(&self.target, self.path.file_name())?;
        let mut moved = Vec::new();
        let result = names(&self.path).and_then(|names| {
            names.into_iter().try_for_each(|name| {
                let to = self.target.join(&name);
                fs::rename(self.path.join(&name), &to).map_err(fail(&to))?;
                moved.push((to, name));
                Ok(())
            })
        });
        if result.is_err() {
            for (from, name) in moved {
                // A file that cannot be moved back stays where it is; the error above says why.
                let _ = fs::rename(from, self.path.join(name));
            }
        }
        result
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a success the directory is gone. An error cannot be reported here.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Refuses a directory that holds anything but `allowed`.
fn only(dir: &Path, allowed: Option<&std::ffi::OsStr>) -> Result<(), ExportError> {
    match names(dir)?.iter().find(|name| Some(name.as_os_str()) != allowed) {
        None => Ok(()),
        Some(_) => Err(ExportError::NotEmpty { dir: dir.to_path_buf() }),
    }
}

fn names(dir: &Path) -> Result<Vec<OsString>, ExportError> {
    let names = read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
    names.map_err(fail(dir))
}

fn is_ours(entry: &io::Result<fs::DirEntry>) -> bool {
    entry.as_ref().is_ok_and(|entry| is_partial(&entry.file_name().to_string_lossy(), INSIDE))
}

/// Whether an export with this prefix created the directory with this name.
fn is_partial(name: &str, prefix: &str) -> bool {
    let unique = || name.strip_prefix(prefix)?.strip_prefix('.')?.strip_suffix(END)?.split_once('-');
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    unique().is_some_and(|(process, count)| is_number(process) && is_number(count))
}

/// Removes directories that no running export writes. Errors are ignored, because they do not prevent an export.
fn sweep(parent: &Path, prefix: &str) {
    for name in names(parent).unwrap_or_default() {
        if is_partial(&name.to_string_lossy(), prefix) {
            let path = parent.join(name);
            if let Some(_held) = lock(&path) {
                let _ = fs::remove_dir_all(&path);
            }
        }
    }
}

/// Locks a directory until the returned file is closed. `None` if another process holds the lock or if directories
/// cannot be locked.
#[cfg(unix)]
fn lock(dir: &Path) -> Option<File> {
    let file = File::open(dir).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

#[cfg(not(unix))]
fn lock(_dir: &Path) -> Option<File> {
    None
}

fn fail(path: &Path) -> impl Fn(io::Error) -> ExportError {
    move |source| ExportError::Write { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_names() {
        for name in [".out.1-0.partial", ".out.4194304-12.partial"] {
            assert!(is_partial(name, ".out"), "{name}");
        }
        for name in [
            ".out.1.partial",
            ".out.-1.partial",
            ".out.1-.partial",
            ".out.b.1-0.partial",
            "out.1-0.partial",
            ".out.1-0",
        ] {
            assert!(!is_partial(name, ".out"), "{name}");
        }
    }
}
