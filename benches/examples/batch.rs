//! Compares one import of many small blobs with making each blob durable by itself: sync, rename, sync the directory.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::ensure;
use clap::Parser;
use longshore_benches::stats::{line, median, time};
use longshore_manifest::{Descriptor, Digest, Manifest, ModelName, Store};

/// Compare one import of many small blobs with syncing and renaming each blob, in turn
#[derive(Parser)]
struct Args {
    /// Empty directory on the disk to measure; its contents are removed. On a file system in memory the result is
    /// meaningless
    scratch: PathBuf,
    /// Number of blobs
    #[arg(long, default_value = "2000")]
    blobs: usize,
    /// Size of each blob in bytes
    #[arg(long, default_value = "8192")]
    size: usize,
    /// Number of runs
    #[arg(long, default_value = "7")]
    runs: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let blobs: Vec<Vec<u8>> = (0..args.blobs).map(|number| content(number, args.size)).collect();
    let bytes = args.blobs as u64 * args.size as u64;
    let (mut single, mut batch) = (Vec::new(), Vec::new());
    // The files of a run stay until the end: ext4 does not reuse the inodes of removed files for minutes, and until
    // then scans all of them for each new file.
    fs::create_dir_all(&args.scratch)?;
    let runs = tempfile::tempdir_in(&args.scratch)?;
    for run in 0..args.runs {
        settle(runs.path())?;
        single.push(time(|| one_by_one(&blobs, &runs.path().join(format!("single-{run}"))))?.0);
        settle(runs.path())?;
        batch.push(time(|| together(&blobs, &runs.path().join(format!("store-{run}"))))?.0);
    }
    runs.close()?;
    println!("{}", line("a sync, a rename and a sync of the directory for each", &single, bytes));
    println!("{}", line("one import", &batch, bytes));
    let ratios: Vec<f64> =
        single.iter().zip(&batch).map(|(single, batch)| single.as_secs_f64() / batch.as_secs_f64()).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let rate = median(&single) / median(&batch);
    println!("one import is {rate:.1} times as fast by median, {least:.1} times at least, of {ratios:.1?}");
    Ok(())
}

/// Writes out what other programs have left unwritten. Otherwise the single sync of an import would wait for it.
fn settle(dir: &Path) -> anyhow::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(File::open(dir)?)?;
    Ok(())
}

/// Generates bytes that differ for each `number`.
fn content(number: usize, size: usize) -> Vec<u8> {
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[7]
    };
    (0..size).map(|_| next()).collect()
}

/// Stores each blob as a careful program would: write, sync, rename, sync the directory.
fn one_by_one(blobs: &[Vec<u8>], dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir)?;
    let entries = File::open(dir)?;
    for bytes in blobs {
        let temporary = dir.join("temporary");
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, dir.join(Digest::of(bytes).file_name()))?;
        entries.sync_all()?;
    }
    Ok(())
}

fn together(blobs: &[Vec<u8>], root: &Path) -> anyhow::Result<()> {
    let store = Store::open(root)?;
    let ingest = store.ingest()?;
    let mut layers = Vec::with_capacity(blobs.len());
    for (number, bytes) in blobs.iter().enumerate() {
        let name = format!("tensor.{number}");
        let mut blob = ingest.blob_like(&name, bytes.len() as u64)?;
        blob.write_at(0, bytes)?;
        layers.push(Descriptor::tensor(name, blob.finish()?));
    }
    let config = Descriptor::config(ingest.add(b"{}")?);
    let name: ModelName = "bench:latest".parse()?;
    let done = ingest.commit(&name, &Manifest::new(config, layers))?;
    ensure!(done.new_blobs == blobs.len() + 1, "{} blobs are new", done.new_blobs);
    Ok(())
}
