//! Leases: the record of the blobs that a running import needs, so that no process deletes them. Each blob has a line.

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

/// File name of a lease in the directory of its import.
pub(super) const NAME: &str = "lease";
/// Longest time between two signs of life of a running import. It is far below the time after which others count the
/// import as dead.
pub(super) const BEAT: Duration = Duration::from_secs(10 * 60);
/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// A blob that an import needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) digest: Digest,
    /// Size of the blob in bytes.
    pub(super) size: u64,
    /// Name of the intended layer, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Complete file of the blob, relative to the directory of the lease. `None` for a blob of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<RelativePath>,
}

/// Lease of a running import. Its file only grows.
#[derive(Debug)]
pub(super) struct Lease {
    disk: Disk,
    path: PathBuf,
    written: Mutex<Written>,
    begun: Instant,
    /// Time of the last write, in seconds since the lease was made.
    beat: AtomicU64,
}

#[derive(Debug)]
struct Written {
    /// Open file, until the import ends.
    file: Option<File>,
    /// Length of the file in bytes.
    length: u64,
    /// Blobs that have a line, with whether the line names a file.
    digests: HashMap<Digest, bool>,
}

impl Lease {
    pub(super) fn create(disk: &Disk, dir: &Path) -> Result<Self, FsError> {
        let path = dir.join(NAME);
        let file = disk.create_writable(&path)?;
        let written = Mutex::new(Written { file: Some(file), length: 0, digests: HashMap::new() });
        Ok(Self { disk: disk.clone(), path, written, begun: Instant::now(), beat: AtomicU64::new(0) })
    }

    /// Adds lines for blobs that have no line, or no line with a file. After the call, no process that has yet to read
    /// the lease deletes these blobs.
    pub(super) fn add(&self, lines: impl IntoIterator<Item = Line>) -> Result<(), FsError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = Vec::new();
        let mut added = Vec::new();
        for line in lines {
            // The second file of one blob is about to be dropped.
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

    /// Closes the file, so that it can be removed. Windows cannot remove an open file.
    pub(super) fn close(&mut self) {
        self.written.get_mut().unwrap_or_else(PoisonError::into_inner).file = None;
    }

    /// Updates the time of the lease, if the last sign of life is long enough ago.
    pub(super) fn beat(&self) {
        let now = self.begun.elapsed().as_secs();
        let last = self.beat.load(Ordering::Relaxed);
        let is_due = now.saturating_sub(last) >= BEAT.as_secs();
        if is_due && self.beat.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // The next attempt may succeed. Where owners can be identified, the time does not matter.
            let _ = self.disk.set_modified(&self.path, SystemTime::now());
        }
    }
}

/// A lease that cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable {
    /// Directory of the lease.
    dir: PathBuf,
    source: FsError,
}

impl From<Unreadable> for GcError {
    fn from(error: Unreadable) -> Self {
        Self::Lease { dir: error.dir, source: error.source }
    }
}

/// Reads the lines of the lease in a directory. A directory without a lease has no lines. An incomplete last line is
/// left out, because its writer does not rely on it yet.
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
