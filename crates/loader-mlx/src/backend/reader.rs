//! Arrays that MLX reads, where it cannot take mapped memory or is not to.
//!
//! Such an array is to MLX one that it loads from a file in the format of `NumPy`. MLX allocates it and asks the file for the data, on threads of
//! its own and for several arrays at a time. The file is ours.
//!
//! The cost lies in the pages of the arrays rather than in the bytes. Tried with 2 GB in the page cache and two threads, in seconds of the cores:
//!
//! - Reading into memory that has no pages yet, as MLX's own loader does: 1.1 to 1.6.
//! - Asking for the pages of a piece first, and reading then: 1.0 to 1.2. That is what is done.
//! - The same, and copying the piece out of the mapping: 0.9 to 1.2, no sooner done, and the mapping has pages then that must be given back.
//! - Copying out of the mapping without asking: 1.3 to 2.0.
//! - Large pages: 2.1 to 8.6, as the system has to make them first.

#![expect(unsafe_code, reason = "MLX calls back to have its memory filled")]

use std::{
    ffi::{c_char, c_int, c_void},
    fs::File,
    num::NonZero,
    slice,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use mlx_rs::{Array, Stream};
use mlx_sys::mlx_io_vtable;
#[cfg(target_os = "linux")]
use rustix::{
    mm::{Advice, madvise},
    param::page_size,
};

use super::ffi::op;
use crate::{
    MlxError,
    map::{FileError, MappedFile},
    plan::Window,
};

/// A longer array than this is filled by several threads.
const SHARE: usize = 64 << 20;
/// Bytes that are read at a time.
const PIECE: usize = 4 << 20;

/// Why some array of a load could not be filled. MLX has no way to say so: an error of a reader comes too late for its evaluation, or ends the
/// process. So such an array is filled with zeros, and whoever evaluates asks here before anyone sees it.
#[derive(Debug, Default)]
pub(super) struct Failure(Mutex<Option<FileError>>);

impl Failure {
    fn set(&self, error: FileError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// The first error, if there was one.
    pub(super) fn take(&self) -> Option<FileError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A file as MLX sees it: the header of an array of one axis, and a window of a mapped file.
struct Source {
    file: Arc<MappedFile>,
    offset: usize,
    len: usize,
    header: Vec<u8>,
    /// Number of header bytes read so far.
    at: usize,
    threads: NonZero<usize>,
    failure: Arc<Failure>,
}

/// A window as an array that is read when it is evaluated.
pub(super) fn array(
    file: &Arc<MappedFile>,
    window: &Window,
    threads: NonZero<usize>,
    failure: &Arc<Failure>,
) -> Result<Array, MlxError> {
    let source = Source {
        file: Arc::clone(file),
        offset: window.offset,
        len: window.len,
        header: header(window),
        at: 0,
        threads,
        failure: Arc::clone(failure),
    };
    // Loading is an operation of the CPU alone.
    let stream = Stream::cpu();
    op("make an array that is read", |result, _| {
        let source = Box::into_raw(Box::new(source)).cast::<c_void>();
        // SAFETY: the functions of the table take what the pointer points to, and the last of them frees it.
        let reader = unsafe { mlx_sys::mlx_io_reader_new(source, TABLE) };
        // SAFETY: the reader is live.
        let status = unsafe { mlx_sys::mlx_load_reader(result, reader, stream.as_ptr()) };
        // SAFETY: it is ours, and not used again; the array has a reference of its own.
        unsafe { mlx_sys::mlx_io_reader_free(reader) };
        status
    })
}

/// The header of `NumPy`'s format, version 1.0.
fn header(window: &Window) -> Vec<u8> {
    let element = match window.unit {
        8 => "<u8",
        4 => "<u4",
        2 => "<u2",
        _ => "|u1",
    };
    let count = window.len / window.unit;
    let text = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({count},), }}\n");
    let len = u16::try_from(text.len()).expect("it is a short text");
    [b"\x93NUMPY\x01\x00", &len.to_le_bytes()[..], text.as_bytes()].concat()
}

const TABLE: mlx_io_vtable = mlx_io_vtable {
    is_open: Some(yes),
    good: Some(yes),
    tell: Some(tell),
    seek: Some(seek),
    read: Some(read),
    read_at_offset: Some(read_at),
    write: None,
    label: Some(label),
    free: Some(free),
};

extern "C" fn yes(_: *mut c_void) -> bool {
    true
}

unsafe extern "C" fn tell(source: *mut c_void) -> usize {
    // SAFETY: MLX gives the pointer that it was given, and reads a header on one thread.
    unsafe { &*source.cast::<Source>() }.at
}

unsafe extern "C" fn seek(source: *mut c_void, offset: i64, whence: c_int) -> c_int {
    // SAFETY: MLX gives the pointer that it was given, and reads a header on one thread.
    let source = unsafe { &mut *source.cast::<Source>() };
    let from = match whence {
        0 => 0,
        1 => source.at,
        _ => source.header.len() + source.len,
    };
    let to = i64::try_from(from).ok().and_then(|from| from.checked_add(offset)).and_then(|to| usize::try_from(to).ok());
    to.map_or(-1, |to| {
        source.at = to;
        0
    })
}

/// Reads of the header from where the last read has ended.
unsafe extern "C" fn read(source: *mut c_void, data: *mut c_char, len: usize) -> usize {
    // SAFETY: MLX gives the pointer that it was given, and reads a header on one thread.
    let source = unsafe { &mut *source.cast::<Source>() };
    let left = source.header.get(source.at..).unwrap_or_default();
    let len = len.min(left.len());
    // SAFETY: MLX has room for what it asks for, in memory of its own.
    unsafe { data.cast::<u8>().copy_from_nonoverlapping(left.as_ptr(), len) };
    source.at += len;
    len
}

/// Fills an array, on a thread of MLX.
unsafe extern "C" fn read_at(source: *mut c_void, data: *mut c_char, len: usize, offset: usize) -> usize {
    // SAFETY: MLX gives the pointer that it was given, and has read the header before it reads data.
    let source = unsafe { &*source.cast::<Source>() };
    let Some(start) = offset.checked_sub(source.header.len()).filter(|start| start + len <= source.len) else {
        return 0;
    };
    // SAFETY: MLX has room for what it asks for, in memory that it has just allocated for this. Bytes have no invalid values, and none
    // is read before it is written.
    let data = unsafe { slice::from_raw_parts_mut(data.cast::<u8>(), len) };
    let from = source.offset + start;
    source.fill(from, data);
    len
}

impl Source {
    /// Fills `data` with the bytes from `from`, and with zeros after the end of the file.
    fn fill(&self, from: usize, data: &mut [u8]) {
        let file = match self.file.reopen() {
            Ok(file) => file,
            Err(error) => return self.fail(error, data),
        };
        let threads = self.threads.get().min(data.len().div_ceil(SHARE));
        let pieces = Mutex::new(data.chunks_mut(PIECE).enumerate());
        let work = || {
            loop {
                let next = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((at, piece)) = next else { break };
                self.fill_piece(file.as_ref(), from + at * PIECE, piece);
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                // Without it the others do its work. A panic, on a thread of MLX, would end the process.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
    }

    fn fill_piece(&self, file: Option<&File>, from: usize, data: &mut [u8]) {
        let (data, beyond) = data.split_at_mut(data.len().min(self.file.len().saturating_sub(from)));
        populate(data);
        beyond.fill(0);
        let Some(file) = file else {
            // It has been deleted, for example. The mapping still has it.
            if let Err(error) = self.file.read_ahead_pages(from, data.len()) {
                return self.fail(error, data);
            }
            self.file.copy(from, data);
            return self.file.forget(from, data.len());
        };
        if let Err(error) = self.file.read(file, from, data) {
            self.fail(error, data);
        }
    }

    fn fail(&self, error: FileError, data: &mut [u8]) {
        data.fill(0);
        self.failure.set(error);
    }
}

/// Has the system make the pages of fresh memory, all at once rather than one by one when they are written. A hint.
fn populate(data: &mut [u8]) {
    #[cfg(target_os = "linux")]
    {
        let before = data.as_ptr().addr() % page_size();
        // SAFETY: it changes no byte, and asks for nothing but the pages that `data` lies in.
        let _ = unsafe {
            let start = data.as_mut_ptr().wrapping_sub(before);
            madvise(start.cast(), before + data.len(), Advice::LinuxPopulateWrite)
        };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = data;
}

unsafe extern "C" fn label(_: *mut c_void) -> *const c_char {
    c"a window of a mapped file".as_ptr()
}

unsafe extern "C" fn free(source: *mut c_void) {
    // SAFETY: it is the box that was made for this reader, and MLX calls this once.
    drop(unsafe { Box::from_raw(source.cast::<Source>()) });
}
