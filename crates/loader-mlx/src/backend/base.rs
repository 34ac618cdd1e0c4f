//! Arrays over mapped memory.

#![expect(unsafe_code, reason = "MLX is handed memory that it does not own")]

use std::{
    ffi::{c_int, c_void},
    sync::Arc,
};

use mlx_rs::Array;
use mlx_sys::mlx_dtype;

use super::ffi::{MlxError, made};
use crate::{map::MappedFile, plan::Window};

/// A window of a file as an array of one axis.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) array: Array,
    /// Whether MLX made a copy of the window rather than take its memory.
    pub(super) is_copy: bool,
}

impl Base {
    /// Reads the window ahead and gives it to MLX. The array keeps the mapping for as long as it needs it: to the end of this call
    /// where MLX copies, until the last view of it is gone where MLX does not.
    pub(super) fn new(file: &Arc<MappedFile>, window: &Window) -> Result<Self, MlxError> {
        file.read_ahead(window.offset, window.len);
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
                mlx_sys::mlx_array_new_data_managed_payload(
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
