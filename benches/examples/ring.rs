//! Measures reading a stored model into staging buffers, beside a memory copy by the same number of threads.
//!
//! ```text
//! cargo run --release -p longshore-benches --example ring -- DIR [--mib 2048] [--threads N] [--rounds 9] [--tensors 600] [--cold]
//! cargo run --release -p longshore-benches --example ring -- DIR --disk
//! ```
//!
//! The program stores a model of BF16 tensors, one per blob, in DIR, which must be on a real disk, and removes the
//! store at the end. It measures in turn a load to a device without memory, whose copies cost nothing, so that the
//! reading half of the load is left, and `memcpy` from resident memory into buffers of the same size. The device is
//! that of the driver for tests, which exists on Linux. With `--cold`, the blobs are dropped from the page cache before
//! each turn and read past it, by `io_uring` and by `pread`. The limit is then the same number of threads that only
//! read the same files with `O_DIRECT`. The program prints the best and the median of each, and their ratios to the
//! limit.
//!
//! With `--disk` the program stores nothing: it drops the files in DIR from the page cache, reads them with `O_DIRECT`,
//! and prints the rate.
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
use longshore_fake_cuda_driver::{Behaviour, Control, write_whole};
use longshore_loader_cuda::{ColdReads, Device, Driver, LoadOptions, Loader, LoaderOptions};
use longshore_manifest::{
    Config, Descriptor, Manifest, ModelName, Store,
    document::{BlobEntry, Facts, Import, TensorEntry, TensorTable},
    weights::{Source, plan::Selection},
};
use longshore_st_format::{Dtype, Layout, Shape};

#[derive(Parser)]
struct Args {
    /// Directory in which the store is created
    dir: PathBuf,
    /// Size of the model in MiB
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// Number of threads; default: as in a load
    #[arg(long)]
    threads: Option<usize>,
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Number of tensors
    #[arg(long, default_value_t = 600)]
    tensors: u64,
    /// Read from the disk, not from the page cache
    #[arg(long)]
    cold: bool,
    /// Only read the files in the directory
    #[arg(long, conflicts_with = "cold")]
    disk: bool,
}

/// One method to read or copy, with its times, one per round.
struct Way {
    name: &'static str,
    times: Vec<Duration>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if args.disk {
        return disk(&args);
    }
    let root = args.dir.join("longshore-ring");
    anyhow::ensure!(!root.exists(), "{} is there already", root.display());
    std::fs::create_dir(&root)?;
    let measured = measure(&args, &root);
    std::fs::remove_dir_all(&root)?;
    measured
}

fn measure(args: &Args, root: &Path) -> anyhow::Result<()> {
    let library = write_whole(root)?;
    let driver = Driver::open(&library)?;
    Control::of(&library).behave(&Behaviour { capacity: usize::MAX >> 1, hollow: true, ..Default::default() });
    let store = Store::open(root.join("store"))?;
    let table = make(&store, args)?;
    let paths: Vec<_> = table.blobs.iter().map(|blob| store.blob_path(&blob.digest)).collect();
    let bytes: u64 = table.tensors().map(|(_, tensor)| tensor.byte_len()).sum();
    let made = made(args);
    let (threads, slot) = (made.threads, made.slot_bytes);
    println!("{} tensors, {} MB, {threads} threads, buffers of {} KiB", args.tensors, bytes / 1_000_000, slot >> 10);

    let memory = if args.cold { Vec::new() } else { vec![1_u8; usize::try_from(bytes)?] };
    let mut limit = Way::new(if args.cold { "the same files, O_DIRECT" } else { "memcpy" });
    let ways: &[(&str, ColdReads)] = if args.cold {
        &[("pread into buffers", ColdReads::Direct), ("io_uring into buffers", ColdReads::DirectRing)]
    } else {
        &[("read into buffers", ColdReads::Direct)]
    };
    let loader = Loader::new(&Device::of(&driver, 0)?, &made)?;
    let source = Source::of_model(&store, &store.model(&"bench:ring".parse()?)?)?;
    let mut ways: Vec<_> = ways.iter().map(|(name, cold)| (Way::new(name), *cold, 0, 0)).collect();
    for _ in 0..args.rounds {
        if args.cold {
            evict(&paths)?;
            limit.times.push(direct(&paths, threads, slot)?);
        } else {
            limit.times.push(copy(&memory, threads, slot));
        }
        for (way, cold, past, ring) in &mut ways {
            if args.cold {
                evict(&paths)?;
            }
            let options = LoadOptions { cold: *cold, reuse: false, ..Default::default() };
            let weights = loader.load_source(&source, &Selection::default(), &options)?;
            let report = weights.report();
            way.times.push(report.time);
            (*past, *ring) = (report.direct_bytes, report.ring_bytes);
        }
    }
    limit.print(bytes, &limit, "");
    for (way, _, past, ring) in &ways {
        let share = |part: u64| part as f64 / bytes as f64;
        let note = format!("  {:.2} past the page cache, {:.2} by io_uring", share(*past), share(*ring));
        way.print(bytes, &limit, if args.cold { &note } else { "" });
    }
    Ok(())
}

fn made(args: &Args) -> LoaderOptions {
    let made = LoaderOptions::default();
    LoaderOptions { threads: args.threads.unwrap_or(made.threads), ..made }
}

/// Measures the rate of the disk that holds the files in the directory.
fn disk(args: &Args) -> anyhow::Result<()> {
    let mut paths = Vec::new();
    let mut bytes = 0;
    for entry in std::fs::read_dir(&args.dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_file() {
            paths.push(entry.path());
            bytes += found.len();
        }
    }
    evict(&paths)?;
    let made = made(args);
    let mut way = Way::new("the files, O_DIRECT");
    way.times.push(direct(&paths, made.threads, made.slot_bytes)?);
    way.print(bytes, &way, "");
    Ok(())
}

impl Way {
    fn new(name: &'static str) -> Self {
        Self { name, times: Vec::new() }
    }

    fn print(&self, bytes: u64, limit: &Self, note: &str) {
        let rates = |way: &Self| {
            let mut times = way.times.clone();
            times.sort_unstable();
            [times[0], times[times.len() / 2]].map(|time| bytes as f64 / 1e9 / time.as_secs_f64())
        };
        let ([best, median], [limit_best, limit_median]) = (rates(self), rates(limit));
        println!(
            "{:24} best {best:6.2} GB/s ({:.2} of the limit), median {median:6.2} ({:.2}){note}",
            self.name,
            best / limit_best,
            median / limit_median
        );
    }
}

/// Stores a model of random bytes.
fn make(store: &Store, args: &Args) -> anyhow::Result<TensorTable> {
    let rows = (args.mib << 20) / args.tensors / 128;
    let ingest = store.ingest()?;
    let (mut blobs, mut layers) = (Vec::new(), Vec::new());
    let mut state = 1_u64;
    for index in 0..args.tensors {
        let name = format!("layers.{index:05}.weight");
        let layout = Layout::new(&BTreeMap::new(), [(name.as_str(), Dtype::BF16, Shape::new([rows, 64]))])?;
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
        blobs.push(BlobEntry::new(added.digest, layout.parts().map(TensorEntry::plain).collect()));
        layers.push(Descriptor::tensor(name, added));
    }
    let table = TensorTable::new(Facts::default(), Import::default(), blobs);
    let config = ingest.add(&Config::new(table.clone()).to_bytes())?;
    ingest.commit(&"bench:ring".parse::<ModelName>()?, &Manifest::new(Descriptor::config(config), layers))?;
    Ok(table)
}

/// Copies `memory`: each thread takes the next piece and copies it into the next of its two buffers.
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

/// Reads the files past the page cache: each thread takes the next file and reads it, `slot` bytes at a time.
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
        threads.into_iter().try_for_each(|thread| thread.join().expect("a reading thread does not panic"))
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
