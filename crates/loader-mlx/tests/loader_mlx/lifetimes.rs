//! Owners of the memory, the number of copies, and the answer where the memory is missing.

use longshore_loader_mlx::{FileError, GetError, LoadError, LoadOptions, Memory, MlxWeights};
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
    let options = LoadOptions { memory, ..Default::default() };
    let outcome = weights.load(&options).unwrap();
    let is_copied = outcome.copied_bytes > 0;
    assert_eq!(is_copied, outcome.mapped_bytes == 0);
    let size = file.metadata().unwrap().len();
    let window = outcome.copied_bytes + outcome.mapped_bytes;
    assert!(window >= weights.bytes() && window <= size.next_multiple_of(1 << 16), "{window} of {size}");
    let at = |name: &str| address(weights.get(name).unwrap().weight()).addr();
    assert_eq!(at("b") - at("a"), 256 * 64 * 4);
    assert_eq!(at("c") - at("b"), 64 * 4);
    // Whether Metal maps is the other test's to say.
    if cfg!(target_os = "linux") {
        assert_eq!(is_copied, memory == Memory::Copied);
        let found = mapped_file(at("a"));
        assert_eq!(found.as_deref(), (!is_copied).then_some(file));
    }
}

/// The file that memory at an address is a private mapping of.
#[cfg(target_os = "linux")]
fn mapped_file(address: usize) -> Option<std::path::PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let [start, end] = [start, end].map(|hex| usize::from_str_radix(hex, 16).unwrap());
        (start..end).contains(&address)
    })?;
    let mut fields = line.split_whitespace().skip(1);
    let path = fields.clone().nth(4).filter(|path| path.starts_with('/'))?;
    assert_eq!(fields.next().unwrap(), "rw-p");
    Some(path.into())
}
#[cfg(not(target_os = "linux"))]
fn mapped_file(_: usize) -> Option<std::path::PathBuf> {
    None
}

/// Bytes that MLX has not read yet survive deletion of the file, and bytes that it has read survive overwriting.
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

/// An operation that gets an array for itself may write into its memory. The file stays as it is, and so do what else is loaded of it,
/// and what is loaded of it later by the same weights.
#[test]
fn nothing_is_written_to_the_file() {
    let dir = Dir::new();
    let file = dir.fill("a.safetensors", &[("a", Dtype::F32, &[1 << 14])]);
    let before = std::fs::read(&file).unwrap();
    let values = bytes(&load(&file)["a"]);
    let mut weights = loaded(MlxWeights::open_files([&file]).unwrap());
    let array = weights.get("a").unwrap().weight().clone();
    let place = address(&array);
    let expected = array.add(Array::from_f32(1.0)).unwrap();
    expected.eval().unwrap();
    // Loaded again while an array of the first time lives.
    weights.load(&LoadOptions::default()).unwrap();
    // Ours is the only reference from here on, and then the operation's.
    let sum = array.add(Array::from_f32(1.0)).unwrap();
    drop(array);
    assert_eq!(bytes(&sum), bytes(&expected));
    if cfg!(target_os = "linux") {
        assert_eq!(address(&sum), place, "MLX did not write where this test would have it write");
    }
    assert!(std::fs::read(&file).unwrap() == before);
    assert!(bytes(weights.get("a").unwrap().weight()) == values);
    for memory in [Memory::Copied, Memory::Mapped] {
        weights = loaded_into(weights, memory);
        assert!(bytes(weights.get("a").unwrap().weight()) == values, "{memory:?}");
    }
    let again = loaded(MlxWeights::open_files([&file]).unwrap());
    assert!(bytes(again.get("a").unwrap().weight()) == values);
}

/// Memory that arrays have had may have been written, and differ from the file. It is loaded again from the file, or not at all.
#[test]
fn a_file_that_is_not_there_any_more_is_not_loaded_again() {
    let dir = Dir::new();
    let tensors: [(&str, Dtype, &[u64]); 1] = [("a", Dtype::U8, &[1 << 14])];
    let file = dir.fill("a.safetensors", &tensors);
    let options = LoadOptions { memory: Memory::Mapped, ..Default::default() };
    let mut weights = MlxWeights::open_files([&file]).unwrap();
    let is_mapped = weights.load(&options).unwrap().mapped_bytes > 0;
    let array = weights.get("a").unwrap().weight().clone();
    let before = bytes(&array);
    std::fs::remove_file(&file).unwrap();
    let gone = weights.load(&options);
    dir.fill("a.safetensors", &tensors);
    let other = weights.load(&options);
    if is_mapped {
        assert!(matches!(gone, Err(LoadError::File(FileError::Open { .. }))), "{gone:?}");
        assert!(matches!(other, Err(LoadError::File(FileError::Changed { .. }))), "{other:?}");
        assert!(!weights.is_loaded());
    }
    assert!(bytes(&array) == before);
}

/// Nobody may do that, but an error is a better answer than a dead process where there is time for one.
#[test]
fn a_file_that_was_cut_off_after_it_was_opened() {
    let dir = Dir::new();
    let file = dir.fill("a.safetensors", &[("a", Dtype::F32, &[1 << 14])]);
    let mut weights = MlxWeights::open_files([&file]).unwrap();
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(1 << 12).unwrap();
    for dtype in [None, Some(longshore_quant::FloatType::F16)] {
        let options = LoadOptions { memory: Memory::Copied, dtype, ..Default::default() };
        let error = weights.load(&options).unwrap_err();
        assert!(matches!(&error, LoadError::File(FileError::Changed { path }) if *path == file), "{error}");
        assert!(!weights.is_loaded());
    }
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
        let options = LoadOptions { threads: std::num::NonZero::new(threads), ..Default::default() };
        weights.load(&options).unwrap();
        for name in expected.names() {
            let (found, expected) = (weights.get(name).unwrap(), expected.get(name).unwrap());
            assert!(bytes(found.weight()) == bytes(expected.weight()), "{name}");
        }
    }
}

#[test]
fn a_long_array_is_filled_by_several_threads() {
    let dir = Dir::new();
    let mut values = vec![0_u8; 70 << 20];
    for (at, piece) in values.chunks_mut(1 << 16).enumerate() {
        piece.fill(u8::try_from(at % 251).unwrap());
    }
    let file = dir.write("a.safetensors", &[], &[("a", Dtype::U8, &[70, 1 << 20], &values)]);
    for threads in [1, 3] {
        let mut weights = MlxWeights::open_files([&file]).unwrap();
        let options =
            LoadOptions { memory: Memory::Copied, threads: std::num::NonZero::new(threads), ..Default::default() };
        weights.load(&options).unwrap();
        assert!(bytes(weights.get("a").unwrap().weight()) == values);
    }
}

/// A process may have some thousand files open, and a model may have more blobs.
#[test]
#[cfg(target_os = "linux")]
fn no_file_stays_open() {
    let dir = Dir::new();
    let file = dir.fill("a.safetensors", &[("a", Dtype::F32, &[4])]);
    for memory in [Memory::Mapped, Memory::Copied] {
        let weights = loaded_into(MlxWeights::open_files([&file]).unwrap(), memory);
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        assert!(open.flatten().all(|entry| !std::fs::read_link(entry.path()).is_ok_and(|target| target == file)));
        assert!(weights.is_loaded());
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
