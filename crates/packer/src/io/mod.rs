//! Reading and writing bytes, and the threads that do it.

pub(crate) mod data;
pub(crate) mod hash;
pub(crate) mod memory;
pub(crate) mod positioned;
pub(crate) mod small;
pub(crate) mod threads;

use std::{ffi::OsStr, fmt::Write as _, fs, io, path::Path};

/// Whether `name` ends with `suffix`. Calls `str::ends_with`, which clippy takes for a check of a file's extension.
pub(crate) fn has_suffix(name: &str, suffix: &str) -> bool {
    name.ends_with(suffix)
}

/// Opens a directory to list it. If that is interrupted, it is tried again; the standard library does so for files only.
pub(crate) fn read_dir(path: &Path) -> io::Result<fs::ReadDir> {
    loop {
        match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A name as text, in which bytes that are no UTF-8 are their numbers, such as `\xff`.
pub(crate) fn shown(name: &OsStr) -> String {
    name.as_encoded_bytes().utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
        text
    })
}

/// Whether links lead in a circle. The standard library has no stable name for that error.
pub(crate) fn is_circle(error: &io::Error) -> bool {
    cfg!(unix) && error.raw_os_error() == Some(if cfg!(target_os = "linux") { 40 } else { 62 })
}
