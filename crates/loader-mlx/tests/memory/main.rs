//! Memory that loading takes. The test is alone in its process, since it counts the memory of the whole process.

#![cfg(all(target_os = "linux", longshore_mlx))]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use longshore_loader_mlx::{LoadOptions, Memory, MlxWeights};
use longshore_quant::FloatType;
use longshore_st_format::{Dtype, Layout, Shape};

/// Bytes of each of the two tensors of a file.
const BYTES: u64 = 1_000_000_000;

#[test]
fn loading_takes_the_bytes_that_it_loads_and_little_more() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let rows = BYTES / 4 / 1000;
    let parts = ["a", "b"].map(|name| (name, Dtype::F32, Shape::new([rows, 1000])));
    let layout = Layout::new(&BTreeMap::new(), parts).unwrap();
    // Zeros that take no room on the disk.
    let mut file = File::create(&path).unwrap();
    file.write_all(layout.header()).unwrap();
    file.set_len(layout.data_start() + 2 * BYTES).unwrap();
    drop(file);

    let mut weights = MlxWeights::open_files([&path]).unwrap();
    // Mapped bytes are the file's.
    for (memory, limit) in [(Memory::Copied, 2 * BYTES / 10 * 11), (Memory::Mapped, BYTES / 100)] {
        let options = LoadOptions { memory, ..Default::default() };
        let most = peak_of(|| assert_eq!(weights.load(&options).unwrap().tensors, 2));
        assert!(most < limit, "{memory:?}: {most} bytes for {}", 2 * BYTES);
        weights.release();
    }

    // A cast tensor is half as long. If it is copied, one tensor at a time is there twice, before and after the cast.
    for (memory, limit) in [(Memory::Copied, 2 * BYTES / 10 * 11), (Memory::Mapped, BYTES / 10 * 11)] {
        let options = LoadOptions {
            dtype: Some(FloatType::BF16),
            memory,
            threads: std::num::NonZero::new(1),
            ..Default::default()
        };
        let most = peak_of(|| assert_eq!(weights.load(&options).unwrap().tensors, 2));
        assert!(most < limit, "{memory:?}: {most} bytes for {BYTES} that are cast");
        weights.release();
    }
}

/// By how many bytes the process's private memory grows at most.
fn peak_of(run: impl FnOnce()) -> u64 {
    let before = private_bytes();
    let (is_done, most) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                most.fetch_max(private_bytes(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        run();
        is_done.store(true, Ordering::Relaxed);
    });
    most.into_inner().max(private_bytes()) - before
}

fn private_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}
