//! Measures encoding and decoding of a BF16 tensor of 4096 × 14336 on one core, beside a memcpy of the same bytes in
//! the same run.
//!
//! Throughput counts the bytes of the BF16 side, read or written. The results of all levels are compared before
//! anything is timed. ggml's block types are decoded to F32, a piece that fits the cache at a time, and their throughput
//! counts weights. All schemes, profiles and directions take a few minutes. A filter takes less:
//! `cargo bench -p longshore-quant --bench quant -- encode/avx2/plus`.

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use longshore_quant::{
    Decoder, EncodeBuffers, Encoder, FloatType, Importance, Level, Profile, Scheme,
    ggml::{self, GgmlType},
};

const COLUMNS: usize = 14336;
const ELEMENTS: usize = 4096 * COLUMNS;
/// Elements that the levels are compared on: a quarter of a row suffices, and is not a whole number of batches.
const COMPARED: usize = 128 * 21;

/// Fraction of the tensor that slow kernels get: the portable kernels and the searches. They are not bound by memory,
/// so a part has the same throughput as the whole.
const SLOW_PART: usize = 16;

const SCHEMES: [&str; 9] = ["int2", "int3", "int4", "int5", "int6", "int8", "nvfp4", "mxfp4", "mxfp8"];

/// Roughly normally distributed weights.
fn source() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..ELEMENTS)
        .flat_map(|_| {
            let sum: u32 = next().to_le_bytes().into_iter().map(u32::from).sum();
            let noise = f32::from(u16::try_from(next() & 0xFF).expect("a byte")) / 256.0;
            let weight = (f32::from(u16::try_from(sum).expect("eight bytes")) - 1020.0 + noise) * 1e-4;
            let [_, _, low, high] = weight.to_le_bytes();
            [low, high]
        })
        .collect()
}

struct Parts {
    weight: Vec<u8>,
    scale: Vec<u8>,
    bias: Vec<u8>,
}

impl Parts {
    fn new(scheme: Scheme, elements: usize) -> Self {
        let groups = elements / usize::try_from(scheme.group_size()).expect("it is small");
        let len = scheme.encoded_len(groups, FloatType::BF16).expect("it fits");
        Self { weight: vec![1; len.weight], scale: vec![1; len.scale], bias: vec![1; len.bias] }
    }

    fn encode(&mut self, encoder: &Encoder, src: &[u8], importance: Option<Importance<'_>>) {
        let Self { weight, scale, bias } = self;
        let out = EncodeBuffers { weight, scale, bias };
        match importance {
            Some(importance) => encoder.encode_weighted(src, importance, out),
            None => encoder.encode(src, out),
        }
        .expect("the buffers fit");
    }

    fn decode(&self, decoder: &Decoder, out: &mut [u8]) {
        decoder.decode(&self.weight, &self.scale, &self.bias, out).expect("the parts fit");
    }
}

fn compare(encoder: &Encoder, src: &[u8], importance: Option<Importance<'_>>) {
    let src = &src[..COMPARED * 2];
    let (mut expected, mut found) = (Parts::new(encoder.scheme(), COMPARED), Parts::new(encoder.scheme(), COMPARED));
    expected.encode(&encoder.with_level(Level::PORTABLE), src, importance);
    found.encode(encoder, src, importance);
    assert!(expected.weight == found.weight && expected.scale == found.scale && expected.bias == found.bias);
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, bytes: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(u64::try_from(bytes).expect("it fits")));
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}

fn schemes() -> impl Iterator<Item = Scheme> {
    SCHEMES.into_iter().map(|name| name.parse().expect("it exists"))
}

fn encode(criterion: &mut Criterion, level: Level, profile: Profile, src: &[u8], importance: Option<Importance<'_>>) {
    let weighted = if importance.is_some() { "-weighted" } else { "" };
    let mut group = group(criterion, &format!("encode/{}/{profile}{weighted}", level.name()), src.len());
    for scheme in schemes() {
        let encoder = Encoder::new(scheme, FloatType::BF16, profile);
        let encoder = encoder.with_level(level);
        compare(&encoder, src, importance);
        let mut parts = Parts::new(scheme, src.len() / 2);
        group.bench_function(scheme.to_string(), |bencher| {
            bencher.iter(|| parts.encode(&encoder, black_box(src), importance));
        });
    }
}

fn decode(criterion: &mut Criterion, level: Level, src: &[u8], out: &mut [u8]) {
    let mut group = group(criterion, &format!("decode/{}", level.name()), src.len());
    for scheme in schemes() {
        let mut parts = Parts::new(scheme, src.len() / 2);
        parts.encode(&Encoder::new(scheme, FloatType::BF16, Profile::Plus), src, None);
        let decoder = Decoder::new(scheme, FloatType::BF16, FloatType::BF16).with_level(level);
        let mut expected = vec![0; out.len()];
        parts.decode(&decoder.with_level(Level::PORTABLE), &mut expected);
        parts.decode(&decoder, out);
        assert!(*expected == *out, "{scheme} is decoded to other bytes");
        group.bench_function(scheme.to_string(), |bencher| bencher.iter(|| parts.decode(&decoder, black_box(out))));
    }
}

/// Weights in a piece that is decoded again and again: 64 KiB of F32.
const PIECE: usize = 1 << 14;

fn decode_ggml(criterion: &mut Criterion, level: Level) {
    let mut group = criterion.benchmark_group(format!("ggml/{}", level.name()));
    group.throughput(Throughput::Elements(u64::try_from(PIECE).expect("it fits")));
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    for &ggml_type in GgmlType::ALL {
        let block = ggml_type.block_bytes();
        // Bytes from 0 to 56: a float that any two or four of them make is finite.
        let blocks: Vec<u8> = (0..=56).cycle().take(PIECE / ggml_type.block_size() * block).collect();
        let decode = |level, out: &mut [f32]| {
            ggml::decode_at(level, ggml_type, black_box(&blocks), out).expect("the lengths fit");
        };
        let (mut expected, mut out) = (vec![1.0; PIECE], vec![1.0; PIECE]);
        decode(Level::PORTABLE, &mut expected);
        decode(level, &mut out);
        assert!(out == expected, "{ggml_type} is decoded to other values");
        group.bench_function(ggml_type.name(), |bencher| bencher.iter(|| decode(level, black_box(&mut out))));
    }
}

fn run(criterion: &mut Criterion) {
    let src = source();
    let part = &src[..src.len() / SLOW_PART];
    let mut out = vec![1; src.len()];
    let mut copies = group(criterion, "memcpy", src.len());
    copies.bench_function("all", |bencher| bencher.iter(|| out.copy_from_slice(black_box(&src))));
    copies.finish();
    let per_column: Vec<f32> = (0..COLUMNS).map(|column| if column % 7 == 0 { 3.0 } else { 0.5 }).collect();
    let importance = Importance::new(&per_column).expect("they are positive");
    for level in Level::available() {
        let fast = if level == Level::PORTABLE { part } else { &src };
        for profile in [Profile::Plus, Profile::Mlx, Profile::MlxMetal] {
            encode(criterion, level, profile, fast, None);
        }
        encode(criterion, level, Profile::Best, part, None);
        encode(criterion, level, Profile::Best, part, Some(importance));
        decode(criterion, level, fast, &mut out[..fast.len()]);
        decode_ggml(criterion, level);
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
