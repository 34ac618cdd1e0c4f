//! Measures how fast a model runs: prefill and decoding, in tokens a second, and the bytes of weights behind a token.
//!
//! ```text
//! cargo run --release -p longshore-run --example speed -- MODEL [--store DIR] [--exact] [--threads N]
//!     [--prefill N] [--decode N] [--repeat N] [--json] [--first TOKEN,TOKEN…] [--read]
//! ```
//!
//! MODEL is a GGUF file or a directory, or with `--store` the name of a stored model. Prefill and decoding begin with an empty
//! sequence, and are run once before they are timed. `--first` runs a prompt and prints the likeliest token after it, at once.
//! `--read` times reading as many bytes as the weights have, by as many threads.

#![expect(clippy::cast_precision_loss, reason = "the numbers are small")]

use std::{env, error::Error, hint::black_box, path::Path, time::Instant};

use longshore_packer::manifest::Silent;
use longshore_run::{
    LoadOptions, Model, Precision, argmax,
    manifest::{Store, weights::Source},
};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let text = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)
    };
    let value = |name: &str, default: usize| text(name).map_or(Ok(default), |text| text.parse());
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let name = arguments.first().ok_or("expected the path or the name of a model")?;
    let precision = if has("--exact") { Precision::Exact } else { Precision::Fast };
    let threads = value("--threads", 2)?;
    let started = Instant::now();
    let source = match text("--store") {
        Some(store) => {
            let store = Store::open(store)?;
            Source::of_model(&store, &store.model(&name.parse()?)?)?
        }
        None => longshore_packer::open(Path::new(name), &Silent)?.weights,
    };
    let model = Model::open(source, LoadOptions { precision, threads: Some(threads), ..LoadOptions::default() })?;
    let opened = started.elapsed().as_secs_f64();
    if let Some(prompt) = text("--first") {
        let prompt: Vec<u32> = prompt.split(',').map(str::parse).collect::<Result<_, _>>()?;
        say(&argmax(model.session().extend(&prompt)?).to_string());
        return Ok(());
    }
    let (prefill, decode, repeat) = (value("--prefill", 256)?, value("--decode", 64)?, value("--repeat", 5)?);
    let vocabulary = u32::try_from(model.vocabulary())?;
    let prompt: Vec<u32> = (0..u32::try_from(prefill)?).map(|at| (at * 7919 + 13) % vocabulary).collect();
    let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
    for run in 0..=repeat {
        let mut session = model.session();
        let started = Instant::now();
        if prefill > 0 {
            session.extend(&prompt)?;
        }
        let prefilled = prefill as f64 / started.elapsed().as_secs_f64();
        let mut session = model.session();
        let started = Instant::now();
        let mut next = 1;
        for _ in 0..decode {
            next = argmax(session.extend(&[next])?);
        }
        if run > 0 {
            prefills.push(prefilled);
            decodes.push(decode as f64 / started.elapsed().as_secs_f64());
        }
    }
    let read = if has("--read") { read(usize::try_from(model.weight_bytes())?, threads) } else { 0.0 };
    if has("--json") {
        let found = json!({
            "open_seconds": opened, "bytes": model.weight_bytes(), "prefill": prefills, "decode": decodes,
            "read_bytes_per_second": read,
        });
        say(&found.to_string());
        return Ok(());
    }
    say(&format!("open {:.1} ms, {:.1} MB of weights", opened * 1e3, model.weight_bytes() as f64 / 1e6));
    for (what, mut rates) in [("prefill", prefills), ("decode", decodes)] {
        rates.sort_by(f64::total_cmp);
        let best = rates.last().copied().unwrap_or(0.0);
        say(&format!("{what}: best {best:.1}, median {:.1} tokens/s", rates[rates.len() / 2]));
    }
    if read > 0.0 {
        say(&format!("read: {:.1} GB/s", read / 1e9));
    }
    Ok(())
}

/// Bytes a second of reading memory of this size once by some threads, the best of five.
fn read(bytes: usize, threads: usize) -> f64 {
    let memory = vec![1u64; bytes / 8];
    let one = || {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for part in memory.chunks(memory.len().div_ceil(threads).max(1)) {
                scope.spawn(move || black_box(part.iter().fold(0u64, |sum, word| sum.wrapping_add(*word))));
            }
        });
        bytes as f64 / started.elapsed().as_secs_f64()
    };
    (0..5).map(|_| one()).fold(0.0, f64::max)
}

#[expect(clippy::print_stdout, reason = "a program prints")]
fn say(line: &str) {
    println!("{line}");
}
