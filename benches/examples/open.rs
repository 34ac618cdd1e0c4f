//! Compares opening a model for loading with a plain loop over its files, in turn.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use clap::Parser;
use longshore_benches::stats::time;
use longshore_manifest::{
    Config, Descriptor, Manifest, ModelName, Store,
    document::{BlobEntry, Facts, Import, TensorEntry, TensorTable},
    store::{Added, Ingest},
    weights::{OpenOptions, Weights},
};
use longshore_st_format::{Dtype, Layout, Shape};

/// Compare opening a stored model (manifest, table, blobs) with a plain loop that opens the same files, queries their
/// sizes, and reads and parses their headers
#[derive(Parser)]
struct Args {
    /// Empty directory; its contents are removed
    scratch: PathBuf,
    #[arg(long, default_value = "600")]
    blobs: usize,
    #[arg(long, default_value = "20000")]
    tensors: usize,
    /// Number of runs
    #[arg(long, default_value = "25")]
    runs: usize,
    /// Drop the system's caches of disks before each run, directories included. Linux only; requires root
    #[arg(long)]
    cold: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let root = args.scratch.join("store");
    let store = Store::open(&root)?;
    let name: ModelName = "bench:latest".parse()?;
    fill(&store, &name, &args)?;
    let model = store.model(&name)?;
    let blobs = model.manifest.layers.iter().map(|layer| store.blob_path(&layer.digest)).collect::<Vec<_>>();

    let (mut plain, mut open) = (Duration::MAX, Duration::MAX);
    for _ in 0..args.runs {
        prepare(args.cold)?;
        let (took, tensors) = time(|| plain_loop(&blobs))?;
        anyhow::ensure!(tensors == args.tensors, "{tensors} tensors in the headers");
        plain = plain.min(took);
        prepare(args.cold)?;
        let (took, weights) = time(|| Ok(Weights::open(&store, &store.model(&name)?, &OpenOptions::default())?))?;
        anyhow::ensure!(weights.len() == args.tensors, "{} tensors opened", weights.len());
        open = open.min(took);
    }
    fs::remove_dir_all(&root)?;
    println!("{} tensors in {} blobs, least of {} runs", args.tensors, blobs.len(), args.runs);
    println!("open, size, read and parse each header, one thread {plain:?}");
    println!(
        "manifest, table, every blob opened and mapped {open:?}, ratio {:.2}",
        open.as_secs_f64() / plain.as_secs_f64()
    );
    Ok(())
}

fn prepare(cold: bool) -> anyhow::Result<()> {
    if cold {
        fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the caches")?;
    }
    Ok(())
}

/// Opens every file, queries its size, reads its header and parses it. Returns the number of tensors.
fn plain_loop(paths: &[PathBuf]) -> anyhow::Result<usize> {
    let mut tensors = 0;
    for path in paths {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let mut header = vec![0; usize::try_from(u64::from_le_bytes(length).min(size))?];
        file.read_exact(&mut header)?;
        let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&header)?;
        tensors += header.len();
    }
    Ok(tensors)
}

fn fill(store: &Store, name: &ModelName, args: &Args) -> anyhow::Result<()> {
    let ingest = store.ingest()?;
    let (mut layers, mut entries) = (Vec::new(), Vec::new());
    for at in 0..args.blobs {
        let here = (at + 1) * args.tensors / args.blobs - at * args.tensors / args.blobs;
        let (added, entry) = blob(&ingest, at, here)?;
        layers.push(Descriptor::tensor(format!("model.layers.{at}"), added));
        entries.push(entry);
    }
    let config = Config::new(TensorTable::new(Facts::default(), Import::default(), entries));
    let config = ingest.add(&config.to_bytes())?;
    ingest.commit(name, &Manifest::new(Descriptor::config(config), layers))?;
    Ok(())
}

/// Stores a blob with this number of plain tensors.
fn blob(ingest: &Ingest<'_>, at: usize, tensors: usize) -> anyhow::Result<(Added, BlobEntry)> {
    let shape = Shape::new([8, 16]);
    let names = (0..tensors).map(|tensor| format!("model.layers.{at}.mlp.experts.{tensor}.weight"));
    let layout = Layout::new(&BTreeMap::new(), names.map(|name| (name, Dtype::BF16, shape.clone())))?;
    let mut writer = ingest.blob()?;
    writer.write_at(0, layout.header())?;
    for part in layout.parts() {
        let length = usize::try_from(part.range.end - part.range.start)?;
        writer.write_at(part.range.start, &vec![u8::try_from(at % 251)?; length])?;
    }
    let added = writer.finish()?;
    let entry = BlobEntry {
        chunks: added.chunks.clone(),
        ..BlobEntry::new(added.digest, layout.parts().map(TensorEntry::plain).collect())
    };
    Ok((added, entry))
}
