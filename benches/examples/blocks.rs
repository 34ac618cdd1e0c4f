//! Times the decoding of ggml's blocks. `benches/compare/run.py` sends requests over a pipe.
//!
//! Each line is one request, and each answer `ok SECONDS` or `error WHY`:
//!
//! ```text
//! load TYPE PATH          reads the blocks of one piece
//! decode TYPE TIMES       decodes the piece to F32 on one core, TIMES times, always to the same buffer
//! save-output PATH        writes the last decoded piece
//! ```

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use longshore_quant::layout::ggml::{self, GgmlType};

fn main() -> anyhow::Result<()> {
    let mut bench = Bench::default();
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

#[derive(Default)]
struct Bench {
    pieces: HashMap<String, Vec<u8>>,
    output: Vec<f32>,
}

impl Bench {
    fn answer(&mut self, line: &str) -> anyhow::Result<Duration> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["load", name, path] => {
                self.pieces.insert(name.to_owned(), fs::read(path).with_context(|| path.to_owned())?);
                Ok(Duration::ZERO)
            }
            ["decode", name, times] => self.decode(name, times.parse()?),
            ["save-output", path] => {
                let bytes: Vec<u8> = self.output.iter().flat_map(|value| value.to_le_bytes()).collect();
                fs::write(path, bytes)?;
                Ok(Duration::ZERO)
            }
            _ => bail!("expected load, decode or save-output, found {line:?}"),
        }
    }

    fn decode(&mut self, name: &str, times: u32) -> anyhow::Result<Duration> {
        let of_type: GgmlType = name.parse()?;
        let blocks = self.pieces.get(name).context("no blocks of this type were loaded")?;
        self.output.resize(blocks.len() / of_type.block_bytes() * of_type.block_size(), 1.0);
        let output = &mut self.output;
        let (took, ()) = longshore_benches::stats::time(|| {
            for _ in 0..times {
                ggml::decode(of_type, blocks, output)?;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        Ok(took)
    }
}
