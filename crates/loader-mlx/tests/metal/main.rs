//! Checks for a Mac: arrays are the mapped file, pages come in when they are needed, and memory is not taken twice.
//! Skips elsewhere. To run it there:
//!
//! ```text
//! cargo test -p longshore-loader-mlx --test metal -- --nocapture
//! ```

#![cfg(target_os = "macos")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unsafe_code, reason = "where an array lies is asked of the C interface")]

use std::{collections::BTreeMap, process::Command};

use longshore_loader_mlx::{LoadOptions, MlxWeights};
use longshore_st_format::{Dtype, Shape, fixtures};
use mlx_rs::{Array, memory};

/// Bytes of the file's one large tensor.
const BYTES: u64 = 1 << 30;

#[test]
fn arrays_are_the_mapped_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let list = [
        ("large".to_owned(), Dtype::BF16, Shape::new([BYTES / 2 / 1024, 1024])),
        ("small".to_owned(), Dtype::BF16, Shape::new([1024])),
    ];
    fixtures::write_file(&path, &BTreeMap::new(), &list).unwrap();
    let file = std::fs::read(&path).unwrap();

    let (active, footprint) = (memory::active_memory().unwrap(), footprint());
    let mut weights = MlxWeights::open_files([&path]).unwrap();
    let outcome = weights.load(&LoadOptions::default()).unwrap();

    // No copy: MLX kept the pointer of every window, and took no memory of its own.
    assert_eq!(outcome.copied_bytes, 0);
    assert!(outcome.mapped_bytes >= BYTES);
    assert!((memory::active_memory().unwrap() - active) as u64 <= outcome.mapped_bytes + (1 << 20));
    let [large, small] = ["large", "small"].map(|name| weights.get(name).unwrap().weight().clone());
    let distance = address(&small) - address(&large);
    assert_eq!(distance as u64, BYTES);

    // Used on the GPU, the pages are those of the file and stay that: the process's own memory does not grow by the file. The operation
    // reads all of it and makes one element, and MLX must not be seen to keep what it has freed.
    large.max(None).unwrap().eval().unwrap();
    memory::clear_cache().unwrap();
    let grown = self::footprint().saturating_sub(footprint);
    println!("footprint grew by {grown} bytes while {BYTES} were read");
    assert!(grown < BYTES / 2, "the private mapping was copied: {grown} bytes");

    // An operation that gets an array for itself may write into it: into pages of its own.
    drop((weights, small));
    // A result of the same type, since it must fit in the array's place.
    let one = Array::from_f32(1.0).as_dtype(mlx_rs::Dtype::Bfloat16).unwrap();
    let raised = large.add(one).unwrap();
    drop(large);
    raised.eval().unwrap();
    assert!(std::fs::read(&path).unwrap() == file);
}

fn address(array: &Array) -> usize {
    array.eval().unwrap();
    // SAFETY: the handle is that of a live array, which has been evaluated.
    unsafe { mlx_sys::mlx_array_data_uint8(array.as_ptr()) }.addr()
}

/// Memory charged to the process in bytes: clean pages of files are not part of it.
fn footprint() -> u64 {
    let output = Command::new("footprint").arg(std::process::id().to_string()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure = text.split("Footprint:").nth(1).unwrap_or_else(|| panic!("{text}")).trim();
    let mut words = figure.split_whitespace();
    let (number, unit) = (words.next().unwrap(), words.next().unwrap());
    let unit = match unit {
        "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        _ => 1.0,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a figure of a few digits")]
    let bytes = (number.parse::<f64>().unwrap() * unit) as u64;
    bytes
}
