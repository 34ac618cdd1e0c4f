//! Who holds the memory, how often it is copied, and what is answered when it is not there.

use longshore_loader_mlx::{GetError, LoadOptions, Memory, MlxWeights};
use longshore_st_format::Dtype;
use mlx_rs::Array;

use crate::{
    peer::{address, bytes, load, loaded, loaded_into},
    support::{Dir, Stored},
};

#[test]
fn arrays_outlive_the_weights() {
    let stored = Stored::new();
    let weights = loaded(stored.open(&stored.import("qwen3-moe", "int4")));
    let kept: Vec<_> = weights.names().map(|name| weights.get(name).unwrap().clone()).collect();
    let before: Vec<_> = kept.iter().map(|tensor| bytes(tensor.weight())).collect();
    drop(weights);
    drop(stored);
    assert!(kept.iter().zip(&before).all(|(tensor, before)| bytes(tensor.weight()) == *before));
    // One at a time, in another order than they were made.
    let last = kept.into_iter().next_back().unwrap();
    assert_eq!(bytes(last.weight()), *before.last().unwrap());
}

#[test]
fn what_is_not_loaded_is_an_error_that_says_so() {
    let stored = Stored::new();
    let mut weights = stored.open(&stored.import("llama", "int4"));
    let name = weights.names().next().unwrap().to_owned();
    let not_loaded = GetError::NotLoaded { name: name.clone() };
    assert_eq!(weights.get(&name).unwrap_err(), not_loaded);
    weights.load(&LoadOptions::default()).unwrap();
    let array = weights.get(&name).unwrap().weight().clone();
    let before = bytes(&array);
    assert_eq!(weights.get("nobody").unwrap_err(), GetError::Missing { name: "nobody".into() });
    weights.release();
    assert!(!weights.is_loaded());
    assert_eq!(weights.get(&name).unwrap_err(), not_loaded);
    assert_eq!(weights.get("nobody").unwrap_err(), GetError::Missing { name: "nobody".into() });
    assert_eq!(bytes(&array), before);
    weights.load(&LoadOptions::default()).unwrap();
    assert_eq!(bytes(weights.get(&name).unwrap().weight()), before);
}

/// Tensors that lie beside each other in a file do so in memory, at the same distance: they are views of one array.
#[test]
fn tensors_of_a_file_share_one_copy_or_none() {
    let dir = Dir::new();
    let file =
        dir.fill("a.safetensors", &[("a", Dtype::F32, &[256, 64]), ("b", Dtype::F32, &[64]), ("c", Dtype::U8, &[5])]);
    for memory in [Memory::Mapped, Memory::Copied] {
        shares_memory(&file, memory);
    }
}

fn shares_memory(file: &std::path::Path, memory: Memory) {
    let mut weights = MlxWeights::open_files([file]).unwrap();
    let mut options = LoadOptions::default();
    options.memory = memory;
    let outcome = weights.load(&options).unwrap();
    let is_copied = outcome.copied_bytes > 0;
    assert_eq!(is_copied, outcome.mapped_bytes == 0);
    let size = file.metadata().unwrap().len();
    let window = outcome.copied_bytes + outcome.mapped_bytes;
    assert!(window >= weights.bytes() && window <= size.next_multiple_of(1 << 16), "{window} of {size}");
    let at = |name: &str| address(weights.get(name).unwrap().weight()).addr();
    assert_eq!(at("b") - at("a"), 256 * 64 * 4);
    assert_eq!(at("c") - at("b"), 64 * 4);
    // Whether Metal maps is the other test's to say; the CPU backend is known to copy.
    if cfg!(target_os = "linux") || memory == Memory::Copied {
        assert!(is_copied);
    }
}

/// What MLX has not read yet is still there when the file has been deleted, and what it has read when it is overwritten.
#[test]
fn a_deleted_file_is_loaded_from_its_mapping() {
    let dir = Dir::new();
    let file = dir.fill("a.safetensors", &[("a", Dtype::F32, &[1 << 16]), ("b", Dtype::U8, &[3])]);
    let expected = load(&file);
    for memory in [Memory::Mapped, Memory::Copied] {
        let again = dir.fill("b.safetensors", &[("a", Dtype::F32, &[1 << 16]), ("b", Dtype::U8, &[3])]);
        let weights = MlxWeights::open_files([&again]).unwrap();
        std::fs::remove_file(&again).unwrap();
        dir.fill("b.safetensors", &[("c", Dtype::U8, &[5])]);
        let weights = loaded_into(weights, memory);
        for (name, expected) in &expected {
            crate::peer::assert_same(weights.get(name).unwrap().weight(), expected, name);
        }
    }
}

/// An operation that gets an array for itself may write into its memory. The file stays as it is.
#[test]
fn nothing_is_written_to_the_file() {
    let dir = Dir::new();
    let file = dir.fill("a.safetensors", &[("a", Dtype::F32, &[1 << 14])]);
    let before = std::fs::read(&file).unwrap();
    let weights = loaded(MlxWeights::open_files([&file]).unwrap());
    let array = weights.get("a").unwrap().weight().clone();
    let expected = array.add(Array::from_f32(1.0)).unwrap();
    expected.eval().unwrap();
    drop(weights);
    // Ours is the only reference from here on, and then the operation's.
    let sum = array.add(Array::from_f32(1.0)).unwrap();
    drop(array);
    assert_eq!(bytes(&sum), bytes(&expected));
    assert!(std::fs::read(&file).unwrap() == before);
    let again = loaded(MlxWeights::open_files([&file]).unwrap());
    assert!(bytes(again.get("a").unwrap().weight()) == bytes(&load(&file)["a"]));
}

/// A part may lie anywhere in a file that others have written.
#[test]
fn unaligned_empty_and_scalar_tensors() {
    let dir = Dir::new();
    let bytes_of = |count: usize| (0..count).map(|at| u8::try_from(at % 100).unwrap()).collect::<Vec<_>>();
    // A header of a length that is no multiple of anything, as the writer of the file may choose.
    let header = concat!(
        r#"{"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"#,
        r#""h":{"dtype":"BF16","shape":[3,1],"data_offsets":[4,10]},"#,
        r#""e":{"dtype":"F32","shape":[0,7],"data_offsets":[10,10]},"#,
        r#""w":{"dtype":"I64","shape":[2],"data_offsets":[10,26]},"#,
        r#""u":{"dtype":"U8","shape":[1,2,1],"data_offsets":[26,28]}}"#
    );
    for padding in 0..8 {
        let header = format!("{header}{}", " ".repeat(padding));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend_from_slice(&bytes_of(28));
        let path = dir.join(&format!("{padding}.safetensors"));
        std::fs::write(&path, file).unwrap();
        let weights = loaded(MlxWeights::open_files([&path]).unwrap());
        let expected = load(&path);
        for (name, expected) in &expected {
            crate::peer::assert_same(weights.get(name).unwrap().weight(), expected, &format!("{name} {padding}"));
        }
        assert_eq!(expected.len(), weights.len());
    }
}

#[test]
fn threads_change_nothing() {
    let stored = Stored::new();
    let model = stored.import("mixtral", "mxfp4");
    let expected = loaded(stored.open(&model));
    for threads in [1, 2, 7] {
        let mut weights = stored.open(&model);
        let mut options = LoadOptions::default();
        options.threads = std::num::NonZero::new(threads);
        weights.load(&options).unwrap();
        for name in expected.names() {
            let (found, expected) = (weights.get(name).unwrap(), expected.get(name).unwrap());
            assert!(bytes(found.weight()) == bytes(expected.weight()), "{name}");
        }
    }
}

/// Weights may be loaded on one thread and used on another.
#[test]
fn loaded_arrays_may_move_to_another_thread() {
    let stored = Stored::new();
    let weights = loaded(stored.open(&stored.import("llama", "int4")));
    let name = weights.names().next().unwrap().to_owned();
    let (array, before) = (weights.get(&name).unwrap().weight().clone(), bytes(weights.get(&name).unwrap().weight()));
    let found = std::thread::spawn(move || bytes(&array)).join().unwrap();
    assert!(found == before);
}
