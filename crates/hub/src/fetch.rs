//! Fetching files of a repository, each checked by the digest that the hub lists.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use longshore_manifest::{Digest, FsError};
use longshore_transfer::{Download, TransferError, Url, encode};

use crate::{Hub, HubError, Listed, Listing, check::Check, error::at};

/// Number of bytes after which the place of a file is noted.
const NOTE: u64 = 4 << 20;

/// The files of a repository at a commit, and where to get them.
#[derive(Clone, Copy)]
pub(crate) struct Files<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) listing: &'a Listing,
    pub(crate) reference: &'a str,
    /// Called with the number of bytes that arrived.
    pub(crate) moved: &'a (dyn Fn(u64) + Sync),
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

impl Files<'_> {
    pub(crate) fn url(&self, file: &Listed) -> Result<Url, HubError> {
        let Listing { repository, commit, .. } = self.listing;
        self.hub.url(&format!("{repository}/resolve/{commit}/{}", encode(file.path.as_str(), true)))
    }

    fn fail(&self, error: TransferError) -> HubError {
        HubError::of(error, self.reference)
    }

    /// Downloads a range of a file, which only its length vouches for.
    pub(crate) fn range(&self, file: &Listed, start: u64, end: u64) -> Result<Vec<u8>, HubError> {
        let url = self.url(file)?;
        let mut bytes = Vec::new();
        let what = Download { url: &url, size: file.size, start, end };
        let mut accept = |part: &[u8]| {
            bytes.extend_from_slice(part);
            Ok(())
        };
        self.hub.client.download(&what, &mut accept, self.stop).map_err(|error| self.fail(error))?;
        (self.moved)(bytes.len() as u64);
        Ok(bytes)
    }

    /// Downloads a small file whole, by way of `part`, unless it is there.
    pub(crate) fn small(&self, file: &Listed, to: &Path, part: &Path) -> Result<(), HubError> {
        if to.metadata().is_ok_and(|found| found.len() == file.size) && crate::cache::has_digest(to, file, &self.stop) {
            return Ok(());
        }
        for is_last in [false, true] {
            let url = self.url(file)?;
            let mut check = Check::new(file);
            let mut opened = File::create(part).map_err(at("create", part))?;
            let mut accept = |bytes: &[u8]| {
                check.update(bytes);
                (self.moved)(bytes.len() as u64);
                opened.write_all(bytes)
            };
            self.hub
                .client
                .download(&Download::whole(&url, file.size), &mut accept, self.stop)
                .map_err(|error| self.fail(error))?;
            match check.finish() {
                Ok(()) => return fs::rename(part, to).map_err(at("rename", to)),
                Err((expected, found)) if is_last => {
                    let _ = fs::remove_file(part);
                    return Err(HubError::Digest { path: file.path.to_string(), expected, found });
                }
                // Once more, from elsewhere.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Downloads a large file into `to`, which has its length already, from where an earlier attempt was. `note` is the file that says where.
    pub(crate) fn large(&self, file: &Listed, to: &Path, note: &Path, progress: &dyn Fn(u64)) -> Result<(), HubError> {
        for is_last in [false, true] {
            match self.large_once(file, to, note, progress)? {
                Ok(()) => return Ok(()),
                Err((expected, found)) if is_last => {
                    return Err(HubError::Digest { path: file.path.to_string(), expected, found });
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// One attempt. The inner error has the digests that are not the same.
    fn large_once(
        &self,
        file: &Listed,
        to: &Path,
        note: &Path,
        progress: &dyn Fn(u64),
    ) -> Result<Result<(), (String, String)>, HubError> {
        let mut opened = OpenOptions::new().read(true).write(true).open(to).map_err(at("open", to))?;
        let mut check = Check::new(file);
        let start = noted(note).min(file.size);
        let mut buffer = vec![0; 1 << 20];
        let mut at_byte = 0;
        // What is there is hashed again.
        while at_byte < start {
            if (self.stop)() {
                return Err(HubError::Cancelled);
            }
            let want = usize::try_from(start - at_byte).unwrap_or(usize::MAX).min(buffer.len());
            opened.read_exact(&mut buffer[..want]).map_err(at("read back", to))?;
            check.update(&buffer[..want]);
            at_byte += want as u64;
        }
        progress(start);
        let url = self.url(file)?;
        let mut last = start;
        let mut accept = |bytes: &[u8]| {
            opened.write_all(bytes)?;
            check.update(bytes);
            at_byte += bytes.len() as u64;
            if at_byte >= last + NOTE {
                last = at_byte;
                fs::write(note, at_byte.to_string())?;
            }
            (self.moved)(bytes.len() as u64);
            progress(at_byte);
            Ok(())
        };
        let what = Download { url: &url, size: file.size, start, end: file.size };
        let received = self.hub.client.download(&what, &mut accept, self.stop);
        let noted = fs::write(note, at_byte.to_string());
        received.map_err(|error| match error {
            TransferError::Receiver(error) => HubError::Fs(FsError::new("write to", to.to_path_buf(), error)),
            error => self.fail(error),
        })?;
        noted.map_err(at("write to", note))?;
        let done = check.finish();
        if done.is_err() {
            fs::write(note, "0").map_err(at("write to", note))?;
        }
        Ok(done)
    }
}

/// The number of bytes that a note says are there.
fn noted(note: &Path) -> u64 {
    fs::read_to_string(note).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Makes a file of this length without bytes, which needs no space. One of that length is left as it is.
pub(crate) fn sparse(path: &Path, size: u64) -> Result<bool, HubError> {
    if path.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() == size) {
        return Ok(false);
    }
    let _ = fs::remove_file(path);
    let file = File::create(path).map_err(at("create", path))?;
    file.set_len(size).map_err(at("set the length of", path))?;
    Ok(true)
}

/// Beginning of the note of a file that was verified and whose space was given back. The [mark](crate::snapshot::Weights::mark) of what was read
/// of it follows.
const GONE: &str = "gone ";

/// The mark in the note of a file whose space was given back.
pub(crate) fn mark_of_gone(note: &Path) -> Option<String> {
    fs::read_to_string(note).ok()?.strip_prefix(GONE).map(|mark| mark.trim().to_owned())
}

/// Gives the space of a verified file back. Its length stays, and whoever has it open reads zeros.
pub(crate) fn release(path: &Path, note: &Path, size: u64, mark: &Digest) -> io::Result<()> {
    fs::write(note, format!("{GONE}{mark}"))?;
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(0)?;
    file.set_len(size)
}

/// Makes the directories above a file.
pub(crate) fn parents(path: &Path) -> Result<(), HubError> {
    let parent: PathBuf = path.parent().map(Path::to_path_buf).unwrap_or_default();
    fs::create_dir_all(&parent).map_err(at("create the directory", &parent))
}
