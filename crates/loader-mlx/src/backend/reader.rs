//! Arrays that MLX reads, where it cannot take mapped memory.
//!
//! Such an array is to MLX one that it loads from a file in the format of `NumPy`. MLX allocates it and asks the file for the data, on threads of
//! its own and for several arrays at a time. The file is ours.
//!
//! It is read rather than copied out of the mapping: the system then makes the pages of the array and fills them at once, and none of the
//! mapping. Large pages were tried and lost: where memory is in pieces, the system takes seconds to make one.

#![expect(unsafe_code, reason = "MLX calls back to have its memory filled")]

use std::{
    ffi::{c_char, c_int, c_void},
    num::NonZero,
    slice,
    sync::Arc,
    thread,
};

use mlx_rs::{Array, Stream};
use mlx_sys::mlx_io_vtable;
use rustix::param::page_size;

use super::ffi::{MlxError, op};
use crate::{map::MappedFile, plan::Window};

/// A longer array than this is filled by several threads.
const SHARE: usize = 64 << 20;
/// A file as MLX sees it: the header of an array of one axis, and a window of a mapped file.
struct Source {
    file: Arc<MappedFile>,
    offset: usize,
    len: usize,
    header: Vec<u8>,
    /// How much of the header has been read.
    at: usize,
    threads: NonZero<usize>,
}

/// A window as an array that is read when it is evaluated.
pub(super) fn array(file: &Arc<MappedFile>, window: &Window, threads: NonZero<usize>) -> Result<Array, MlxError> {
    let source = Source {
        file: Arc::clone(file),
        offset: window.offset,
        len: window.len,
        header: header(window),
        at: 0,
        threads,
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
    let threads = source.threads.get().min(len.div_ceil(SHARE)).max(1);
    if threads == 1 {
        fill(&source.file, from, data);
    } else {
        let share = len.div_ceil(threads).next_multiple_of(page_size());
        thread::scope(|scope| {
            for (at, data) in data.chunks_mut(share).enumerate() {
                scope.spawn(move || fill(&source.file, from + at * share, data));
            }
        });
    }
    len
}

/// Reads the bytes from `from`, and zeros after the end of the file.
fn fill(file: &MappedFile, from: usize, data: &mut [u8]) {
    let (data, beyond) = data.split_at_mut(data.len().min(file.len().saturating_sub(from)));
    beyond.fill(0);
    if file.read(from, data).is_err() {
        // It has been deleted, for example. The mapping still has it.
        file.read_ahead_pages(from, data.len());
        file.copy(from, data);
        file.forget(from, data.len());
    }
}

unsafe extern "C" fn label(_: *mut c_void) -> *const c_char {
    c"a window of a mapped file".as_ptr()
}

unsafe extern "C" fn free(source: *mut c_void) {
    // SAFETY: it is the box that was made for this reader, and MLX calls this once.
    drop(unsafe { Box::from_raw(source.cast::<Source>()) });
}
