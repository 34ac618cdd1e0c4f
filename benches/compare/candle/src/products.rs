//! Times products of candle's `QMatMul` on request.
//!
//! ```text
//! load NAME TYPE ROWS COLUMNS COPIES FILE         a file of blocks
//! free NAME
//! time NAME INPUTS SECONDS                        answer  ok {"best": s, "median": s, "runs": n}
//! values NAME INPUTS X Y                          multiplies the F32 file X, [inputs, columns], and writes Y
//! ```

use std::{
    collections::HashMap,
    fs,
    hint::black_box,
    io::{self, BufRead, Write},
    time::Instant,
};

use candle_core::{
    Device, Module, Tensor,
    quantized::{QMatMul, QStorage, QTensor},
};

use crate::{Failure, kind};

/// Weights, and the elements of a row.
struct Matrix {
    weights: QMatMul,
    columns: usize,
}

/// Answers requests until the pipe closes.
pub fn serve() -> Result<(), Failure> {
    let mut held = HashMap::new();
    for line in io::stdin().lock().lines() {
        let answer = answer(&line?, &mut held);
        let mut out = io::stdout().lock();
        match answer {
            Ok(answer) => writeln!(out, "ok {answer}")?,
            Err(failure) => writeln!(out, "error {failure}")?,
        }
        out.flush()?;
    }
    Ok(())
}

fn answer(line: &str, held: &mut HashMap<String, Matrix>) -> Result<String, Failure> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let find = |name: &str| held.get(name).ok_or("there are no weights of this name");
    match words[..] {
        ["load", name, kind_name, rows, columns, copies, file] => {
            let (rows, columns, copies): (usize, usize, usize) = (rows.parse()?, columns.parse()?, copies.parse()?);
            let blocks = fs::read(file)?.repeat(copies);
            let storage = QStorage::from_data(blocks.into(), &Device::Cpu, kind(kind_name)?)?;
            let weights = QMatMul::from_qtensor(QTensor::new(storage, (rows * copies, columns))?)?;
            held.insert(name.into(), Matrix { weights, columns });
        }
        ["free", name] => {
            held.remove(name);
        }
        ["time", name, inputs, limit] => return time(find(name)?, inputs.parse()?, limit.parse()?),
        ["values", name, inputs, x, y] => {
            let matrix = find(name)?;
            let x: Vec<f32> =
                fs::read(x)?.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect();
            let x = Tensor::from_vec(x, (inputs.parse::<usize>()?, matrix.columns), &Device::Cpu)?;
            let out = matrix.weights.forward(&x)?.flatten_all()?.to_vec1::<f32>()?;
            fs::write(y, out.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?;
        }
        _ => return Err(format!("expected load, free, time or values, found {line:?}").into()),
    }
    Ok("{}".into())
}

fn time(matrix: &Matrix, inputs: usize, limit: f64) -> Result<String, Failure> {
    let x: Vec<f32> = (0..inputs * matrix.columns).map(|i| (i * 2_654_435_761 % 255) as f32 - 127.0).collect();
    let x = Tensor::from_vec(x, (inputs, matrix.columns), &Device::Cpu)?;
    drop(matrix.weights.forward(&x)?);
    let (started, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || started.elapsed().as_secs_f64() < limit {
        let before = Instant::now();
        let y = matrix.weights.forward(black_box(&x))?;
        times.push(before.elapsed().as_secs_f64());
        drop(black_box(y));
    }
    times.sort_unstable_by(f64::total_cmp);
    let (best, median) = (times[0], times[times.len() / 2]);
    Ok(format!("{{\"best\": {best:.9}, \"median\": {median:.9}, \"runs\": {}}}", times.len()))
}
