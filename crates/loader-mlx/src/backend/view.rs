//! Parts of tensors as views of a window, which share its memory.

#![expect(unsafe_code, reason = "mlx-rs has no view of another type, and slices by literals")]

use std::ffi::c_int;

use mlx_rs::Array;
use mlx_sys::mlx_dtype;

use super::ffi::{made, op};
use crate::{MlxError, dtype::Element, map::MappedFile, plan::Window, source::IndexedPart};

pub(super) fn dtype(element: Element) -> mlx_dtype {
    match element {
        Element::Bool => mlx_sys::mlx_dtype__MLX_BOOL,
        Element::U8 => mlx_sys::mlx_dtype__MLX_UINT8,
        Element::I8 => mlx_sys::mlx_dtype__MLX_INT8,
        Element::U16 => mlx_sys::mlx_dtype__MLX_UINT16,
        Element::I16 => mlx_sys::mlx_dtype__MLX_INT16,
        Element::U32 => mlx_sys::mlx_dtype__MLX_UINT32,
        Element::I32 => mlx_sys::mlx_dtype__MLX_INT32,
        Element::U64 => mlx_sys::mlx_dtype__MLX_UINT64,
        Element::I64 => mlx_sys::mlx_dtype__MLX_INT64,
        Element::F16 => mlx_sys::mlx_dtype__MLX_FLOAT16,
        Element::BF16 => mlx_sys::mlx_dtype__MLX_BFLOAT16,
        Element::F32 => mlx_sys::mlx_dtype__MLX_FLOAT32,
        Element::C64 => mlx_sys::mlx_dtype__MLX_COMPLEX64,
    }
}

/// A part that lies in a window: its elements, then its rows in those elements, then the same rows in its own type.
pub(super) fn view(base: &Array, window: &Window, part: &IndexedPart) -> Result<Array, MlxError> {
    let count = |bytes: usize| c_int::try_from(bytes / window.unit).expect("the window has few enough elements");
    let start = count(part.offset - window.offset);
    let elements = slice(base, &[start], &[start + count(part.len)])?;
    let mut dims = part.dims.clone();
    let width = part.element.size();
    match dims.last_mut() {
        // A row is no longer than the part.
        Some(last) => *last = count(last.unsigned_abs() as usize * width),
        None => dims.push(count(width)),
    }
    let rows = reshape(&elements, &dims)?;
    // SAFETY: the handle is that of a live array.
    let typed = op("view bytes as another type", |result, stream| unsafe {
        mlx_sys::mlx_view(result, rows.as_ptr(), dtype(part.element), stream)
    })?;
    if part.dims.is_empty() { reshape(&typed, &[]) } else { Ok(typed) }
}

/// A part that is copied out of its file, where it need not be aligned for its type, or lies in several pieces.
pub(super) fn copied(file: &MappedFile, part: &IndexedPart) -> Result<Array, MlxError> {
    let extent = c_int::try_from(part.len).expect("the plan has no longer part that is by itself");
    let gathered = gather(file, part);
    let data = if part.pieces.is_empty() {
        // SAFETY: the header says that the part lies in the file.
        unsafe { file.start().add(part.offset) }.cast_const()
    } else {
        gathered.as_ptr()
    };
    let bytes = made("copy an array", || {
        // SAFETY: `data` is the first of as many bytes as the extent says; MLX copies them before it returns.
        unsafe { mlx_sys::mlx_array_new_data(data.cast(), &raw const extent, 1, mlx_sys::mlx_dtype__MLX_UINT8) }
    })?;
    let window = Window { file: part.file, offset: part.offset, len: part.len, unit: 1, parts: Vec::new() };
    view(&bytes, &window, part)
}

/// The bytes of a part that lies in several pieces, one after another.
fn gather(file: &MappedFile, part: &IndexedPart) -> Vec<u8> {
    if part.pieces.is_empty() {
        return Vec::new();
    }
    let index = |at: u64| usize::try_from(at).expect("the pieces lie in a file that is mapped");
    let mut bytes = vec![0; part.len];
    let mut rest = &mut bytes[..];
    for piece in &part.pieces {
        for run in 0..piece.count {
            let (mine, left) = rest.split_at_mut(index(piece.run));
            file.copy(index(piece.offset + run * piece.stride), mine);
            rest = left;
        }
    }
    bytes
}

/// An array of no elements.
pub(super) fn empty(part: &IndexedPart) -> Result<Array, MlxError> {
    op("make an empty array", |result, stream| {
        // SAFETY: the extents are those of a live vector.
        unsafe { mlx_sys::mlx_zeros(result, part.dims.as_ptr(), part.dims.len(), dtype(part.element), stream) }
    })
}

/// The elements from `start` to before `stop` along each axis.
pub(super) fn slice(array: &Array, start: &[c_int], stop: &[c_int]) -> Result<Array, MlxError> {
    let strides = vec![1; start.len()];
    op("slice an array", |result, stream| {
        let (from, to, by) = (start.as_ptr(), stop.as_ptr(), strides.as_ptr());
        // SAFETY: the handle is that of a live array, and the pointers are those of live slices of the lengths given.
        unsafe {
            mlx_sys::mlx_slice(result, array.as_ptr(), from, start.len(), to, stop.len(), by, strides.len(), stream)
        }
    })
}

pub(super) fn reshape(array: &Array, dims: &[c_int]) -> Result<Array, MlxError> {
    op("reshape an array", |result, stream| {
        // SAFETY: the handle is that of a live array, and the extents are those of a live slice.
        unsafe { mlx_sys::mlx_reshape(result, array.as_ptr(), dims.as_ptr(), dims.len(), stream) }
    })
}

/// The elements as another type.
pub(super) fn cast(array: &Array, to: mlx_dtype) -> Result<Array, MlxError> {
    op("cast an array", |result, stream| {
        // SAFETY: the handle is that of a live array.
        unsafe { mlx_sys::mlx_astype(result, array.as_ptr(), to, stream) }
    })
}

/// The product of each element.
pub(super) fn multiply(a: &Array, b: &Array) -> Result<Array, MlxError> {
    op("multiply arrays", |result, stream| {
        // SAFETY: the handles are those of live arrays.
        unsafe { mlx_sys::mlx_multiply(result, a.as_ptr(), b.as_ptr(), stream) }
    })
}
