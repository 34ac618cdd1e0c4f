//! Arrays over mapped memory.
//!
//! This way to load is the one that copies nothing: mapping 2 GB of page cache took 0.01 s where copying them took 0.6 s
//! (`reader`), and reading every byte of the arrays afterwards took as long as with arrays of MLX's own memory.

#![expect(unsafe_code, reason = "MLX is handed memory that it does not own")]

use std::{
    ffi::{c_int, c_void},
    sync::Arc,
};

use mlx_rs::Array;
#[cfg(not(target_os = "macos"))]
use mlx_sys::mlx_array;
use mlx_sys::mlx_dtype;

#[cfg(target_os = "macos")]
use super::ffi::has_gpu;
use super::ffi::made;
use crate::{MlxError, map::MappedFile, plan::Window};

/// Makes an array of memory that is not MLX's: without a copy on Metal and, by what `linux/support` adds to the C interface, on Linux.
#[cfg(target_os = "macos")]
use mlx_sys::mlx_array_new_data_managed_payload as array_of_foreign_memory;

#[cfg(not(target_os = "macos"))]
unsafe extern "C" {
    fn longshore_takes_foreign_memory() -> bool;
    #[link_name = "longshore_array_of_foreign_memory"]
    fn array_of_foreign_memory(
        data: *mut c_void,
        shape: *const c_int,
        dim: c_int,
        dtype: mlx_dtype,
        payload: *mut c_void,
        release: Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> mlx_array;
}

/// Whether MLX makes arrays of mapped memory without a copy.
pub(super) fn is_taken() -> bool {
    #[cfg(target_os = "macos")]
    return has_gpu();
    #[cfg(not(target_os = "macos"))]
    // SAFETY: it takes nothing, and answers the same each time.
    return unsafe { longshore_takes_foreign_memory() };
}

/// A window of a file as an array of one axis.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) array: Array,
    /// Whether MLX made a copy of the window rather than take its memory.
    pub(super) is_copy: bool,
}

impl Base {
    /// Gives the window, which was read ahead, to MLX. The array keeps the mapping for as long as it needs it: to the end of this call
    /// where MLX copies, until the last view of it is gone where MLX does not.
    pub(super) fn new(file: &Arc<MappedFile>, window: &Window) -> Result<Self, MlxError> {
        let extent =
            c_int::try_from(window.len / window.unit).expect("the plan counts in elements that are few enough");
        // SAFETY: the plan's windows lie in the mapping, whose last page is there to its end.
        let data = unsafe { file.start().add(window.offset) };
        // Where this fails, MLX does not say whether it has dropped the payload: it is kept, and the mapping with it, to be safe.
        let array = made("make an array of mapped memory", || {
            let payload = Box::into_raw(Box::new(Arc::clone(file))).cast::<c_void>();
            // SAFETY: `data` is the first of as many bytes as the shape and type say. They stay where they are until the payload is
            // dropped, and may be written, as they are private to this mapping. They start at a page, aligned for any type.
            unsafe {
                array_of_foreign_memory(
                    data.cast(),
                    &raw const extent,
                    1,
                    unit_dtype(window.unit),
                    payload,
                    Some(release),
                )
            }
        })?;
        // SAFETY: the array exists, and was made of data: it needs no evaluation.
        let found = unsafe { mlx_sys::mlx_array_data_uint8(array.as_ptr()) };
        let is_copy = !std::ptr::eq(found, data);
        if is_copy {
            file.forget(window.offset, window.len);
        } else {
            file.lend();
        }
        Ok(Self { array, is_copy })
    }
}

/// Drops the mapping that an array has held.
unsafe extern "C" fn release(payload: *mut c_void) {
    // SAFETY: it is the box that was made for this array, and MLX calls this once.
    drop(unsafe { Box::from_raw(payload.cast::<Arc<MappedFile>>()) });
}

fn unit_dtype(bytes: usize) -> mlx_dtype {
    match bytes {
        8 => mlx_sys::mlx_dtype__MLX_UINT64,
        4 => mlx_sys::mlx_dtype__MLX_UINT32,
        2 => mlx_sys::mlx_dtype__MLX_UINT16,
        _ => mlx_sys::mlx_dtype__MLX_UINT8,
    }
}
