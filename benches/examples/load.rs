//! Loads weights into host memory for `benches/compare/run.py load`: Longshore, the crate `safetensors`, and the least
//! possible work.
//!
//! ```text
//! PROGRAM longshore STORE NAME     opens a stored model
//! PROGRAM safetensors FILE…        maps files and parses them
//! PROGRAM map FILE…                maps files without parsing them
//! PROGRAM read FILE…               reads files into fresh memory
//! ```
//!
//! One thread then reads every byte once, as 64-bit words, and the program prints their sum. The sum proves that all
//! bytes are in memory, and that all programs hold the same bytes. The answer is a line of JSON. With `--hashes` before
//! the verb, the program prints the SHA-256 of each tensor instead.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, bail};
use longshore_benches::words;
use longshore_manifest::{Digest, Store, Weights, document::Role, weights::OpenOptions};
use memmap2::Mmap;
use safetensors::SafeTensors;

/// A name and its bytes.
type Slice<'a> = (&'a str, &'a [u8]);

fn main() -> anyhow::Result<()> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let hashes = args.first().is_some_and(|word| word == "--hashes");
    if hashes {
        args.remove(0);
    }
    let report: fn(Instant, &[Slice<'_>]) = if hashes { print_hashes } else { print_times };
    let started = Instant::now();
    let (verb, rest) = args.split_first().context("expected longshore, safetensors, map or read")?;
    let paths: Vec<PathBuf> = rest.iter().map(PathBuf::from).collect();
    match verb.as_str() {
        "longshore" => {
            let [root, name] = rest else { bail!("expected STORE NAME") };
            let store = Store::open(root)?;
            let weights = Weights::open(&store, &store.model(&name.parse()?)?, &OpenOptions::default())?;
            report(started, &stored(&weights));
        }
        "safetensors" => {
            let maps = paths.iter().map(|path| map(path)).collect::<anyhow::Result<Vec<_>>>()?;
            let files = maps.iter().map(|map| SafeTensors::deserialize(map)).collect::<Result<Vec<_>, _>>()?;
            let tensors: Vec<_> = files.iter().flat_map(SafeTensors::iter).collect();
            let slices: Vec<_> = tensors.iter().map(|(name, view)| (*name, view.data())).collect();
            report(started, &slices);
        }
        "map" => {
            let maps = paths.iter().map(|path| map(path)).collect::<anyhow::Result<Vec<_>>>()?;
            report(started, &maps.iter().map(|map| ("", &map[..])).collect::<Vec<_>>());
        }
        "read" => {
            let files = paths.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
            report(started, &files.iter().map(|bytes| ("", &bytes[..])).collect::<Vec<_>>());
        }
        _ => bail!("expected longshore, safetensors, map or read, found {verb:?}"),
    }
    Ok(())
}

/// Collects all parts of all tensors.
fn stored(weights: &Weights) -> Vec<Slice<'_>> {
    let companions = [Role::Scale, Role::Bias, Role::GlobalScale];
    let mut slices = Vec::new();
    for tensor in weights.iter() {
        slices.push((tensor.name(), tensor.weight().data));
        slices.extend(companions.iter().filter_map(|role| Some((tensor.name(), tensor.companion(*role)?.data))));
    }
    slices
}

fn print_times(started: Instant, slices: &[Slice<'_>]) {
    println!("{}", words::report(started, &slices.iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>()));
}

fn print_hashes(_: Instant, slices: &[Slice<'_>]) {
    for (name, bytes) in slices {
        println!("{name} {}", Digest::of(bytes));
    }
}

#[expect(unsafe_code, reason = "mapping is what is measured")]
fn map(path: &Path) -> anyhow::Result<Mmap> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    // SAFETY: the file is the benchmark's own input, and nobody changes it while the benchmark runs.
    Ok(unsafe { Mmap::map(&file) }?)
}
