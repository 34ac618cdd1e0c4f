//! Measures the parsing of safetensors headers, and of a shard index, beside serde's parsing of the same JSON into values.
//!
//! The header has as many tensors as a model of experts whose tensors are not stacked. Throughput counts its bytes.
//! `cargo bench -p longshore-st-format`.

use std::{collections::BTreeMap, hint::black_box};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longshore_st_format::{Dtype, Header, Layout, Limits, Shape, ShardIndex};

const LAYERS: usize = 48;
const EXPERTS: usize = 128;

fn names() -> impl Iterator<Item = String> {
    (0..LAYERS).flat_map(|layer| {
        (0..EXPERTS).map(move |expert| format!("model.layers.{layer}.mlp.experts.{expert}.up_proj.weight"))
    })
}

fn headers(c: &mut Criterion) {
    let names: Vec<_> = names().collect();
    let shape = Shape::new([2, 3]);
    let tensors = names.iter().map(|name| (name.as_str(), Dtype::BF16, shape.clone()));
    let layout = Layout::new(&BTreeMap::new(), tensors).expect("the names differ");
    let (bytes, len, limits) = (layout.header(), layout.file_len(), Limits::default());
    let json = &bytes[8..];
    assert_eq!(Header::parse(bytes, len, &limits).as_ref().ok(), Some(layout.parsed()));

    let mut group = c.benchmark_group(format!("header of {} tensors", names.len()));
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("Header", |b| {
        b.iter(|| Header::parse(black_box(bytes), len, &limits).expect("it has been parsed above"));
    });
    group.bench_function("serde_json::Value", |b| {
        b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(json)).expect("it is JSON"));
    });
    group.finish();
}

fn indexes(c: &mut Criterion) {
    let map = names().map(|name| (name, "model-00001-of-00002.safetensors".into())).collect::<serde_json::Map<_, _>>();
    let json = serde_json::json!({ "metadata": { "total_size": 0 }, "weight_map": map }).to_string();
    let mut group = c.benchmark_group(format!("index of {} tensors", LAYERS * EXPERTS));
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("ShardIndex", |b| {
        b.iter(|| ShardIndex::parse(black_box(json.as_bytes()), &Limits::default()).expect("it is an index"));
    });
    group.bench_function("serde_json::Value", |b| {
        b.iter(|| serde_json::from_str::<serde_json::Value>(black_box(&json)).expect("it is JSON"));
    });
    group.finish();
}

criterion_group!(benches, headers, indexes);
criterion_main!(benches);
