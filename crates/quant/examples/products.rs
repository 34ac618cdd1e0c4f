//! Multiplies by stored weights on request for a program at the other end of a pipe, until the pipe closes.
//!
//! `benches/compare/run.py products` compares this program with others. `products THREADS` makes a pool of so many
//! threads. A request is a line of words:
//!
//! ```text
//! quantize SCHEME ROWS COLUMNS SOURCE OUT            F32 file to a file of the parts, one after another
//! load NAME KIND PATH ROWS COLUMNS COPIES FILE       KIND is a scheme, a type of ggml or a float, PATH `fast` or `exact`
//! free NAME
//! time NAME INPUTS SECONDS                           answer  ok {"best": s, "median": s, "runs": n}
//! read NAME SECONDS                                  the same, for reading the weights' bytes by all threads
//! values NAME INPUTS X Y                             multiplies the F32 file X, [inputs, columns], and writes Y
//! ```
//!
//! Weights of COPIES times ROWS rows repeat the file's rows. An answer is `ok` with JSON, or `error` with a reason.

use std::{
    collections::HashMap,
    fs,
    hint::black_box,
    io::{self, BufRead, Write},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use longshore_quant::{
    EncodeBuffers, Encoder, FloatType, Profile, Scheme,
    ggml::GgmlType,
    matmul::{Multiplier, Precision, Threads, Weights},
};

type Failure = Box<dyn std::error::Error>;

/// What the bytes of a matrix are.
#[derive(Clone, Copy)]
enum Kind {
    Scheme(Scheme),
    Blocks(GgmlType),
    Float(FloatType),
}

/// Weights in memory, and how they are multiplied.
struct Matrix {
    kind: Kind,
    shape: [usize; 2],
    parts: [Vec<u8>; 3],
    multiplier: Multiplier,
}

fn main() -> Result<(), Failure> {
    let threads = std::env::args().nth(1).ok_or("expected the number of threads")?.parse()?;
    let pool = Threads::new(threads)?;
    let mut held = HashMap::new();
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?, &pool, &mut held);
        let mut out = io::stdout().lock();
        match answer {
            Ok(answer) => writeln!(out, "ok {answer}")?,
            Err(failure) => writeln!(out, "error {failure}")?,
        }
        out.flush()?;
    }
    Ok(())
}

fn answer(line: &str, pool: &Threads, held: &mut HashMap<String, Matrix>) -> Result<String, Failure> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let find = |name: &str| held.get(name).ok_or("there are no weights of this name");
    match words[..] {
        ["quantize", scheme, rows, columns, source, out] => {
            fs::write(out, quantize(scheme.parse()?, rows.parse()?, columns.parse()?, &fs::read(source)?)?.concat())?;
        }
        ["load", name, kind, path, rows, columns, copies, file] => {
            let precision = if path == "fast" { Precision::Fast } else { Precision::Exact };
            let shape = [rows.parse()?, columns.parse()?];
            let matrix = Matrix::new(parse_kind(kind)?, precision, shape, copies.parse()?, &fs::read(file)?)?;
            held.insert(name.into(), matrix);
        }
        ["free", name] => {
            held.remove(name);
        }
        ["time", name, inputs, limit] => {
            let (matrix, inputs, limit) = (find(name)?, inputs.parse()?, limit.parse()?);
            return Ok(pool.install(|| matrix.time(inputs, limit))?);
        }
        ["read", name, limit] => {
            let (matrix, limit) = (find(name)?, limit.parse()?);
            return Ok(measure(limit, || black_box(matrix.read(pool))));
        }
        ["values", name, inputs, x, y] => {
            let (matrix, inputs) = (find(name)?, inputs.parse()?);
            let x: Vec<f32> = fs::read(x)?.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            let mut out = vec![0.0; inputs * matrix.shape[0]];
            pool.install(|| matrix.multiplier.multiply(matrix.weights(), inputs, &x, &mut out))?;
            fs::write(y, out.iter().flat_map(|y| y.to_le_bytes()).collect::<Vec<u8>>())?;
        }
        _ => return Err(format!("expected quantize, load, free, time, read or values, found {line:?}").into()),
    }
    Ok("{}".into())
}

fn parse_kind(name: &str) -> Result<Kind, Failure> {
    if let Ok(scheme) = name.parse() {
        return Ok(Kind::Scheme(scheme));
    }
    if let Ok(float) = name.parse() {
        return Ok(Kind::Float(float));
    }
    let found = GgmlType::ALL.iter().find(|known| known.to_string() == name);
    found.map(|found| Kind::Blocks(*found)).ok_or_else(|| format!("expected a kind of weights, found {name:?}").into())
}

fn quantize(scheme: Scheme, rows: usize, columns: usize, source: &[u8]) -> Result<[Vec<u8>; 3], Failure> {
    let floats = source.as_chunks().0.iter();
    let source: Vec<u8> = floats.flat_map(|bytes| bf16(f32::from_le_bytes(*bytes)).to_le_bytes()).collect();
    let groups = rows * columns / usize::try_from(scheme.group_size())?;
    let len = scheme.encoded_len(groups, FloatType::BF16).ok_or("the weights are too large")?;
    let mut parts = [vec![0; len.weight], vec![0; len.scale], vec![0; len.bias]];
    let [weight, scale, bias] = &mut parts;
    Encoder::new(scheme, FloatType::BF16, Profile::Plus).encode(&source, EncodeBuffers { weight, scale, bias })?;
    Ok(parts)
}

/// Rounds to the nearest BF16, ties to even.
fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let [_, _, low, high] = (bits + 0x7FFF + (bits >> 16 & 1)).to_le_bytes();
    u16::from_le_bytes([low, high])
}

impl Matrix {
    fn new(
        kind: Kind,
        precision: Precision,
        [rows, columns]: [usize; 2],
        copies: usize,
        bytes: &[u8],
    ) -> Result<Self, Failure> {
        let lens = match kind {
            Kind::Scheme(scheme) => {
                let groups = rows * columns / usize::try_from(scheme.group_size())?;
                let len = scheme.encoded_len(groups, FloatType::BF16).ok_or("the weights are too large")?;
                [len.weight, len.scale, len.bias]
            }
            Kind::Blocks(_) | Kind::Float(_) => [bytes.len(), 0, 0],
        };
        let mut rest = bytes;
        let mut part =
            |len: usize| rest.split_off(..len).map(|part| part.repeat(copies)).ok_or("the file is too short");
        let parts = [part(lens[0])?, part(lens[1])?, part(lens[2])?];
        Ok(Self { kind, shape: [rows * copies, columns], parts, multiplier: Multiplier::new(precision) })
    }

    fn weights(&self) -> Weights<'_> {
        let [weight, scale, bias] = &self.parts;
        match self.kind {
            Kind::Scheme(scheme) => Weights::encoded(scheme, FloatType::BF16, self.shape, [weight, scale, bias]),
            Kind::Blocks(ggml_type) => Weights::blocks(ggml_type, self.shape, weight),
            Kind::Float(float) => Weights::plain(float, self.shape, weight),
        }
        .expect("the lengths are those of the shape")
    }

    fn time(&self, inputs: usize, limit: f64) -> Result<String, String> {
        let [rows, columns] = self.shape;
        let x: Vec<f32> =
            (0..inputs * columns).map(|i| f32::from(i.wrapping_mul(0x9E37_79B1).to_le_bytes()[0]) - 127.0).collect();
        let mut y = vec![0.0; inputs * rows];
        let weights = self.weights();
        self.multiplier.multiply(weights, inputs, &x, &mut y).map_err(|failure| failure.to_string())?;
        Ok(measure(limit, || self.multiplier.multiply(weights, inputs, black_box(&x), black_box(&mut y))))
    }

    /// Adds up all bytes, as words, from four places at a time, as fast as a loop without special instructions reads.
    fn read(&self, pool: &Threads) -> u64 {
        let add = |piece: &[u8]| {
            let mut sums = [[0u64; 8]; 4];
            let words = piece.as_chunks::<8>().0.as_chunks::<8>().0;
            let quarter = words.len() / 4;
            for i in 0..quarter {
                for (place, sums) in sums.iter_mut().enumerate() {
                    for (sum, word) in sums.iter_mut().zip(words[place * quarter + i]) {
                        *sum = sum.wrapping_add(u64::from_le_bytes(word));
                    }
                }
            }
            sums.as_flattened().iter().fold(0u64, |a, b| a.wrapping_add(*b))
        };
        let (piece, total) = (1 << 20, AtomicU64::new(0));
        for part in &self.parts {
            pool.each(part.len().div_ceil(piece), |i| {
                let sum = add(&part[i * piece..part.len().min((i + 1) * piece)]);
                total.fetch_add(sum, Ordering::Relaxed);
            });
        }
        total.into_inner()
    }
}

/// Runs `work` for some seconds, at least three times, and describes the times as JSON.
fn measure<T>(limit: f64, mut work: impl FnMut() -> T) -> String {
    let (started, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || started.elapsed() < Duration::from_secs_f64(limit) {
        let before = Instant::now();
        let result = work();
        times.push(before.elapsed());
        drop(result);
    }
    times.sort_unstable();
    let (best, median) = (times[0].as_secs_f64(), times[times.len() / 2].as_secs_f64());
    format!("{{\"best\": {best:.9}, \"median\": {median:.9}, \"runs\": {}}}", times.len())
}
