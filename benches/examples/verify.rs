//! Compares `verify` with the limit of the machine: hashing the same bytes on all cores.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use clap::Parser;
use longshore_benches::stats::{line, time};
use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, ModelName, Silent, Store,
    document::{BlobEntry, Facts, Import, TensorEntry, TensorTable},
    store::{Added, Ingest, VerifyOptions},
    weights::{OpenOptions, Weights},
};
use longshore_st_format::{Dtype, Layout, Shape};
use memmap2::Mmap;

/// Compare `verify` of a store of blobs of mixed sizes with hashing the same bytes in equal pieces, in turn
#[derive(Parser)]
struct Args {
    /// Empty directory; its contents are removed
    scratch: PathBuf,
    /// Size of the store in bytes
    #[arg(long, default_value = "2000000000")]
    bytes: u64,
    /// Number of runs
    #[arg(long, default_value = "7")]
    runs: usize,
}

/// Bytes that a thread hashes at a time where blobs need not be hashed as a whole.
const PIECE: usize = 4 << 20;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let root = args.scratch.join("store");
    let store = Store::open(&root)?;
    let name: ModelName = "bench:latest".parse()?;
    fill(&store, &name, args.bytes)?;

    let mut maps = Vec::new();
    for entry in fs::read_dir(root.join("blobs"))? {
        maps.push(map(&entry?.path())?);
    }
    let pieces: Vec<&[u8]> = maps.iter().flat_map(|map| map.chunks(PIECE)).collect();
    let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
    println!("{} blobs, the largest of {} bytes", maps.len(), maps.iter().map(|map| map.len()).max().unwrap_or(0));
    hash(&pieces);

    let (mut hashing, mut verifying, mut loading) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.runs {
        hashing.push(time(|| Ok(hash(&pieces)))?.0);
        let (took, outcome) = time(|| Ok(store.verify(&VerifyOptions::default(), &Silent)?))?;
        anyhow::ensure!(outcome.bad.is_empty() && outcome.bytes == bytes, "{outcome:?}");
        verifying.push(took);
        let load = || {
            let weights = Weights::open(&store, &store.model(&name)?, &OpenOptions::default())?;
            weights.verify(&Silent)?;
            Ok(weights.bytes())
        };
        loading.push(time(load)?.0);
    }
    drop(maps);
    fs::remove_dir_all(&root)?;
    println!("{}", line("sha256 of the same bytes, all cores", &hashing, bytes));
    println!("{}", line("verify", &verifying, bytes));
    println!("{}", line("load, verified", &loading, bytes));
    let best = |times: &[Duration]| times.iter().min().map_or(0.0, Duration::as_secs_f64);
    println!("verify runs at {:.2} of the limit (the best runs of both)", best(&hashing) / best(&verifying));
    println!("a verified load runs at {:.2} of the limit", best(&hashing) / best(&loading));
    Ok(())
}

/// Stores a model: one blob with an eighth of the bytes, and blobs of many sizes with the rest.
fn fill(store: &Store, name: &ModelName, bytes: u64) -> anyhow::Result<()> {
    let ingest = store.ingest()?;
    let (mut layers, mut entries) = (Vec::new(), Vec::new());
    let mut left = bytes;
    let sizes = std::iter::once(bytes / 8).chain([64 << 20, 16 << 20, 1 << 20, 64 << 10, 8 << 10].into_iter().cycle());
    for (at, size) in sizes.enumerate() {
        let size = size.min(left);
        let (added, entry) = blob(&ingest, &format!("tensor.{at}"), size)?;
        layers.push(Descriptor::tensor(&entry.tensors[0].name, added));
        entries.push(entry);
        left -= size;
        if left == 0 {
            break;
        }
    }
    let config = Config::new(TensorTable::new(Facts::default(), Import::default(), entries));
    let config = ingest.add(&config.to_bytes())?;
    ingest.commit(name, &Manifest::new(Descriptor::config(config), layers))?;
    Ok(())
}

/// Stores a blob with one plain tensor.
fn blob(ingest: &Ingest<'_>, name: &str, size: u64) -> anyhow::Result<(Added, BlobEntry)> {
    let layout = Layout::new(&BTreeMap::new(), [(name, Dtype::U8, Shape::new([size]))])?;
    let mut writer = ingest.blob()?;
    writer.write_at(0, layout.header())?;
    let start = layout.data_start();
    // The bytes differ from blob to blob.
    let mut pattern: Vec<u8> = (0..=250).cycle().take(PIECE).collect();
    pattern[..32].copy_from_slice(Digest::of(name.as_bytes()).as_bytes());
    let mut at = 0;
    while at < size {
        let want = usize::try_from(size - at)?.min(PIECE);
        writer.write_at(start + at, &pattern[..want])?;
        at += want as u64;
    }
    let added = writer.finish()?;
    let entry = BlobEntry {
        chunks: added.chunks.clone(),
        ..BlobEntry::new(added.digest, layout.parts().map(TensorEntry::plain).collect())
    };
    Ok((added, entry))
}

/// Hashes every piece by itself, on all cores.
fn hash(pieces: &[&[u8]]) -> usize {
    let next = AtomicUsize::new(0);
    let count = AtomicUsize::new(0);
    rayon::broadcast(|_| {
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            let digest = Digest::of(piece);
            count.fetch_add(usize::from(digest.as_bytes()[0] > 0), Ordering::Relaxed);
        }
    });
    count.into_inner()
}

#[expect(unsafe_code, reason = "the benchmark owns its files")]
fn map(path: &Path) -> anyhow::Result<Mmap> {
    // SAFETY: nothing else writes to the scratch directory while the benchmark runs.
    Ok(unsafe { Mmap::map(&File::open(path)?) }?)
}
