//! Measures the parsing of a GGUF header with the vocabulary of a large model, beside a copy of the same bytes.
//!
//! `cargo bench -p longshore-gguf`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longshore_gguf::{Dims, GgmlType, Header, Layout, Limits, Metadata};

const TENSORS: usize = 6_000;
const TOKENS: usize = 150_000;

fn headers(c: &mut Criterion) {
    let tokens: Vec<_> = (0..TOKENS).map(|at| format!("token{at}")).collect();
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", "llama").expect("the key is new");
    metadata.push_array("tokenizer.ggml.tokens", tokens.iter().map(String::as_str)).expect("the key is new");
    let dims = Dims::new(&[1]).expect("it is not empty");
    let tensors = (0..TENSORS).map(|at| (format!("blk.{at}.ffn_up.weight"), GgmlType::F32, dims));
    let layout = Layout::new(metadata, tensors).expect("the names differ");
    let (bytes, len, limits) = (layout.header(), layout.file_len(), Limits::default());
    assert_eq!(Header::parse(bytes, len, &limits).map(|header| header.len()).ok(), Some(TENSORS));

    let mut group = c.benchmark_group(format!("header of {TENSORS} tensors and {TOKENS} tokens"));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("Header", |b| {
        b.iter(|| Header::parse(black_box(bytes), len, &limits).expect("it has been parsed above"));
    });
    let mut copy = vec![0; bytes.len()];
    group.bench_function("memcpy", |b| b.iter(|| copy.copy_from_slice(black_box(bytes))));
    group.finish();
}

criterion_group!(benches, headers);
criterion_main!(benches);
