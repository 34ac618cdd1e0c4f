//! Measures the conversion of weights on the host against copying as many bytes: `convert_rate [MEGABYTES] [THREADS]`.
//!
//! Both write memory that the system has not given before, with as many threads. The ratio says how many times as fast the
//! conversion was.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{collections::BTreeMap, error::Error, hint::black_box, path::Path, thread, time::Instant};

use longshore_manifest::{
    Weights,
    weights::{OpenOptions, Source},
};
use longshore_st_format::{Dtype, Shape, fixtures};
use memmap2::MmapMut;

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let megabytes: u64 = args.next().map_or(Ok(1000), |text| text.parse())?;
    let threads: usize = args.next().map_or(Ok(2), |text| text.parse())?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let dir = tempfile::tempdir()?;
    let rows = megabytes * 1_000_000 / 2 / 4096;
    floats(&dir.path().join("bf16"), rows)?;
    codes(&dir.path().join("int4"), rows * 2)?;
    for (name, dtype) in [("bf16", Dtype::F32), ("int4", Dtype::BF16)] {
        let source = Source::open(dir.path().join(name))?;
        let options = OpenOptions { dtype: Some(dtype), decode: true, ..OpenOptions::default() };
        // Once before, so that the files are in the page cache.
        let bytes = Weights::open_source(&source, &options)?.made_bytes();
        let from = vec![1_u8; usize::try_from(bytes)?];
        let (mut ours, mut copies) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let started = Instant::now();
            black_box(Weights::open_source(&source, &options)?);
            ours.push(started.elapsed().as_secs_f64());
            copies.push(copy(&from, threads)?);
        }
        let (ours, copies) = (median(ours), median(copies));
        let megabytes = bytes / 1_000_000;
        println!(
            "{name} to {dtype}, {megabytes} MB out: {ours:.3} s, copying {copies:.3} s, ratio {:.2}",
            copies / ours
        );
    }
    Ok(())
}

/// Seconds to copy all bytes into new memory. That the memory is given back is counted, as it is for weights.
fn copy(from: &[u8], threads: usize) -> Result<f64, Box<dyn Error>> {
    let started = Instant::now();
    let mut to = MmapMut::map_anon(from.len())?;
    #[cfg(target_os = "linux")]
    let _ = to.advise(memmap2::Advice::HugePage);
    let share = from.len().div_ceil(threads);
    thread::scope(|scope| {
        for (from, to) in from.chunks(share).zip(to.chunks_mut(share)) {
            scope.spawn(|| to.copy_from_slice(from));
        }
    });
    black_box(&to);
    drop(to);
    Ok(started.elapsed().as_secs_f64())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn floats(dir: &Path, rows: u64) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir(dir)?;
    let tensors = [("a.weight".to_owned(), Dtype::BF16, Shape::new([rows, 4096]))];
    Ok(fixtures::write_file(dir.join("model.safetensors"), &BTreeMap::new(), &tensors)?)
}

fn codes(dir: &Path, rows: u64) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir(dir)?;
    let tensors = [
        ("a.weight".to_owned(), Dtype::U32, Shape::new([rows, 512])),
        ("a.scales".to_owned(), Dtype::BF16, Shape::new([rows, 64])),
        ("a.biases".to_owned(), Dtype::BF16, Shape::new([rows, 64])),
    ];
    fixtures::write_file(dir.join("model.safetensors"), &BTreeMap::new(), &tensors)?;
    Ok(std::fs::write(dir.join("config.json"), r#"{"quantization": {"group_size": 64, "bits": 4}}"#)?)
}
