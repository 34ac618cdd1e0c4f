//! Writing of one blob: at any offset, hashed in order, compared with a likely twin.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use super::{
    Added,
    aside::InOrder,
    ingest::{Complete, Ingest},
    window::{Windows, Write},
    write_back::WriteBack,
};
use crate::{Digest, FsError, document::Chunks, fs};

/// Number of bytes that are read back or copied at a time.
const COPY: usize = 256 << 10;

/// Writer of one blob. It accepts bytes at any offset and hashes them in order, as a whole and chunk by chunk.
///
/// Bytes that arrive in order are hashed at once. Bytes after the first gap are read back and hashed at the end, so the
/// writer needs no memory for them. A writer that is dropped without [`BlobWriter::finish`] removes its file.
///
/// A writer [beside](Ingest::blob_like) a stored blob compares, and writes nothing until a byte differs. A tensor that
/// is already stored therefore costs a read and a hash, and a damaged stored blob is found and replaced. A writer
/// beside a file that a killed import had finished does the same, and takes the file over.
#[derive(Debug)]
pub struct BlobWriter<'i> {
    ingest: &'i Ingest<'i>,
    target: Target,
    hasher: InOrder,
    /// Number of bytes that are hashed, from the start of the blob.
    hashed: u64,
    /// End of the last byte that was taken.
    end: u64,
    /// Number of bytes that were taken. It equals `end` once there are no gaps.
    written: u64,
    /// Bytes that are taken and not in the file yet.
    windows: Windows,
    written_back: WriteBack,
    /// Blob that was compared and differs, or that is to be replaced.
    other: Option<Digest>,
    /// Name of the intended layer, if known.
    layer: Option<String>,
}

#[derive(Debug)]
enum Target {
    /// A temporary file that becomes the blob.
    New { file: File, path: PathBuf },
    /// A file with the same bytes so far: the stored blob `digest`, or a file that a killed import had finished.
    Twin { file: File, path: PathBuf, digest: Option<Digest>, buffer: Vec<u8> },
    /// No file: the blob is finished.
    Done,
}

impl<'i> BlobWriter<'i> {
    pub(super) fn new(ingest: &'i Ingest<'i>) -> Result<Self, FsError> {
        let path = ingest.temporary();
        let file = ingest.store().disk.create(&path)?;
        Ok(Self::to(ingest, Target::New { file, path }))
    }

    /// Makes a writer that compares with the blob `digest`. Returns `None` if that blob cannot be read.
    pub(super) fn beside(ingest: &'i Ingest<'i>, digest: Digest) -> Option<Self> {
        Self::beside_file(ingest, ingest.store().blob_path(&digest), Some(digest))
    }

    /// Makes a writer that compares with a file of a killed import. Returns `None` if that file cannot be read.
    pub(super) fn beside_leftover(ingest: &'i Ingest<'i>, path: PathBuf) -> Option<Self> {
        Self::beside_file(ingest, path, None)
    }

    fn beside_file(ingest: &'i Ingest<'i>, path: PathBuf, digest: Option<Digest>) -> Option<Self> {
        let file = fs::open(&path).ok()?;
        Some(Self::to(ingest, Target::Twin { file, path, digest, buffer: Vec::new() }))
    }

    /// Records the name of the intended layer, so that another import can take the file over if this one is killed.
    pub(super) fn for_layer(mut self, name: &str) -> Self {
        self.layer = Some(name.to_owned());
        self
    }

    /// Makes a writer of a replacement for the blob `digest`, whose stored bytes are not trusted.
    pub(super) fn replacing(ingest: &'i Ingest<'i>, digest: Digest) -> Result<Self, FsError> {
        let mut writer = Self::new(ingest)?;
        writer.other = Some(digest);
        Ok(writer)
    }

    fn to(ingest: &'i Ingest<'i>, target: Target) -> Self {
        Self {
            ingest,
            target,
            hasher: InOrder::default(),
            hashed: 0,
            end: 0,
            written: 0,
            windows: Windows::default(),
            written_back: WriteBack::default(),
            other: None,
            layer: None,
        }
    }

    /// Hashes on a thread of its own from here on, while this one writes or compares. That is worth while for a large blob, where a processor
    /// is free. Up to 1 MiB more is in memory; bytes and digests are the same.
    ///
    /// Returns whether there is such a thread: if the system starts none, hashing goes on here.
    pub fn hash_aside(&mut self) -> bool {
        self.hasher.go_aside()
    }

    /// Writes `bytes` at `offset`, in bytes from the start of the blob. Every byte must be written exactly once. Up to 6 MiB are
    /// gathered before they are in the file.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the file cannot be written, for example on a full disk, or if some of the bytes were already
    /// hashed: the digest would not match the file.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), FsError> {
        if bytes.is_empty() {
            return Ok(());
        }
        if offset < self.hashed {
            return Err(self.refuse("write to", format!("byte {offset} is written twice")));
        }
        let Some(end) = offset.checked_add(bytes.len() as u64) else {
            return Err(self.refuse("write to", format!("{} bytes at {offset} pass 2^64", bytes.len())));
        };
        self.ingest.lease().beat();
        if !self.equals_twin(offset, bytes) {
            self.part_from_twin()?;
        }
        self.gather(|windows, write| windows.push(offset, bytes, write))?;
        if offset == self.hashed {
            self.hasher.update(bytes);
            self.hashed = end;
        }
        self.end = self.end.max(end);
        self.written = self.written.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// Completes the blob. Drops it if the store already has it.
    ///
    /// # Errors
    ///
    /// [`FsError`] if the file cannot be written or read back, if its size differs from the written bytes, or if there are gaps.
    pub fn finish(mut self) -> Result<Added, FsError> {
        if self.written != self.end {
            let problem =
                format!("{} bytes were written, expected the {} before its end once each", self.written, self.end);
            return Err(self.refuse("complete", problem));
        }
        self.gather(Windows::flush)?;
        self.hash_rest()?;
        let (digest, chunks) = std::mem::take(&mut self.hasher).finish();
        if let Target::Twin { file, digest: twin, .. } = &self.target {
            let same_size = file.metadata().is_ok_and(|found| found.len() == self.end);
            let (size, layer) = (self.end, self.layer.as_deref());
            match twin {
                Some(twin) if same_size && *twin == digest && self.ingest.reuses(digest, size, layer)? => {
                    return Ok(Added::reused(digest, size, chunks));
                }
                None if same_size => return self.complete(digest, size, chunks, true),
                // The bytes are equal and the digest differs, because the twin is damaged in the same way as the
                // source. Or the twin is longer.
                _ => self.part_from_twin()?,
            }
        }
        let Target::New { file, path } = &self.target else {
            unreachable!("BUG: a writer that parted from its twin has a file")
        };
        let size = file.metadata().map_err(FsError::at("read the size of", path))?.len();
        if size != self.end {
            let problem = format!("it has {size} bytes, expected the {} that were written", self.end);
            return Err(self.refuse("complete", problem));
        }
        self.complete(digest, size, chunks, false)
    }

    /// Hands the complete file to the import.
    fn complete(
        &mut self,
        digest: Digest,
        size: u64,
        chunks: Option<Chunks>,
        is_taken_over: bool,
    ) -> Result<Added, FsError> {
        let (Target::New { file, path } | Target::Twin { file, path, .. }) =
            std::mem::replace(&mut self.target, Target::Done)
        else {
            unreachable!("BUG: finished twice")
        };
        let layer = self.layer.as_deref();
        let done = self
            .ingest
            .take(Complete { path: &path, file: Some(file), digest, size, layer, is_taken_over, chunks }, self.other);
        if done.is_err() {
            // The earlier error is the one to report.
            let _ = self.ingest.store().disk.remove_file(&path);
        }
        done
    }

    /// Makes an error of this crate about the file that is being written.
    fn refuse(&self, action: &'static str, problem: String) -> FsError {
        let path = match &self.target {
            Target::New { path, .. } | Target::Twin { path, .. } => path.as_path(),
            Target::Done => Path::new(""),
        };
        FsError::at(action, path)(io::Error::new(io::ErrorKind::InvalidInput, problem))
    }

    /// Has `with` write to the new file, if there is one, and the disk start when there is enough.
    fn gather(
        &mut self,
        with: impl FnOnce(&mut Windows, &mut Write<'_>) -> Result<(), FsError>,
    ) -> Result<(), FsError> {
        let Target::New { file, path } = &self.target else { return Ok(()) };
        let (disk, written_back) = (&self.ingest.store().disk, &mut self.written_back);
        with(&mut self.windows, &mut |offset, bytes| {
            disk.write_at(file, path, offset, bytes)?;
            written_back.note(file, offset, bytes.len() as u64);
            Ok(())
        })
    }

    /// Whether the twin has the same bytes at `offset`, so that nothing needs to be written.
    fn equals_twin(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let Target::Twin { file, buffer, .. } = &mut self.target else { return true };
        let read = fs::resize(buffer, bytes.len()).and_then(|()| read_exact_at(file, buffer, offset));
        read.is_ok() && buffer == bytes
    }

    /// Replaces the twin by a new file that starts as a copy of the equal bytes.
    fn part_from_twin(&mut self) -> Result<(), FsError> {
        let Target::Twin { file: twin, path: twin_path, digest, .. } = &self.target else {
            unreachable!("BUG: only a writer beside a twin parts from it")
        };
        let mut own = Self::new(self.ingest)?;
        // Gaps are copied too, and written over when their bytes arrive.
        let mut buffer = Vec::new();
        fs::resize(&mut buffer, COPY).map_err(FsError::at("read", twin_path))?;
        while own.end < self.end {
            let want = usize::try_from(self.end - own.end).unwrap_or(usize::MAX).min(COPY);
            read_exact_at(twin, &mut buffer[..want], own.end).map_err(FsError::at("read", twin_path))?;
            own.write_at(own.end, &buffer[..want])?;
        }
        own.gather(Windows::flush)?;
        self.other = *digest;
        if digest.is_none() {
            // No other writer can use the file of a killed import any more.
            self.ingest.store().disk.remove_file(twin_path)?;
        }
        self.written_back = std::mem::take(&mut own.written_back);
        self.windows = std::mem::take(&mut own.windows);
        self.target = std::mem::replace(&mut own.target, Target::Done);
        Ok(())
    }

    /// Hashes the bytes that were written out of order.
    fn hash_rest(&mut self) -> Result<(), FsError> {
        let (Target::New { file, path } | Target::Twin { file, path, .. }) = &self.target else {
            unreachable!("BUG: finished twice")
        };
        let mut buffer = Vec::new();
        fs::resize(&mut buffer, COPY).map_err(FsError::at("read back", path))?;
        while self.hashed < self.end {
            let want = usize::try_from(self.end - self.hashed).unwrap_or(usize::MAX).min(COPY);
            read_exact_at(file, &mut buffer[..want], self.hashed).map_err(FsError::at("read back", path))?;
            self.hasher.update(&buffer[..want]);
            self.hashed += want as u64;
        }
        Ok(())
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        if let Target::New { path, .. } = &self.target {
            let _ = self.ingest.store().disk.remove_file(path);
        }
    }
}

#[cfg(unix)]
pub(super) fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(not(unix))]
pub(super) fn read_exact_at(mut file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}
