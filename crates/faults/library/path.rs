//! The path that a call concerns.

use std::ffi::c_char;

use crate::machine::{number, system_call};

/// The longest path, in bytes, as the kernel has it.
const LONGEST: usize = 4096;
/// `AT_FDCWD`: the working directory, in the place of an open one.
pub(crate) const HERE: i32 = -100;

/// An absolute path without `.`, doubled slashes and a slash at its end; empty where there is none.
pub(crate) struct FullPath {
    bytes: [u8; LONGEST],
    len: usize,
}

impl FullPath {
    pub(crate) const fn none() -> Self {
        Self { bytes: [0; LONGEST], len: 0 }
    }

    /// That of an open file; none where it has no path, as a pipe.
    pub(crate) fn of_file(file: i32) -> Self {
        let mut link = [0; 32];
        let start = b"/proc/self/fd/";
        link[..start.len()].copy_from_slice(start);
        let Ok(mut left) = u32::try_from(file) else { return Self::none() };
        let mut digits = [0; 10];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        link[start.len()..][..digits.len() - at].copy_from_slice(&digits[at..]);
        Self::behind(&link)
    }

    /// That of a path from an open directory; the directory's own, or that of any open file, where there is no path.
    ///
    /// # Safety
    ///
    /// `path` is null or points to text that ends in a zero byte.
    pub(crate) unsafe fn at(directory: i32, path: *const c_char) -> Self {
        if path.is_null() {
            // Like setting times through an open file.
            return Self::of_file(directory);
        }
        // SAFETY: the caller's word.
        let path = unsafe { std::ffi::CStr::from_ptr(path) }.to_bytes();
        let mut full = match path.first() {
            Some(b'/') => Self::none(),
            _ if directory == HERE => Self::behind(b"/proc/self/cwd\0"),
            _ => Self::of_file(directory),
        };
        for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
            full.push(part);
        }
        full
    }

    /// Where a link of the kernel leads. The link ends in a zero byte.
    fn behind(link: &[u8]) -> Self {
        let mut path = Self::none();
        let arguments = [HERE as usize, link.as_ptr() as usize, path.bytes.as_mut_ptr() as usize, LONGEST, 0, 0];
        // SAFETY: the kernel reads the link, and writes as much as the buffer holds.
        let len = unsafe { system_call(number::READLINKAT, arguments) };
        path.len = if path.bytes[0] == b'/' { usize::try_from(len).unwrap_or(0) } else { 0 };
        path
    }

    fn push(&mut self, part: &[u8]) {
        if let Some(end) = self.bytes.get_mut(self.len..self.len + 1 + part.len()) {
            end[0] = b'/';
            end[1..].copy_from_slice(part);
            self.len += 1 + part.len();
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Whether it is this directory or lies below it.
    pub(crate) fn is_under(&self, directory: &[u8]) -> bool {
        self.bytes().strip_prefix(directory).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
    }
}
