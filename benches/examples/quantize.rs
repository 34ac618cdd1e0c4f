//! Times the quantization kernels and memcpy. `benches/compare/run.py` sends requests over a pipe.
//!
//! `PROGRAM INPUT` reads BF16 weights. Each line is then one request, which is run once. CORES is `one` or `all`:
//!
//! ```text
//! memcpy CORES                     answer  ok SECONDS        copies the weights to the buffer that decoding writes
//! encode SCHEME PROFILE CORES      answer  ok SECONDS
//! decode SCHEME CORES [LEVEL]      answer  ok SECONDS        decodes the last encoded parts to BF16, with the instructions of a level alone
//! level LEVEL                      answer  ok 0              if this machine has the level
//! save SCHEME PATH                 answer  ok 0              writes the parts to PATH.weight, PATH.scale and PATH.bias
//! save-output PATH                 answer  ok 0              writes the last decoded output
//! ```
//!
//! Buffers are kept from one request to the next, so all but the first run of a kind find them in memory.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use longshore_quant::{Decoder, EncodeBuffers, Encoder, FloatType, Level, Profile, Scheme};
use rayon::{
    iter::{IndexedParallelIterator, ParallelIterator},
    slice::{ParallelSlice, ParallelSliceMut},
};

fn main() -> anyhow::Result<()> {
    let path = std::env::args_os().nth(1).context("expected the path of the weights")?;
    let mut bench = Bench::new(fs::read(&path).with_context(|| path.display().to_string())?);
    for line in io::stdin().lock().lines() {
        let answer = bench.answer(&line?);
        let mut out = io::stdout().lock();
        match answer {
            Ok(took) => writeln!(out, "ok {:.9}", took.as_secs_f64())?,
            Err(failure) => writeln!(out, "error {failure:#}")?,
        }
        out.flush()?;
    }
    Ok(())
}

struct Bench {
    source: Vec<u8>,
    output: Vec<u8>,
    parts: HashMap<String, [Vec<u8>; 3]>,
}

impl Bench {
    fn new(source: Vec<u8>) -> Self {
        // Ones, not zeros: the system would map pages of zeros only when they are first written.
        Self { output: vec![1; source.len()], source, parts: HashMap::new() }
    }

    fn answer(&mut self, line: &str) -> anyhow::Result<Duration> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["memcpy", cores] => self.memcpy(all(cores)?),
            ["encode", scheme, profile, cores] => self.encode(scheme, profile.parse()?, all(cores)?),
            ["decode", scheme, cores] => self.decode(scheme, all(cores)?, Level::detect()),
            ["decode", scheme, cores, name] => self.decode(scheme, all(cores)?, level(name)?),
            ["level", name] => level(name).map(|_| Duration::ZERO),
            ["save", scheme, path] => {
                for (bytes, part) in self.parts(scheme)?.iter().zip(["weight", "scale", "bias"]) {
                    fs::write(format!("{path}.{part}"), bytes)?;
                }
                Ok(Duration::ZERO)
            }
            ["save-output", path] => {
                fs::write(path, &self.output)?;
                Ok(Duration::ZERO)
            }
            _ => bail!("expected memcpy, encode, decode, level, save or save-output, found {line:?}"),
        }
    }

    fn memcpy(&mut self, all: bool) -> anyhow::Result<Duration> {
        let threads = if all { rayon::current_num_threads() } else { 1 };
        let piece = self.source.len().div_ceil(threads);
        time(|| {
            if threads == 1 {
                self.output.copy_from_slice(&self.source);
            } else {
                let pieces = self.output.par_chunks_mut(piece).zip(self.source.par_chunks(piece));
                pieces.for_each(|(output, source)| output.copy_from_slice(source));
            }
            Ok(())
        })
    }

    fn encode(&mut self, name: &str, profile: Profile, all: bool) -> anyhow::Result<Duration> {
        let scheme: Scheme = name.parse()?;
        let encoder = Encoder::new(scheme, FloatType::BF16, profile);
        if !self.parts.contains_key(name) {
            let groups = self.source.len() / FloatType::BF16.size() / usize::try_from(scheme.group_size())?;
            let len = scheme.encoded_len(groups, FloatType::BF16).context("the weights are too many")?;
            self.parts.insert(name.into(), [len.weight, len.scale, len.bias].map(|len| vec![1; len]));
        }
        let [weight, scale, bias] = self.parts.get_mut(name).expect("the parts were inserted above");
        let out = EncodeBuffers { weight, scale, bias };
        let source = &self.source;
        time(|| {
            if all {
                encoder.encode_parallel(source, None, out)?
            } else {
                encoder.encode(source, out)?
            };
            Ok(())
        })
    }

    fn decode(&mut self, name: &str, all: bool, level: Level) -> anyhow::Result<Duration> {
        let decoder = Decoder::new(name.parse()?, FloatType::BF16, FloatType::BF16).with_level(level);
        let [weight, scale, bias] = self.parts.get(name).context("nothing has been encoded with this scheme")?;
        let output = &mut self.output;
        time(|| {
            if all {
                decoder.decode_parallel(weight, scale, bias, output)?;
            } else {
                decoder.decode(weight, scale, bias, output)?;
            }
            Ok(())
        })
    }

    fn parts(&self, name: &str) -> anyhow::Result<&[Vec<u8>; 3]> {
        self.parts.get(name).context("nothing has been encoded with this scheme")
    }
}

fn level(name: &str) -> anyhow::Result<Level> {
    Level::available().find(|level| level.name() == name).with_context(|| format!("this machine has no {name}"))
}

fn all(cores: &str) -> anyhow::Result<bool> {
    match cores {
        "one" => Ok(false),
        "all" => Ok(true),
        _ => bail!("expected one or all cores, found {cores:?}"),
    }
}

fn time(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    Ok(longshore_benches::stats::time(work)?.0)
}
