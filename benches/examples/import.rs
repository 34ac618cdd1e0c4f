//! Compares an import with the limits of the machine: writing the same bytes with one sync, and hashing them on all
//! cores.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use clap::Parser;
use longshore_benches::stats::{line, median, time};
use longshore_manifest::{Digest, ModelName, Silent, Store};
use longshore_packer::{ImportOptions, Plan, PlanOptions, Source};
use longshore_st_format::Limits;
use memmap2::Mmap;

/// Compare an unquantized import with writing and with hashing the same bytes, in turn
#[derive(Parser)]
struct Args {
    /// Checkpoint directory; it is read once first, so that all runs find it in memory
    source: PathBuf,
    /// Empty directory on the disk to measure; its contents are removed
    scratch: PathBuf,
    /// Number of runs
    #[arg(long, default_value = "5")]
    runs: usize,
}

/// Bytes that a thread takes at a time.
const PIECE: usize = 16 << 20;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let source = Source::open(&args.source, &Limits::default())?;
    let plan = Plan::new(source, &PlanOptions::default())?;
    let maps = plan.source().shards.iter().map(|shard| map(&shard.path)).collect::<anyhow::Result<Vec<_>>>()?;
    let pieces: Vec<&[u8]> = maps.iter().flat_map(|map| map.chunks(PIECE)).collect();
    let bytes = plan.source_bytes();
    hash(&pieces);

    let name: ModelName = "bench:latest".parse()?;
    let (mut writing, mut hashing, mut importing, mut again) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.runs {
        let copies = args.scratch.join("copies");
        writing.push(time(|| write(&pieces, &copies))?.0);
        fs::remove_dir_all(&copies)?;
        settle(&args.scratch)?;
        hashing.push(time(|| Ok(hash(&pieces)))?.0);
        let root = args.scratch.join("store");
        let store = Store::open(&root)?;
        let run = || Ok(plan.import(&store, &name, &ImportOptions::default(), &Silent)?);
        let (took, outcome) = time(run)?;
        anyhow::ensure!(outcome.new_bytes >= bytes, "imported {} of {bytes} bytes", outcome.new_bytes);
        importing.push(took);
        again.push(time(run)?.0);
        fs::remove_dir_all(&root)?;
        settle(&args.scratch)?;
    }
    println!("{}", line("write the same bytes, one sync", &writing, bytes));
    println!("{}", line("sha256 of the same bytes, all cores", &hashing, bytes));
    println!("{}", line("import, unquantized", &importing, bytes));
    println!("{}", line("import again, all blobs there", &again, bytes));
    let slower = median(&writing).max(median(&hashing));
    println!("import runs at {:.2} of the slower of the two limits", slower / median(&importing));
    Ok(())
}

/// Writes every piece to a file of its own, and syncs once.
fn write(pieces: &[&[u8]], dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    let failed = in_parallel(pieces, |at, piece| {
        let path = dir.join(at.to_string());
        File::create(path).and_then(|mut file| file.write_all(piece)).err()
    });
    if let Some(error) = failed.into_iter().flatten().next() {
        return Err(error.into());
    }
    settle(dir)
}

fn hash(pieces: &[&[u8]]) -> Vec<Digest> {
    in_parallel(pieces, |_, piece| Digest::of(piece))
}

/// Makes everything durable that was written, so that one measurement does not pay for another.
fn settle(dir: &Path) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(File::open(dir)?)?;
    #[cfg(not(target_os = "linux"))]
    for entry in fs::read_dir(dir)? {
        File::open(entry?.path())?.sync_all()?;
    }
    Ok(())
}

fn in_parallel<T: Send>(pieces: &[&[u8]], work: impl Fn(usize, &[u8]) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let take = || {
            let mut done = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(piece) = pieces.get(at) else { return done };
                done.push(work(at, piece));
            }
        };
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let mut done = take();
        done.extend(others.into_iter().flat_map(|thread| thread.join().expect("BUG: a benchmark thread panicked")));
        done
    })
}

#[expect(unsafe_code, reason = "the limits are measured on mapped bytes, without the cost of reading them")]
fn map(path: &Path) -> anyhow::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: the file is the benchmark's own input, and nobody changes it while the benchmark runs.
    Ok(unsafe { Mmap::map(&file) }?)
}
