//! Checks that both readers return the bytes of the file, for all ranges.

use std::{env, fs::File, io::Write as _, path::Path, rc::Rc};

use super::*;
use crate::read::file::BlobFile;

/// Environment variable that requires the kernel to support `io_uring`.
#[cfg(target_os = "linux")]
const REQUIRED: &str = "LONGSHORE_TEST_IO_URING";

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at * 31 + at / 4096 + seed) % 251).expect("it is a remainder")).collect()
}

fn file(dir: &Path, name: &str, bytes: &[u8]) -> Rc<BlobFile> {
    let path = dir.join(name);
    let mut file = File::create(&path).expect("the directory is a test's own");
    file.write_all(bytes).expect("there is room");
    file.sync_all().expect("it was written");
    Rc::new(BlobFile::open(&path).expect("it is there"))
}

fn readers() -> Vec<Box<dyn Reader>> {
    let mut readers: Vec<Box<dyn Reader>> = vec![Box::new(pread::Pread::default())];
    #[cfg(target_os = "linux")]
    match ring::Ring::new() {
        Some(ring) => readers.push(Box::new(ring)),
        None => assert!(env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and the kernel allows no io_uring"),
    }
    readers
}

/// Reads the ranges, as many at a time as the reader allows, and compares the bytes. Returns false where the file
/// system refuses such reads.
fn check(reader: &mut dyn Reader, files: &[(Rc<BlobFile>, Vec<u8>)], ranges: &[(usize, Range<u64>)]) -> bool {
    let mut buffers = Buffers::default();
    let (mut begun, mut is_there) = (0, true);
    for (at, (index, range)) in ranges.iter().enumerate() {
        while begun < ranges.len() && begun - at < reader.depth() {
            let (file, range) = &ranges[begun];
            reader.begin(ColdRead::new(Rc::clone(&files[*file].0), range, &mut buffers).expect("it fits in memory"));
            begun += 1;
        }
        let Some(found) = reader.finish().expect("it can be read") else {
            is_there = false;
            continue;
        };
        let whole = &files[*index].1;
        let index = |at: u64| usize::try_from(at).expect("it is small").min(whole.len());
        assert!(found.bytes() == &whole[index(range.start)..index(range.end)], "{range:?}");
        assert!(found.ring_bytes <= found.bytes().len());
        buffers.give(found.into_buffer());
    }
    is_there
}

#[test]
fn a_range_is_its_bytes_however_it_is_read() {
    let dir = tempfile::tempdir().expect("there is room");
    // Four files: one that ends at a block, one that does not, a small one, and an empty one.
    let files: Vec<_> = [3 << 20, (3 << 20) + 777, 100, 0]
        .into_iter()
        .enumerate()
        .map(|(at, len)| (bytes(len, at), at))
        .map(|(bytes, at)| (file(dir.path(), &at.to_string(), &bytes), bytes))
        .collect();
    let block = BLOCK as u64;
    let mut ranges = Vec::new();
    for (index, (_, bytes)) in files.iter().enumerate() {
        let end = bytes.len() as u64;
        for range in [
            0..1,
            0..end.max(1),
            1..end.max(2),
            block - 1..block + 1,
            block..2 * block,
            end.saturating_sub(1)..end + 1,
            end / 2 + 3..end + 5000,
            // A range of several chunks that begins and ends within a chunk.
            511 << 10..(1 << 20) + 4097,
            end..end + 1,
            end + 100_000..end + 100_001,
        ] {
            ranges.push((index, range));
        }
    }
    // Consecutive reads of different files.
    let mixed: Vec<_> = (0..10).flat_map(|at| ranges.iter().skip(at).step_by(10).cloned()).collect();
    for mut reader in readers() {
        if !(check(&mut *reader, &files, &ranges) && check(&mut *reader, &files, &mixed)) {
            assert!(env::var_os("LONGSHORE_TEST_DIRECT").is_none(), "the file system has no O_DIRECT");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_ring_reads_what_it_is_given() {
    let dir = tempfile::tempdir().expect("there is room");
    let bytes = bytes((2 << 20) + 10, 0);
    let file = file(dir.path(), "file", &bytes);
    let Some(mut ring) = ring::Ring::new() else {
        assert!(env::var_os(REQUIRED).is_none(), "{REQUIRED} is set, and the kernel allows no io_uring");
        return;
    };
    let mut buffers = Buffers::default();
    ring.begin(ColdRead::new(Rc::clone(&file), &(10..bytes.len() as u64), &mut buffers).expect("it fits"));
    if let Some(found) = ring.finish().expect("it can be read") {
        assert_eq!(found.ring_bytes, bytes.len() - 10, "nothing was left to the other reader");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_in_flight_is_waited_for() {
    let dir = tempfile::tempdir().expect("there is room");
    let file = file(dir.path(), "file", &bytes(4 << 20, 0));
    for _ in 0..20 {
        let Some(mut ring) = ring::Ring::new() else { return };
        let mut buffers = Buffers::default();
        for start in 0..3 {
            let range = start << 20..(start + 1) << 20;
            ring.begin(ColdRead::new(Rc::clone(&file), &range, &mut buffers).expect("it fits"));
        }
        assert!(!ring.is_idle() || file.direct().is_ok_and(|direct| direct.is_none()));
        assert!(ring.settle() && ring.is_idle());
        drop(ring);
        // The test is the only owner left, so nothing was leaked.
        assert_eq!(Rc::strong_count(&file), 1);
    }
}
