//! Writes a synthetic checkpoint, for benchmarks and for trying things out.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use longshore_benches::checkpoint;

/// Write a BF16 checkpoint: a Llama, a model of experts, or many small tensors
#[derive(Parser)]
struct Args {
    /// The directory to make
    dir: PathBuf,
    /// About how many bytes of tensors
    #[arg(long, default_value = "4000000000")]
    bytes: u64,
    /// Whose names and shapes
    #[arg(long, value_enum, default_value = "llama")]
    like: Like,
    /// Instead, so many tensors of 8 KiB
    #[arg(long, value_name = "COUNT")]
    small: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Like {
    Llama,
    /// Qwen 3 with experts
    Moe,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bytes = match (args.small, args.like) {
        (Some(count), _) => checkpoint::small_tensors(&args.dir, count, 4096)?,
        (None, Like::Llama) => checkpoint::llama(&args.dir, args.bytes)?,
        (None, Like::Moe) => checkpoint::moe(&args.dir, args.bytes)?,
    };
    println!("{}: {bytes} bytes of tensors", args.dir.display());
    Ok(())
}
