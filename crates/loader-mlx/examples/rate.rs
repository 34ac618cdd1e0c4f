//! Speed at which weights become MLX arrays, compared with MLX's own loader and with reading alone:
//!
//! ```text
//! cargo run --release -p longshore-loader-mlx --example rate -- [GIGABYTES] [ROUNDS] [THREADS]
//! ```
//!
//! The file is made in the system's directory for temporary files, and is in the page cache when it is loaded. All ways take turns, in another
//! order each round, and each turn is a process of its own: who loads a model has no memory from before. The clock runs from before the file is
//! opened until all arrays are evaluated. Then every byte of the arrays is read once, by one thread, and that is timed too: what is
//! mapped could have work left to do then. Memory and processor time come from `/proc`, and are 0 where there is none: on a Mac,
//! `benches/compare/run.py mlx` measures both.

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
        ffi::OsString,
        fs::File,
        hint::black_box,
        io::{BufWriter, Write as _},
        num::NonZero,
        path::Path,
        process::Command,
        sync::atomic::{AtomicBool, AtomicU64, Ordering},
        thread,
        time::{Duration, Instant},
    };

    use longshore_loader_mlx::{LoadOptions, Memory, MlxWeights};
    use longshore_st_format::{Dtype, Layout, Shape, Writer, fixtures::fill};
    use mlx_rs::Array;

    /// Bytes of one tensor, a matrix of a small model.
    const TENSOR: u64 = 16 << 20;

    /// The ways, by what they are called when a process is to go one of them.
    const WAYS: [(&str, &str); 4] = [
        ("mapped", "longshore, as it loads by default"),
        ("copied", "longshore, copied"),
        ("mlx", "mx.load, eval"),
        ("read", "read into nothing, no array"),
    ];

    pub(super) fn main() -> Result<(), Box<dyn Error>> {
        let args: Vec<_> = std::env::args_os().skip(1).collect();
        match &args[..] {
            [turn, way, path, threads] if turn == "--turn" => one_turn(way, path.as_ref(), threads),
            _ => all_turns(args.into_iter()),
        }
    }

    fn all_turns(mut args: impl Iterator<Item = OsString>) -> Result<(), Box<dyn Error>> {
        let mut number = |or: &str| args.next().map_or(or.into(), |given| given.to_string_lossy().into_owned());
        let gigabytes: u64 = number("2").parse()?;
        let rounds: usize = number("7").parse()?;
        let threads = number("0");
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("model.safetensors");
        let bytes = write(&path, gigabytes * 1_000_000_000 / TENSOR)?;

        let mut turns = WAYS.map(|_| Vec::new());
        for round in 0..rounds {
            for at in 0..WAYS.len() {
                let at = (at + round) % WAYS.len();
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--turn", WAYS[at].0]).arg(&path).arg(&threads);
                turns[at].push(Turn::parse(&command.output()?)?);
            }
        }

        let mut out = std::io::stdout();
        writeln!(out, "{bytes} bytes in tensors of {TENSOR}, {rounds} rounds in turns, each turn a process")?;
        writeln!(
            out,
            "{:35} {:>24} {:>9} {:>12} {:>14}",
            "", "median (best)", "cores", "read after", "private memory"
        )?;
        #[expect(clippy::cast_precision_loss, reason = "figures to read")]
        for ((_, name), turns) in WAYS.iter().zip(&turns) {
            let (total, took) = (bytes as f64, sorted(turns, |turn| turn.took));
            let (median, best) = (took[took.len() / 2], took[0]);
            let [cpu, after] =
                [|turn: &Turn| turn.cpu, |turn: &Turn| turn.after].map(|of| sorted(turns, of)[turns.len() / 2]);
            let grown = sorted(turns, |turn| turn.grown)[turns.len() - 1];
            writeln!(
                out,
                "{name:35} {median:.3} s {:6.2} ({:6.2}) GB/s {cpu:7.2} s {after:10.3} s {:14.3}",
                total / median / 1e9,
                total / best / 1e9,
                grown / total
            )?;
        }
        let median = |at: usize| sorted(&turns[at], |turn| turn.took)[rounds / 2];
        for at in [0, 1] {
            // The same turn of both, as what else the machine does changes from turn to turn.
            let ratios = turns[at].iter().zip(&turns[2]).map(|(ours, theirs)| theirs.took / ours.took);
            let worst = ratios.fold(f64::MAX, f64::min);
            let ratio = median(2) / median(at);
            writeln!(
                out,
                "{}: {ratio:.2} times the rate of mx.load by median, {worst:.2} in the worst round",
                WAYS[at].1
            )?;
        }
        Ok(())
    }

    fn sorted(turns: &[Turn], of: impl Fn(&Turn) -> f64) -> Vec<f64> {
        let mut all: Vec<_> = turns.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// Measurement of one process.
    struct Turn {
        /// In seconds.
        took: f64,
        /// Seconds of all cores together.
        cpu: f64,
        /// By how many bytes its private memory grew at most.
        grown: f64,
        /// The seconds that reading every byte of the arrays took.
        after: f64,
    }

    impl Turn {
        fn parse(output: &std::process::Output) -> Result<Self, Box<dyn Error>> {
            let text = String::from_utf8_lossy(&output.stdout);
            let figures = text.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
            match figures.as_deref() {
                Ok([took, cpu, grown, after]) => Ok(Self { took: *took, cpu: *cpu, grown: *grown, after: *after }),
                _ => Err(format!("a turn failed: {text}{}", String::from_utf8_lossy(&output.stderr)).into()),
            }
        }
    }

    fn one_turn(way: &OsString, path: &Path, threads: &OsString) -> Result<(), Box<dyn Error>> {
        let way = way.to_string_lossy();
        let options = LoadOptions {
            threads: NonZero::new(threads.to_string_lossy().parse()?),
            memory: if way == "copied" { Memory::Copied } else { Memory::Automatic },
            ..Default::default()
        };
        let (before, cpu) = (private_bytes(), cpu_seconds());
        let (is_done, most) = (AtomicBool::new(false), AtomicU64::new(0));
        let (took, arrays) = thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    most.fetch_max(private_bytes(), Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(5));
                }
            });
            let started = Instant::now();
            let arrays = match way.as_ref() {
                "mlx" => by_mlx(path),
                "read" => read(path, options.threads),
                _ => by_us(path, &options),
            };
            let took = started.elapsed();
            is_done.store(true, Ordering::Relaxed);
            (took, arrays)
        });
        let cpu = cpu_seconds() - cpu;
        let grown = most.into_inner().max(private_bytes()).saturating_sub(before);
        let arrays = arrays?;
        let started = Instant::now();
        for array in &arrays {
            let bits = array.view::<u64>()?;
            bits.eval()?;
            black_box(bits.as_slice::<u64>().iter().fold(0, |all, bits| all ^ bits));
        }
        let after = started.elapsed().as_secs_f64();
        writeln!(std::io::stdout(), "{} {cpu} {grown} {after}", took.as_secs_f64())?;
        Ok(())
    }

    /// Reads the whole file into buffers that stay in a core's cache, with as many threads: what nothing that reads a file can be faster than.
    fn read(path: &Path, threads: Option<NonZero<usize>>) -> Result<Vec<Array>, Box<dyn Error>> {
        use std::os::unix::fs::FileExt as _;

        const CHUNK: usize = 256 << 10;
        let (file, next) = (File::open(path)?, AtomicU64::new(0));
        let work = || -> std::io::Result<()> {
            let mut buffer = vec![0; CHUNK];
            while file.read_at(&mut buffer, next.fetch_add(CHUNK as u64, Ordering::Relaxed))? > 0 {
                black_box(&mut buffer);
            }
            Ok(())
        };
        let threads = threads.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
        })?;
        Ok(Vec::new())
    }

    fn by_us(path: &Path, options: &LoadOptions) -> Result<Vec<Array>, Box<dyn Error>> {
        let mut weights = MlxWeights::open_files([path])?;
        weights.load(options)?;
        weights.names().map(|name| Ok(weights.get(name)?.weight().clone())).collect()
    }

    fn by_mlx(path: &Path) -> Result<Vec<Array>, Box<dyn Error>> {
        let arrays: Vec<_> = Array::load_safetensors(path)?.into_values().collect();
        mlx_rs::transforms::eval(&arrays)?;
        Ok(arrays)
    }

    /// The memory that the process has for itself; 0 where the system does not say.
    fn private_bytes() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).map_or(0, |kib: u64| kib * 1024)
    }

    /// Processor time of the process so far, in hundredths of a second; 0 where the system does not say.
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
        // Nothing is left to be written while the clock runs.
        File::open(path)?.sync_all()?;
        Ok(tensors * TENSOR)
    }
}
