//! How fast weights become MLX arrays, against MLX's own loader and against copying memory, in one run and in turns:
//!
//! ```text
//! cargo run --release -p longshore-loader-mlx --example rate -- [GIGABYTES] [ROUNDS] [THREADS]
//! ```
//!
//! The file is made in the system's directory for temporary files, and is in the page cache when it is loaded. Printed are the best of all rounds,
//! and by how much the process's private memory grew at most.

#[cfg(any(target_os = "macos", longshore_mlx))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    rate::main()
}

#[cfg(not(any(target_os = "macos", longshore_mlx)))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Err("this build has no MLX: run crates/loader-mlx/linux/setup.sh first".into())
}

#[cfg(any(target_os = "macos", longshore_mlx))]
mod rate {
    use std::{
        error::Error,
        fs::File,
        io::{BufWriter, Write as _},
        path::Path,
        sync::atomic::{AtomicBool, AtomicU64, Ordering},
        thread,
        time::{Duration, Instant},
    };

    use longshore_loader_mlx::{LoadOptions, MlxWeights};
    use longshore_st_format::{Dtype, Layout, Shape, Writer, fixtures::fill};
    use mlx_rs::Array;

    /// Bytes of one tensor, a matrix of a small model.
    const TENSOR: u64 = 16 << 20;

    pub(super) fn main() -> Result<(), Box<dyn Error>> {
        let mut args = std::env::args().skip(1);
        let gigabytes: u64 = args.next().as_deref().unwrap_or("2").parse()?;
        let rounds: usize = args.next().as_deref().unwrap_or("7").parse()?;
        let mut options = LoadOptions::default();
        options.threads = args.next().map(|threads| threads.parse()).transpose()?;
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("model.safetensors");
        let bytes = write(&path, gigabytes * 1_000_000_000 / TENSOR)?;

        let (mut ours, mut theirs, mut limit) = (Best::new(), Best::new(), Best::new());
        for round in 0..rounds {
            let mut by_us = || {
                ours.time(|| {
                    let mut weights = MlxWeights::open_files([&path])?;
                    weights.load(&options)?;
                    Ok(weights)
                })
            };
            let mut by_mlx = || {
                theirs.time(|| {
                    let arrays = Array::load_safetensors(&path)?;
                    mlx_rs::transforms::eval(arrays.values())?;
                    Ok(arrays)
                })
            };
            // Who goes first finds less memory that the process has already.
            if round % 2 == 0 {
                by_us()?;
                by_mlx()?;
            } else {
                by_mlx()?;
                by_us()?;
            }
            limit.time(|| Ok(MlxWeights::open_files([&path])?.read_all(None)))?;
        }
        let mut out = std::io::stdout();
        writeln!(out, "{bytes} bytes in tensors of {TENSOR}, best of {rounds} rounds in turns")?;
        for (what, best) in [("longshore", &ours), ("mx.load, eval", &theirs), ("read, no array", &limit)] {
            let seconds = best.took.as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "figures to read")]
            let (rate, grown) = (bytes as f64 / seconds / 1e9, best.grown as f64 / bytes as f64);
            let cpu = best.cpu;
            writeln!(
                out,
                "{what:15} {seconds:.3} s  {rate:6.2} GB/s  {cpu:.2} s of cores  private memory grew by {grown:.3}"
            )?;
        }
        Ok(())
    }

    struct Best {
        took: Duration,
        /// Seconds of all cores together.
        cpu: f64,
        /// In bytes.
        grown: u64,
    }

    impl Best {
        fn new() -> Self {
            Self { took: Duration::MAX, cpu: f64::MAX, grown: 0 }
        }

        fn time<T>(&mut self, run: impl FnOnce() -> Result<T, Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
            let (before, cpu) = (private_bytes(), cpu_seconds());
            let (is_done, most) = (AtomicBool::new(false), AtomicU64::new(0));
            let (took, result) = thread::scope(|scope| {
                scope.spawn(|| {
                    while !is_done.load(Ordering::Relaxed) {
                        most.fetch_max(private_bytes(), Ordering::Relaxed);
                        thread::sleep(Duration::from_millis(5));
                    }
                });
                let started = Instant::now();
                let result = run();
                let took = started.elapsed();
                is_done.store(true, Ordering::Relaxed);
                (took, result)
            });
            self.cpu = self.cpu.min(cpu_seconds() - cpu);
            let most = most.into_inner().max(private_bytes());
            drop(result?);
            self.took = self.took.min(took);
            self.grown = self.grown.max(most.saturating_sub(before));
            Ok(())
        }
    }

    /// The memory that the process has for itself; 0 where the system does not say.
    fn private_bytes() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).map_or(0, |kib: u64| kib * 1024)
    }

    /// What the process has computed so far, in hundredths; 0 where the system does not say.
    fn cpu_seconds() -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The fields after the name, which may hold blanks: user and system time are the 12th and 13th.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    }

    fn write(path: &Path, tensors: u64) -> Result<u64, Box<dyn Error>> {
        let names: Vec<_> = (0..tensors).map(|at| format!("layers.{at:04}.weight")).collect();
        let shape = Shape::new([TENSOR / 2 / 2048, 2048]);
        let layout = Layout::new(
            &std::collections::BTreeMap::new(),
            names.iter().map(|name| (name.as_str(), Dtype::BF16, shape.clone())),
        )?;
        let data = fill("layers", Dtype::BF16, TENSOR / 2).into_vec();
        let mut writer = Writer::new(BufWriter::new(File::create(path)?), layout)?;
        for _ in 0..tensors {
            writer.write(&data)?;
        }
        writer.finish()?.flush()?;
        Ok(tensors * TENSOR)
    }
}
