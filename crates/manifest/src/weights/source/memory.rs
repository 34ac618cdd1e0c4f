//! Files in memory.

use std::{
    fs::{File, Metadata},
    io,
    path::{Path, PathBuf},
};

/// A file that no directory lists and that ends with its last user: memory that is mapped and read like any file of a
/// [`Source`](super::Source). On Linux it is anonymous memory. Elsewhere it is a file in the directory of temporary files, which is
/// deleted with it.
#[derive(Debug)]
pub struct MemoryFile {
    file: File,
    path: PathBuf,
}

impl MemoryFile {
    /// Creates an empty file.
    ///
    /// # Errors
    ///
    /// The error of the system.
    #[cfg(target_os = "linux")]
    pub fn create() -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;

        use rustix::fs::{MemfdFlags, memfd_create};

        let file = File::from(memfd_create("longshore", MemfdFlags::CLOEXEC)?);
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(Self { file, path })
    }

    /// Creates an empty file.
    ///
    /// # Errors
    ///
    /// The error of the system.
    #[cfg(not(target_os = "linux"))]
    pub fn create() -> io::Result<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};

        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("longshore-{}-{number}", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { file, path })
    }

    /// Returns the path by which this process opens the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `bytes` at `offset`, in bytes from the start. Many threads may write at once, each elsewhere.
    ///
    /// # Errors
    ///
    /// The error of the system, for example if there is no memory left.
    #[cfg(unix)]
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    /// Writes `bytes` at `offset`, in bytes from the start. Many threads may write at once, each elsewhere.
    ///
    /// # Errors
    ///
    /// The error of the system, for example if there is no room left.
    #[cfg(not(unix))]
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        use std::io::{Seek as _, SeekFrom, Write as _};

        static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }
}

#[cfg(not(target_os = "linux"))]
impl Drop for MemoryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
