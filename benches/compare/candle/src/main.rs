//! Times candle-core's `QTensor::quantize`. `benches/compare/run.py` sends requests over a pipe.
//!
//! `PROGRAM INPUT ROWS COLUMNS` reads BF16 weights, `[rows, columns]`, and widens them to F32, the input type of
//! candle's quantizers, before anything is timed. Each line is then one request:
//!
//! ```text
//! quantize TYPE        answer  ok SECONDS
//! dequantize TYPE      answer  ok SECONDS        decodes the last quantized tensor to F32
//! save TYPE PATH       answer  ok 0              writes the decoded tensor to a file, as bytes
//! ```
//!
//! `PROGRAM convert OUT TYPE FILE…` converts a checkpoint to a GGUF file instead, once. `PROGRAM products` times
//! products instead, for [`products::serve`]. `PROGRAM first …` and `PROGRAM rates …` run a model once, for [`run::answer`].

mod convert;
mod products;
mod run;

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, Write},
    time::Instant,
};

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor},
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [verb, out, name, files @ ..] = &args[..]
        && verb == "convert"
    {
        return convert::convert(out.as_ref(), kind(name)?, files);
    }
    if args == ["products"] {
        return products::serve();
    }
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["first" | "rates", ..] = words[..] {
        println!("{}", run::answer(&words)?);
        return Ok(());
    }
    let [input, rows, columns] = &args[..] else { return Err("expected INPUT ROWS COLUMNS".into()) };
    let weights: Vec<f32> =
        fs::read(input)?.chunks_exact(2).map(|pair| f32::from_le_bytes([0, 0, pair[0], pair[1]])).collect();
    let source = Tensor::from_vec(weights, (rows.parse::<usize>()?, columns.parse::<usize>()?), &Device::Cpu)?;
    let mut quantized = HashMap::new();
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?, &source, &mut quantized);
        let mut out = io::stdout().lock();
        match answer {
            Ok(seconds) => writeln!(out, "ok {seconds:.9}")?,
            Err(failure) => writeln!(out, "error {failure}")?,
        }
        out.flush()?;
    }
    Ok(())
}

fn answer(line: &str, source: &Tensor, quantized: &mut HashMap<String, QTensor>) -> Result<f64, Failure> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["quantize", name] => {
            let kind = kind(name)?;
            quantized.remove(name);
            let started = Instant::now();
            let tensor = QTensor::quantize(source, kind)?;
            let took = started.elapsed();
            quantized.insert(name.into(), tensor);
            Ok(took.as_secs_f64())
        }
        ["dequantize", name] => {
            let tensor = quantized.get(name).ok_or("nothing has been quantized to this type")?;
            let started = Instant::now();
            let restored = tensor.dequantize(&Device::Cpu)?;
            let took = started.elapsed();
            drop(restored);
            Ok(took.as_secs_f64())
        }
        ["save", name, path] => {
            let tensor = quantized.get(name).ok_or("nothing has been quantized to this type")?;
            let restored = tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
            fs::write(path, restored.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
            Ok(0.0)
        }
        _ => Err(format!("expected quantize, dequantize or save, found {line:?}").into()),
    }
}

fn kind(name: &str) -> Result<GgmlDType, Failure> {
    Ok(match name {
        "Q4_0" => GgmlDType::Q4_0,
        "Q4_1" => GgmlDType::Q4_1,
        "Q8_0" => GgmlDType::Q8_0,
        "Q4K" => GgmlDType::Q4K,
        _ => return Err(format!("expected Q4_0, Q4_1, Q8_0 or Q4K, found {name:?}").into()),
    })
}
