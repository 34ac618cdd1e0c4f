//! The C interface: status codes become errors, and handles become arrays that free themselves.
//!
//! mlx-c tells of an error through one handler of the process, on the thread that failed; its own ends the process. mlx-rs sets one
//! that keeps the text for itself. Ours keeps the text too, and passes it on.

#![expect(
    unsafe_code,
    reason = "mlx-rs has no safe functions for arrays over foreign memory, nor for modes other than affine"
)]

use std::{
    cell::RefCell,
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::Once,
};

use mlx_rs::{Array, Stream};
use mlx_sys::{mlx_array, mlx_stream};

use crate::MlxError;

unsafe extern "C" {
    /// The handler of mlx-rs, which keeps the text for the errors that it returns.
    fn default_mlx_error_handler(message: *const c_char, data: *mut c_void);
}

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

extern "C" fn keep(message: *const c_char, data: *mut c_void) {
    // SAFETY: mlx-c gives a text that ends in a zero byte and lives as long as this call.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    // A thread that is about to end may have no such place any more.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(text));
    // SAFETY: the same text, for the handler that it would have gone to.
    unsafe { default_mlx_error_handler(message, data) };
}

/// Makes sure that errors come back rather than end the process, and that none from before is taken for the next one's. Before a call of
/// the C interface.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The first operation of mlx-rs sets its handler, once for all, so that it does not replace ours later.
        let _ = mlx_rs::Device::try_default();
        // SAFETY: the handler is a function that is always there, and needs no data.
        unsafe { mlx_sys::mlx_set_error_handler(Some(keep), ptr::null_mut(), None) };
    });
    LAST.with(|last| last.borrow_mut().take());
}

fn error(operation: &'static str) -> MlxError {
    let message = LAST.with(|last| last.borrow_mut().take());
    MlxError { operation, message: message.unwrap_or_else(|| "it does not say why".into()) }
}

/// An array made at once, without a stream.
pub(super) fn made(operation: &'static str, make: impl FnOnce() -> mlx_array) -> Result<Array, MlxError> {
    prepare();
    let handle = make();
    if handle.ctx.is_null() {
        return Err(error(operation));
    }
    // SAFETY: the handle is new, holds an array, and nobody else has it.
    Ok(unsafe { Array::from_ptr(handle) })
}

/// The array that an operation puts into the handle that it is given, on the stream of this thread.
pub(super) fn op(
    operation: &'static str,
    run: impl FnOnce(*mut mlx_array, mlx_stream) -> c_int,
) -> Result<Array, MlxError> {
    prepare();
    let stream = Stream::thread_local_or_default();
    // SAFETY: makes an empty handle.
    let mut result = unsafe { mlx_sys::mlx_array_new() };
    let status = run(&raw mut result, stream.as_ptr());
    // SAFETY: an operation leaves the handle empty or puts a new array into it; either way it is ours to free.
    let array = unsafe { Array::from_ptr(result) };
    if status == 0 { Ok(array) } else { Err(error(operation)) }
}

/// Evaluates arrays, all at once.
pub(super) fn eval<'a>(arrays: impl IntoIterator<Item = &'a Array>) -> Result<(), MlxError> {
    prepare();
    // SAFETY: makes an empty vector.
    let vector = unsafe { mlx_sys::mlx_vector_array_new() };
    // SAFETY: both handles are live; the vector takes a reference of its own.
    let append = |array: &Array| unsafe { mlx_sys::mlx_vector_array_append_value(vector, array.as_ptr()) };
    let is_whole = arrays.into_iter().all(|array| append(array) == 0);
    // SAFETY: the vector is live.
    let status = if is_whole { unsafe { mlx_sys::mlx_eval(vector) } } else { -1 };
    // SAFETY: it is ours, and not used again.
    unsafe { mlx_sys::mlx_vector_array_free(vector) };
    if status == 0 { Ok(()) } else { Err(error("evaluate the arrays")) }
}

/// Whether operations run on a GPU.
#[cfg(target_os = "macos")]
pub(super) fn has_gpu() -> bool {
    let kind = mlx_rs::Device::try_default().and_then(|device| device.get_type());
    matches!(kind, Ok(mlx_rs::DeviceType::Gpu))
}

/// A handle without an array, which the C interface takes for none.
pub(super) fn handle(array: Option<&Array>) -> mlx_array {
    array.map_or(mlx_array { ctx: ptr::null_mut() }, Array::as_ptr)
}
