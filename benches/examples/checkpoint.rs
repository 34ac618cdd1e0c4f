//! Writes a synthetic checkpoint, for benchmarks and for trying things out.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::PathBuf;

use clap::Parser;
use longshore_benches::checkpoint;

/// Write a BF16 checkpoint: Llama-like, or of many small tensors
#[derive(Parser)]
struct Args {
    /// The directory to make
    dir: PathBuf,
    /// About how many bytes of tensors
    #[arg(long, default_value = "4000000000")]
    bytes: u64,
    /// Instead, so many tensors of 8 KiB
    #[arg(long, value_name = "COUNT")]
    small: Option<usize>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bytes = match args.small {
        Some(count) => checkpoint::small_tensors(&args.dir, count, 4096)?,
        None => checkpoint::llama(&args.dir, args.bytes)?,
    };
    println!("{}: {bytes} bytes of tensors", args.dir.display());
    Ok(())
}
