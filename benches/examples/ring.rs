//! How fast a stored model is read into staging buffers, beside a copy of memory by as many threads.
//!
//! ```text
//! cargo run --release -p longshore-benches --example ring -- DIR [--mib 2048] [--threads N] [--rounds 9] [--tensors 600] [--cold]
//! ```
//!
//! It stores a model of so many BF16 tensors, one to a blob, in DIR, which has to be on a real disk, and takes the store away again. Then in turns: the
//! reading half of a load to a device, and `memcpy` from memory that is resident into buffers of the same size. With `--cold` the
//! blobs are dropped from the page cache before each turn and read past it, beside as many threads that do nothing but read the same files
//! with `O_DIRECT`. It prints the best of each and their ratio.
#![expect(clippy::print_stdout, reason = "it is a program")]
#![expect(clippy::cast_precision_loss, reason = "rates are not exact")]

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use clap::Parser;
use longshore_loader_cuda::{LoadOptions, LoaderOptions, read_alone};
use longshore_manifest::{
    Config, Descriptor, Manifest, ModelName, Store,
    document::{BlobEntry, Facts, Import, Part, Role, TensorEntry, TensorTable, Transform, media_type},
    weights::plan::Selection,
};
use longshore_st_format::{Dtype, Layout, Shape};

#[derive(Parser)]
struct Args {
    /// Where the store is made
    dir: PathBuf,
    /// The size of the model
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// Threads; as a load has them, if not given
    #[arg(long)]
    threads: Option<usize>,
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// The number of tensors
    #[arg(long, default_value_t = 600)]
    tensors: u64,
    /// From the disk rather than from the page cache
    #[arg(long)]
    cold: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let root = args.dir.join("longshore-ring");
    anyhow::ensure!(!root.exists(), "{} is there already", root.display());
    let measured = measure(&args, &root);
    std::fs::remove_dir_all(&root)?;
    measured
}

fn measure(args: &Args, root: &Path) -> anyhow::Result<()> {
    let store = Store::open(root)?;
    let table = make(&store, args)?;
    let paths: Vec<_> = table.blobs.iter().map(|blob| store.blob_path(&blob.digest)).collect();
    let bytes: u64 = table.tensors().map(|(_, tensor)| tensor.byte_len()).sum();
    let mut made = LoaderOptions::default();
    made.threads = args.threads.unwrap_or(made.threads);
    let (threads, slot) = (made.threads, made.slot_bytes);
    println!("{} tensors, {} MB, {threads} threads, buffers of {} KiB", args.tensors, bytes / 1_000_000, slot >> 10);

    let memory = if args.cold { Vec::new() } else { vec![1_u8; usize::try_from(bytes)?] };
    let (mut ours, mut limit) = (Duration::MAX, Duration::MAX);
    for _ in 0..args.rounds {
        if args.cold {
            evict(&paths)?;
            limit = limit.min(direct(&paths, threads, slot)?);
            evict(&paths)?;
        } else {
            limit = limit.min(copy(&memory, threads, slot));
        }
        let took = read_alone(&store, &table, &Selection::default(), &made, &LoadOptions::default())?;
        ours = ours.min(took);
    }
    let rate = |time: Duration| bytes as f64 / 1e9 / time.as_secs_f64();
    let what = if args.cold { "the same files, O_DIRECT" } else { "memcpy" };
    println!("read into buffers  {:7.2} GB/s", rate(ours));
    println!("{what:18} {:7.2} GB/s", rate(limit));
    println!("ratio              {:7.2}", rate(ours) / rate(limit));
    Ok(())
}

/// Stores the model; its bytes are random.
fn make(store: &Store, args: &Args) -> anyhow::Result<TensorTable> {
    let rows = (args.mib << 20) / args.tensors / 128;
    let ingest = store.ingest()?;
    let (mut blobs, mut layers) = (Vec::new(), Vec::new());
    let mut state = 1_u64;
    for index in 0..args.tensors {
        let (name, shape) = (format!("layers.{index:05}.weight"), Shape::new([rows, 64]));
        let layout = Layout::new(&BTreeMap::new(), [(name.as_str(), Dtype::BF16, shape.clone())])?;
        let range = layout.get(&name).expect("it was planned above").range;
        let mut bytes = vec![0; usize::try_from(range.end - range.start)?];
        for word in bytes.as_chunks_mut::<8>().0 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *word = (state ^ (state >> 29)).to_le_bytes();
        }
        let mut blob = ingest.blob()?;
        blob.write_at(0, layout.header())?;
        blob.write_at(range.start, &bytes)?;
        let added = blob.finish()?;
        let part = Part {
            role: Role::Weight,
            dtype: Dtype::BF16,
            shape: shape.clone(),
            offset: range.start,
            length: range.end - range.start,
            blob: None,
        };
        layers.push(Descriptor {
            media_type: media_type::TENSOR.into(),
            digest: added.digest,
            size: added.size,
            name: Some(name.clone()),
        });
        let tensor = TensorEntry {
            name,
            dtype: Dtype::BF16,
            shape,
            quantization: None,
            transform: Transform::None,
            sources: Vec::new(),
            parts: vec![part],
            loss: None,
        };
        blobs.push(BlobEntry { digest: added.digest, component: None, tensors: vec![tensor] });
    }
    let table = TensorTable::new(Facts::default(), Import::default(), blobs);
    let config = ingest.add(&Config::new(table.clone()).to_bytes())?;
    let (digest, size) = (config.digest, config.size);
    let config = Descriptor { media_type: media_type::CONFIG.into(), digest, size, name: None };
    ingest.commit(&"bench:ring".parse::<ModelName>()?, &Manifest::new(config, layers))?;
    Ok(table)
}

/// Each thread takes the next piece of `memory` and copies it into the next of its two buffers.
fn copy(memory: &[u8], threads: usize, slot: usize) -> Duration {
    let mut ring = vec![1_u8; threads * 2 * slot];
    let (next, pieces) = (&AtomicUsize::new(0), memory.chunks(slot).collect::<Vec<_>>());
    let pieces = &pieces;
    let started = Instant::now();
    std::thread::scope(|scope| {
        for slots in ring.chunks_mut(2 * slot) {
            scope.spawn(move || {
                let mut turn = 0;
                while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                    slots[turn * slot..][..piece.len()].copy_from_slice(piece);
                    turn = 1 - turn;
                }
            });
        }
    });
    started.elapsed()
}

/// Each thread takes the next file and reads it past the page cache, `slot` bytes at once.
#[cfg(target_os = "linux")]
fn direct(paths: &[PathBuf], threads: usize, slot: usize) -> anyhow::Result<Duration> {
    use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
    let next = AtomicUsize::new(0);
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits())?;
    let work = || -> std::io::Result<()> {
        let mut buffer = vec![0_u8; slot + 4096];
        let at = buffer.as_ptr().align_offset(4096);
        let buffer = &mut buffer[at..at + slot];
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            let file = File::options().read(true).custom_flags(flags).open(path)?;
            let mut offset = 0;
            loop {
                let read = file.read_at(buffer, offset)?;
                if read < slot {
                    break;
                }
                offset += read as u64;
            }
        }
        Ok(())
    };
    let started = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })?;
    Ok(started.elapsed())
}

#[cfg(not(target_os = "linux"))]
fn direct(_: &[PathBuf], _: usize, _: usize) -> anyhow::Result<Duration> {
    anyhow::bail!("--cold needs Linux")
}

/// Drops the files from the page cache.
fn evict(paths: &[PathBuf]) -> anyhow::Result<()> {
    for path in paths {
        let file = File::open(path)?;
        file.sync_all()?;
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}
