//! Measures how fast a model runs: prefill and decoding, in tokens a second, and the bytes of weights behind a token.
//!
//! ```text
//! cargo run --release -p longshore-run --example speed -- MODEL [--exact] [--threads N] [--prefill N] [--decode N]
//! ```
//!
//! MODEL is a GGUF file or a directory. The best and the median of five runs are printed.

#![expect(clippy::cast_precision_loss, reason = "the numbers are small")]

use std::{env, error::Error, path::Path, time::Instant};

use longshore_packer::manifest::Silent;
use longshore_run::{LoadOptions, Model, Precision, argmax};

const RUNS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let value = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let path = arguments.first().ok_or("expected the path of a model")?;
    let is_exact = arguments.iter().any(|argument| argument == "--exact");
    let precision = if is_exact { Precision::Exact } else { Precision::Fast };
    let started = Instant::now();
    let source = longshore_packer::open(Path::new(path), &Silent)?.weights;
    let options = LoadOptions { precision, threads: Some(value("--threads", 2)), ..LoadOptions::default() };
    let model = Model::open(source, options)?;
    say(&format!("open {:.1} ms, {:.1} MB of weights", millis(started), model.weight_bytes() as f64 / 1e6));
    let (prefill, decode) = (value("--prefill", 256), value("--decode", 64));
    let vocabulary = u32::try_from(model.vocabulary())?;
    let prompt: Vec<u32> = (0..u32::try_from(prefill)?).map(|at| (at * 7919 + 13) % vocabulary).collect();
    let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut session = model.session();
        let started = Instant::now();
        let mut next = argmax(session.extend(&prompt)?);
        prefills.push(prefill as f64 / (millis(started) / 1e3));
        let started = Instant::now();
        for _ in 0..decode {
            next = argmax(session.extend(&[next])?);
        }
        decodes.push(decode as f64 / (millis(started) / 1e3));
    }
    for (what, mut rates) in [("prefill", prefills), ("decode", decodes)] {
        rates.sort_by(f64::total_cmp);
        say(&format!("{what}: best {:.1}, median {:.1} tokens/s", rates[RUNS - 1], rates[RUNS / 2]));
    }
    Ok(())
}

fn millis(started: Instant) -> f64 {
    started.elapsed().as_secs_f64() * 1e3
}

#[expect(clippy::print_stdout, reason = "a program prints")]
fn say(line: &str) {
    println!("{line}");
}
