//! MLX's own loader, and the bytes of arrays.

#![expect(unsafe_code, reason = "the bytes of an array of any type are its memory")]

use std::{collections::HashMap, path::Path};

use longshore_loader_mlx::{LoadOptions, Memory, MlxWeights};
use mlx_rs::Array;

use crate::support::{Dir, chain};

/// Arrays that MLX loads of a blob, whose file name it would refuse.
pub(crate) fn load(blob: &Path) -> HashMap<String, Array> {
    let dir = Dir::new();
    let link = dir.join("blob.safetensors");
    std::fs::hard_link(blob, &link).or_else(|_| std::fs::copy(blob, &link).map(|_| ())).unwrap();
    let arrays = Array::load_safetensors(&link).unwrap();
    mlx_rs::transforms::eval(arrays.values()).unwrap();
    arrays
}

pub(crate) fn loaded(weights: MlxWeights) -> MlxWeights {
    loaded_into(weights, Memory::Automatic)
}

/// Loads as a Mac does, or as Linux does.
pub(crate) fn loaded_into(mut weights: MlxWeights, memory: Memory) -> MlxWeights {
    let options = LoadOptions { memory, ..Default::default() };
    weights.load(&options).unwrap_or_else(|error| panic!("{}", chain(&error)));
    weights
}

/// The memory of an array, which is evaluated, row after row and without holes.
pub(crate) fn bytes(array: &Array) -> Vec<u8> {
    if array.nbytes() == 0 {
        return Vec::new();
    }
    let array = contiguous(array);
    // SAFETY: the array has been evaluated, and lies in one piece of `nbytes` bytes that live as long as it.
    unsafe { std::slice::from_raw_parts(address(&array), array.nbytes()) }.to_vec()
}

/// Where the memory of an array starts, after evaluating it.
pub(crate) fn address(array: &Array) -> *const u8 {
    array.eval().unwrap();
    // SAFETY: the handle is that of a live array, which has been evaluated.
    unsafe { mlx_sys::mlx_array_data_uint8(array.as_ptr()) }
}

fn contiguous(array: &Array) -> Array {
    let array = array.contiguous().unwrap();
    array.eval().unwrap();
    array
}

/// Whether two arrays have the same type, shape and bits.
pub(crate) fn assert_same(found: &Array, expected: &Array, what: &str) {
    assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()), "{what}");
    assert!(bytes(found) == bytes(expected), "{what}: other bits");
}
