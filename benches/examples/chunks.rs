//! Measures the savings of content-defined chunking, for `benches/compare/run.py dedup`.
//!
//! `PROGRAM DIR…` cuts every file under the directories into chunks, and counts each distinct chunk once. It prints one
//! line per directory, in order: `NAME BYTES NEW_BYTES CHUNKS`.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use longshore_benches::chunks::chunks;
use longshore_manifest::Digest;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

fn main() -> anyhow::Result<()> {
    let mut seen = HashSet::new();
    for dir in std::env::args_os().skip(1).map(PathBuf::from) {
        let mut files = Vec::new();
        list(&dir, &mut files)?;
        files.sort();
        let chunks: Vec<Vec<(Digest, usize)>> =
            files.par_iter().map(|path| chunks(File::open(path)?)).collect::<io::Result<_>>()?;
        let (mut bytes, mut new, mut count) = (0, 0, 0);
        for (digest, len) in chunks.into_iter().flatten() {
            bytes += len;
            count += 1;
            if seen.insert(digest) {
                new += len;
            }
        }
        println!("{} {bytes} {new} {count}", dir.file_name().unwrap_or_default().display());
    }
    Ok(())
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}
