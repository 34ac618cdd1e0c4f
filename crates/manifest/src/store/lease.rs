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
    document::Chunks,
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
    /// Digests of the blob's chunks, in the journal of a pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) chunks: Option<Chunks>,
}

impl Line {
    /// Makes the line of a blob of the store, for no layer in particular.
    pub(super) fn of(digest: Digest, size: u64) -> Self {
        Self { digest, size, name: None, file: None, chunks: None }
    }
}

/// The blob of a layer in a journal.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) digest: Digest,
    /// Size of the blob in bytes.
    pub(super) size: u64,
    pub(super) chunks: Option<Chunks>,
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
    /// Whether it is the journal of a pull.
    is_journal: bool,
}

#[derive(Debug, Default)]
struct Written {
    /// Open file, until the import ends.
    file: Option<File>,
    /// Length of the file in bytes.
    length: u64,
    /// Blobs that have a line, with whether the line names a file.
    digests: HashMap<Digest, bool>,
    /// Blobs by the names of their layers.
    names: HashMap<String, Named>,
}

impl Lease {
    pub(super) fn create(disk: &Disk, dir: &Path) -> Result<Self, FsError> {
        let path = dir.join(NAME);
        let file = disk.create_writable(&path)?;
        let written = Mutex::new(Written { file: Some(file), length: 0, ..Written::default() });
        Ok(Self {
            disk: disk.clone(),
            path,
            written,
            begun: Instant::now(),
            beat: AtomicU64::new(0),
            is_journal: false,
        })
    }

    /// Opens the journal of a pull, with the lines that it has, or makes one. It has a line for every name, and not only for every blob.
    pub(super) fn resume(disk: &Disk, dir: &Path) -> Result<Self, FsError> {
        let path = dir.join(NAME);
        if !path.exists() {
            return Ok(Self { is_journal: true, ..Self::create(disk, dir)? });
        }
        let (lines, length) = read_lines(dir)?;
        let open = std::fs::OpenOptions::new().read(true).write(true).open(&path);
        let mut written = Written { file: Some(open.map_err(FsError::at("open", &path))?), ..Written::default() };
        for line in lines {
            written.note(&line);
        }
        // A line that a killed process had begun is written over.
        written.length = length;
        let written = Mutex::new(written);
        Ok(Self { disk: disk.clone(), path, written, begun: Instant::now(), beat: AtomicU64::new(0), is_journal: true })
    }

    /// The blob of the layer called `name`.
    pub(super) fn named(&self, name: &str) -> Option<Named> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).names.get(name).cloned()
    }

    /// Makes all lines durable.
    pub(super) fn sync(&self) -> Result<(), FsError> {
        self.disk.sync_file(&self.path)
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
            let is_named = !self.is_journal || line.name.as_ref().is_none_or(|name| written.names.contains_key(name));
            if known.is_none() || known == Some(false) && line.file.is_some() || !is_named {
                written.note(&line);
                text.extend(to_text(&line));
                added.push(line);
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        let file = written.file.as_ref().expect("BUG: a lease is not written to after its end");
        let done = self.disk.write_at(file, &self.path, written.length, &text);
        if done.is_ok() {
            written.length += text.len() as u64;
        } else {
            written.digests.retain(|digest, _| !added.iter().any(|line| line.digest == *digest));
            written.names.retain(|name, _| !added.iter().any(|line| line.name.as_ref() == Some(name)));
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

impl Written {
    fn note(&mut self, line: &Line) {
        let has_file = self.digests.entry(line.digest).or_default();
        *has_file |= line.file.is_some();
        if let Some(name) = &line.name {
            let named = Named { digest: line.digest, size: line.size, chunks: line.chunks.clone() };
            self.names.insert(name.clone(), named);
        }
    }
}

fn to_text(line: &Line) -> Vec<u8> {
    let mut text = serde_json::to_vec(line).expect("texts and numbers serialize");
    text.push(b'\n');
    text
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
    read_lines(dir).map(|(lines, _)| lines).map_err(|source| Unreadable { dir: dir.to_path_buf(), source })
}

/// Returns the lines, and the length of the file up to their end.
fn read_lines(dir: &Path) -> Result<(Vec<Line>, u64), FsError> {
    let path = dir.join(NAME);
    let file = match fs::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok((Vec::new(), 0));
        }
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file);
    let (mut lines, mut text, mut length) = (Vec::new(), Vec::new(), 0);
    loop {
        text.clear();
        reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut text).map_err(FsError::at("read", &path))?;
        if text.last() != Some(&b'\n') && (text.len() as u64) < MAX_LINE {
            return Ok((lines, length));
        }
        let line = serde_json::from_slice(&text)
            .map_err(|error| FsError::at("read", &path)(io::Error::new(io::ErrorKind::InvalidData, error)))?;
        lines.push(line);
        length += text.len() as u64;
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use super::*;

    fn line(content: &[u8], name: Option<&str>) -> Line {
        Line { name: name.map(Into::into), ..Line::of(Digest::of(content), 1) }
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
