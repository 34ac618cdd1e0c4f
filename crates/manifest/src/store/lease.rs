//! The lease of a running import: a line for each blob that it needs, so that nobody deletes the blob.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::GcError;
use crate::{
    Digest, FsError, RelativePath,
    fs::{self, Disk},
};

/// The name of a lease in the directory of its import.
pub(super) const NAME: &str = "lease";
/// A running import shows that it is alive at least this often, whatever it does: far more often than others give up on it.
pub(super) const BEAT: Duration = Duration::from_secs(10 * 60);
/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// A blob that an import needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) digest: Digest,
    /// In bytes.
    pub(super) size: u64,
    /// The layer that it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Its complete file, from the directory of the lease; a blob of the store if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<RelativePath>,
}

/// The lease of a running import: its file, which only grows.
#[derive(Debug)]
pub(super) struct Lease {
    disk: Disk,
    path: PathBuf,
    written: Mutex<Written>,
    begun: Instant,
    /// When it was last written to, in seconds since it was begun.
    beat: AtomicU64,
}

#[derive(Debug)]
struct Written {
    /// Open until the import ends.
    file: Option<File>,
    /// In bytes.
    length: u64,
    /// The blobs that have a line, and whether it gives a file.
    digests: HashMap<Digest, bool>,
}

impl Lease {
    pub(super) fn create(disk: &Disk, dir: &Path) -> Result<Self, FsError> {
        let path = dir.join(NAME);
        let file = disk.create_writable(&path)?;
        let written = Mutex::new(Written { file: Some(file), length: 0, digests: HashMap::new() });
        Ok(Self { disk: disk.clone(), path, written, begun: Instant::now(), beat: AtomicU64::new(0) })
    }

    /// Adds lines for blobs that have none yet, or none with a file. Once this is back, no one who has yet to look will delete them.
    pub(super) fn add(&self, lines: impl IntoIterator<Item = Line>) -> Result<(), FsError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = Vec::new();
        let mut added = Vec::new();
        for line in lines {
            // A second file of one blob is about to be dropped.
            let known = written.digests.get(&line.digest).copied();
            if known.is_none() || known == Some(false) && line.file.is_some() {
                written.digests.insert(line.digest, line.file.is_some());
                serde_json::to_writer(&mut text, &line).expect("writing to memory cannot fail");
                text.push(b'\n');
                added.push(line.digest);
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        let file = written.file.as_ref().expect("BUG: a lease is not written to after its end");
        let done = self.disk.write_at(file, &self.path, written.length, &text);
        match done {
            Ok(()) => written.length += text.len() as u64,
            Err(_) => written.digests.retain(|digest, _| !added.contains(digest)),
        }
        self.beat.store(self.begun.elapsed().as_secs(), Ordering::Relaxed);
        done
    }

    /// Closes the file, so that it can be removed; on Windows an open one cannot.
    pub(super) fn close(&mut self) {
        self.written.get_mut().unwrap_or_else(PoisonError::into_inner).file = None;
    }

    /// Shows that the import is alive, if it is time to.
    pub(super) fn beat(&self) {
        let now = self.begun.elapsed().as_secs();
        let last = self.beat.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(last) >= BEAT.as_secs();
        if is_due && self.beat.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // The next one may do better; and where owners can be looked up, nobody asks for the time.
            let _ = self.disk.set_modified(&self.path, SystemTime::now());
        }
    }
}

/// A lease that cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// The directory that it is in.
    dir: PathBuf,
    source: FsError,
}

impl From<Unreadable> for GcError {
    fn from(error: Unreadable) -> Self {
        Self::Lease { dir: error.dir, source: error.source }
    }
}

/// The lines of the lease in a directory; none where there is none, or not yet. A line that is not complete is left out: its
/// writer has not gone on from there.
pub(super) fn read(dir: &Path) -> Result<Vec<Line>, Unreadable> {
    read_lines(dir).map_err(|source| Unreadable { dir: dir.to_path_buf(), source })
}

fn read_lines(dir: &Path) -> Result<Vec<Line>, FsError> {
    let path = dir.join(NAME);
    let file = match fs::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let (mut lines, mut text) = (Vec::new(), Vec::new());
    loop {
        text.clear();
        reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut text).map_err(FsError::at("read", &path))?;
        if text.last() != Some(&b'\n') && (text.len() as u64) < MAX_LINE {
            return Ok(lines);
        }
        let line = serde_json::from_slice(&text)
            .map_err(|error| FsError::at("read", &path)(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        lines.push(line);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use super::*;

    fn line(content: &[u8], name: Option<&str>) -> Line {
        Line { digest: Digest::of(content), size: 1, name: name.map(Into::into), file: None }
    }

    #[test]
    fn lines_come_back_once_each() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), []);
        let lease = Lease::create(&Disk::default(), dir.path()).unwrap();
        let (a, b) = (
            line(b"a", Some("layer \"a\"\n")),
            Line { file: Some(RelativePath::parse("1").unwrap()), ..line(b"b", None) },
        );
        lease.add([a.clone(), b.clone(), a.clone()]).unwrap();
        lease.add([b.clone(), line(b"c", None)]).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [a, b, line(b"c", None)]);
    }

    #[test]
    fn a_line_that_is_being_written_is_not_there_yet_and_another_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let lease = Lease::create(&Disk::default(), dir.path()).unwrap();
        lease.add([line(b"a", None)]).unwrap();
        let whole = std::fs::read(dir.path().join(NAME)).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(dir.path().join(NAME), &whole[..cut]).unwrap();
            assert_eq!(read(dir.path()).unwrap(), []);
        }
        for wrong in [&b"{}\n"[..], b"\n", &vec![b'x'; 1 << 20]] {
            std::fs::write(dir.path().join(NAME), wrong).unwrap();
            let Unreadable { dir: found, source } = read(dir.path()).unwrap_err();
            assert_eq!((source.kind(), source.path), (io::ErrorKind::InvalidData, found.join(NAME)));
            assert_eq!(found, dir.path());
        }
    }
}
