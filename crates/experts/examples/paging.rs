//! Times the use of experts from a disk, in as much memory as the process may have.
//!
//!     paging DIR make                   writes 16 layers of 64 experts of 512 KiB, three matrices each: 512 MiB
//!     paging DIR MODE TRACE.jsonl       uses the experts of a trace, one after the other
//!
//! MODE is `map` (mapped, the default of the system), `ahead` (mapped, whole experts asked for), or `slots N PINNED` (a cache of N slots, of which
//! the share PINNED is pinned by the uses of the first half). The second half of the trace is timed. The files are dropped from the page
//! cache first. It prints seconds, bytes read from the disk, and a sum of what was read.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers says what is wrong by failing")]

use std::{cmp::Reverse, collections::BTreeMap, fs, io::BufReader, path::Path, sync::Arc, time::Instant};

use longshore_experts::{
    CacheOptions, ExpertCache, ExpertFiles, ExpertKey, ExpertMap, ExpertRange, Host, ReadAhead, Trace, TraceLimits,
};
use longshore_manifest::{
    Weights,
    weights::{OpenOptions, Source},
};
use longshore_st_format::{Dtype, Shape, fixtures::write_file};

const LAYERS: u32 = 16;
const EXPERTS: u64 = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dir = Path::new(arguments.first().expect("a directory"));
    match arguments.get(1).map(String::as_str) {
        Some("make") => make(dir),
        Some(mode) => run(dir, mode, &arguments[2..]),
        None => panic!("a mode"),
    }
}

fn make(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for layer in 0..LAYERS {
        let name = |part| format!("model.layers.{layer}.mlp.experts.{part}_proj.weight");
        let shape = Shape::new([EXPERTS, 128, 1365]);
        let tensors: Vec<_> = ["gate", "up", "down"].map(|part| (name(part), Dtype::U8, shape.clone())).into();
        write_file(dir.join(format!("model-{:05}-of-{LAYERS:05}.safetensors", layer + 1)), &BTreeMap::new(), &tensors)
            .unwrap();
    }
}

fn run(dir: &Path, mode: &str, rest: &[String]) {
    let trace = fs::File::open(rest.first().expect("a trace")).unwrap();
    let trace = Trace::read(BufReader::new(trace), &TraceLimits::default()).unwrap();
    let top_k = trace.header().top_k() as usize;
    let source = Source::open(dir).unwrap();
    let map = Arc::new(ExpertMap::new(&source).unwrap());
    let files = ExpertFiles::open(&source, &map).unwrap();
    for (blob, end) in map.blobs() {
        files.forget(&ExpertRange { blob, offset: 0, end });
    }
    let (files, half) = (Arc::new(files), trace.len() / 2);
    let mut sum = 0_u64;
    let add = |sum: &mut u64, bytes: &[u8]| *sum += bytes.iter().step_by(64).map(|byte| u64::from(*byte)).sum::<u64>();
    let uses = || {
        let tokens = trace.tokens().skip(half);
        tokens.flat_map(|token| (0..).zip(token.chunks_exact(top_k)))
    };
    let (before, mut started) = (read_bytes(), Instant::now());
    if mode == "slots" {
        let slots: usize = rest[1].parse().unwrap();
        let pinned: f64 = rest[2].parse().unwrap();
        let cache = ExpertCache::new(Arc::clone(&map), files, Host, &options(&trace, half, slots, pinned)).unwrap();
        started = Instant::now();
        for (layer, chosen) in uses() {
            for expert in cache.acquire(layer, chosen).unwrap().experts() {
                expert.parts().iter().for_each(|part| add(&mut sum, expert.slot().part(part)));
            }
        }
        let total = cache.stats().total();
        println!("{} hits, {} misses, waited {:.2} s", total.hits, total.misses, total.miss_wait.as_secs_f64());
    } else {
        let weights = Weights::open_source(&source, &OpenOptions::default()).unwrap();
        let ahead = ReadAhead::new(Arc::clone(&map), files);
        for (layer, chosen) in uses() {
            if mode == "ahead" {
                ahead.ask(layer, chosen);
            }
            for expert in chosen {
                let parts = map.parts(ExpertKey::new(layer, *expert)).unwrap();
                for part in parts {
                    let stack = weights.get(&part.tensor.name).unwrap().weight().data;
                    let len = stack.len() / usize::try_from(EXPERTS).unwrap();
                    add(&mut sum, &stack[*expert as usize * len..][..len]);
                }
            }
        }
    }
    let (seconds, read) = (started.elapsed().as_secs_f64(), (read_bytes() - before) >> 20);
    println!("{mode}: {seconds:.2} s, {} uses, read {read} MiB, sum {sum}", uses().count() * top_k);
}

fn options(trace: &Trace, half: usize, slots: usize, pinned: f64) -> CacheOptions {
    let mut counts: BTreeMap<ExpertKey, u64> = BTreeMap::new();
    let top_k = trace.header().top_k() as usize;
    for token in trace.tokens().take(half) {
        for (layer, chosen) in (0..).zip(token.chunks_exact(top_k)) {
            for expert in chosen {
                *counts.entry(ExpertKey::new(layer, *expert)).or_default() += 1;
            }
        }
    }
    let mut order: Vec<_> = counts.into_iter().collect();
    order.sort_by_key(|(_, count)| Reverse(*count));
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "few slots"
    )]
    let count = (slots as f64 * pinned) as usize;
    let pinned = order.into_iter().take(count).map(|(key, _)| key).collect();
    CacheOptions { slots, pinned, ..CacheOptions::default() }
}

/// Bytes that this process has had read from disks, where the system says so.
fn read_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}
