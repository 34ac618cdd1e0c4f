//! Writes a synthetic checkpoint, for benchmarks and experiments.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use longshore_benches::checkpoint;

/// Write a BF16 checkpoint: a Llama, a model with experts, or many small tensors
#[derive(Parser)]
struct Args {
    /// Directory to create
    dir: PathBuf,
    /// Approximate number of bytes of all tensors
    #[arg(long, default_value = "4000000000")]
    bytes: u64,
    /// Model whose names and shapes are used
    #[arg(long, value_enum, default_value = "llama")]
    like: Like,
    /// Write this number of tensors of 8 KiB instead
    #[arg(long, value_name = "COUNT")]
    small: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Like {
    Llama,
    /// A Llama of a thousand million parameters, whatever the number of bytes asked for
    #[value(name = "llama-1b")]
    Llama1b,
    /// Qwen 3 with experts
    Moe,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let bytes = match (args.small, args.like) {
        (Some(count), _) => checkpoint::small_tensors(&args.dir, count, 4096)?,
        (None, Like::Llama) => checkpoint::llama(&args.dir, args.bytes)?,
        (None, Like::Llama1b) => checkpoint::llama_1b(&args.dir)?,
        (None, Like::Moe) => checkpoint::moe(&args.dir, args.bytes)?,
    };
    println!("{}: {bytes} bytes of tensors", args.dir.display());
    Ok(())
}
