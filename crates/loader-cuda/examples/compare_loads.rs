//! Times three kinds of load of a stored model: whole, with most of it already on the device, and quantized with
//! decoding. Prints CSV.
//!
//! ```text
//! cargo run --release -p longshore-loader-cuda --example compare_loads -- STORE NAME [QUANTIZED]
//! ```
//!
//! Each time is the median of several rounds after a first one. `shared` loads the model while other weights hold nine
//! tenths of its bytes on the device. `decoded` loads QUANTIZED, the same model, and decodes it to BF16 on the device.
//! The last column is the time divided by that of `whole`.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use longshore_loader_cuda::{CudaWeights, Device, LoadOptions, Loader, LoaderOptions};
use longshore_manifest::{Model, Store, document::Role, weights::plan::Selection};
use longshore_quant::FloatType;

const ROUNDS: usize = 5;
const ROLES: [Role; 4] = [Role::Weight, Role::Scale, Role::Bias, Role::GlobalScale];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let (store, name, quantized) = match &args[..] {
        [store, name] => (store, name, None),
        [store, name, quantized] => (store, name, Some(quantized)),
        _ => return Err("expected STORE NAME [QUANTIZED]".into()),
    };
    let store = Store::open(store)?;
    let loader = Loader::new(&Device::open(0)?, &LoaderOptions::default())?;
    let model = store.model(&name.parse()?)?;
    println!("case,bytes,read_bytes,seconds,of_whole");

    let load = |model: &Model, reuse| -> Result<CudaWeights, Box<dyn Error>> {
        let options = LoadOptions { reuse, ..Default::default() };
        Ok(loader.load(&store, model, &Selection::default(), &options)?)
    };
    let whole = median(|| timed(|| load(&model, false)))?;
    let weights = load(&model, false)?;
    let print = |case: &str, bytes: u64, read: u64, time: Duration| {
        let of_whole = time.as_secs_f64() / whole.as_secs_f64();
        println!("{case},{bytes},{read},{:.6},{of_whole:.4}", time.as_secs_f64());
    };
    print("whole", weights.bytes(), weights.report().read_bytes, whole);

    let mut most = Selection::default();
    let mut chosen = 0;
    for tensor in weights.iter() {
        if chosen * 10 < weights.bytes() * 9 {
            chosen +=
                ROLES.into_iter().filter_map(|role| tensor.companion(role)).map(|part| part.len() as u64).sum::<u64>();
            most.names.push(tensor.name().to_owned());
        }
    }
    weights.release()?;
    let options = LoadOptions { reuse: false, ..Default::default() };
    let held = loader.load(&store, &model, &most, &options)?;
    let mut read = 0;
    let shared = median(|| {
        timed(|| {
            let weights = load(&model, true)?;
            read = weights.report().read_bytes;
            Ok(weights)
        })
    })?;
    print("shared", chosen, read, shared);
    held.release()?;

    if let Some(quantized) = quantized {
        let model = store.model(&quantized.parse()?)?;
        let mut bytes = (0, 0);
        let decoded = median(|| {
            timed(|| {
                let weights = load(&model, false)?;
                let floats = weights.dequantize(FloatType::BF16)?;
                bytes = (floats.bytes(), weights.report().read_bytes);
                Ok((weights, floats))
            })
        })?;
        print("decoded", bytes.0, bytes.1, decoded);
    }
    Ok(())
}

/// Returns the time that `run` takes. Its result is freed afterwards.
fn timed<T>(mut run: impl FnMut() -> Result<T, Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let started = Instant::now();
    let made = run()?;
    let time = started.elapsed();
    drop(made);
    Ok(time)
}

fn median(mut run: impl FnMut() -> Result<Duration, Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    run()?;
    let mut times = (0..ROUNDS).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    Ok(times[ROUNDS / 2])
}
