//! Encodes and decodes on request for a program at the other end of a pipe, until the pipe closes.
//!
//! `tests/mlx/fuzz.py` compares this program with MLX. A request is a line of words, followed by bytes:
//!
//! ```text
//! levels                                                                                  (no bytes)
//! encode SCHEME FLOAT PROFILE LEVEL GLOBAL SOURCE-LEN                                     then the source
//! decode SCHEME STORED OUTPUT LEVEL GLOBAL WEIGHT-LEN SCALE-LEN BIAS-LEN                  then the three parts
//! ```
//!
//! GLOBAL is `-`, or the bits of an F32 in hexadecimal: for `encode` the largest magnitude, as MLX counts it, for
//! `decode` the multiplier. The answer is `ok` with the length of each buffer that follows, or `error` with a reason.

use std::io::{self, BufRead, Read, Write};

use longshore_quant::{Decoder, EncodeBuffers, Encoder, FloatType, GlobalScale, Level, Scheme};

type Failure = Box<dyn std::error::Error>;

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let mut line = String::new();
    while input.read_line(&mut line)? != 0 {
        match answer(&line, &mut input) {
            Ok(buffers) => {
                let lens: Vec<String> = buffers.iter().map(|buffer| buffer.len().to_string()).collect();
                writeln!(output, "ok {}", lens.join(" "))?;
                buffers.iter().try_for_each(|buffer| output.write_all(buffer))?;
            }
            Err(failure) => writeln!(output, "error {failure}")?,
        }
        output.flush()?;
        line.clear();
    }
    Ok(())
}

fn answer(line: &str, input: &mut impl Read) -> Result<Vec<Vec<u8>>, Failure> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["levels"] => Ok(Level::available().map(|level| level.name().into()).collect()),
        ["encode", scheme, float, profile, level, global, source] => {
            let source = take(input, source)?;
            let (scheme, float): (Scheme, FloatType) = (scheme.parse()?, float.parse()?);
            let mut encoder = Encoder::new(scheme, float, profile.parse()?).with_level(find_level(level)?);
            if let Some(max_abs) = global_scale(global)? {
                encoder = encoder.with_global_scale(GlobalScale::from_max_abs(max_abs)?);
            }
            let groups = source.len() / float.size() / usize::try_from(scheme.group_size())?;
            let len = scheme.encoded_len(groups, float).ok_or("the source is too long")?;
            let (mut weight, mut scale, mut bias) = (vec![0; len.weight], vec![0; len.scale], vec![0; len.bias]);
            encoder.encode(&source, EncodeBuffers { weight: &mut weight, scale: &mut scale, bias: &mut bias })?;
            Ok(vec![weight, scale, bias])
        }
        ["decode", scheme, stored, output, level, global, weight, scale, bias] => {
            let (weight, scale, bias) = (take(input, weight)?, take(input, scale)?, take(input, bias)?);
            let (scheme, output): (Scheme, FloatType) = (scheme.parse()?, output.parse()?);
            let mut decoder = Decoder::new(scheme, stored.parse()?, output).with_level(find_level(level)?);
            if let Some(multiplier) = global_scale(global)? {
                decoder = decoder.with_global_scale(multiplier);
            }
            let elements = weight.len() * 8 / usize::from(scheme.bits());
            let mut floats = vec![0; elements * output.size()];
            decoder.decode(&weight, &scale, &bias, &mut floats)?;
            Ok(vec![floats])
        }
        _ => Err(format!("expected a request for levels, encode or decode, found {line:?}").into()),
    }
}

fn take(input: &mut impl Read, len: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = vec![0; len.parse()?];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn find_level(name: &str) -> Result<Level, Failure> {
    let found = Level::available().find(|level| level.name() == name);
    found.ok_or_else(|| format!("expected a level of this machine, found {name:?}").into())
}

fn global_scale(word: &str) -> Result<Option<f32>, Failure> {
    Ok(if word == "-" { None } else { Some(f32::from_bits(u32::from_str_radix(word, 16)?)) })
}
