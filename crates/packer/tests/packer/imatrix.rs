//! llama.cpp's importance matrices, as `llama-imatrix` writes them, in GGUF and in the older form.

use std::sync::Arc;

use longshore_gguf::{Dims, GgmlType, Layout, Metadata, MetadataError, Writer};
use longshore_manifest::Digest;
use longshore_packer::{ImportOptions, ImportanceFile, Plan};
use longshore_quant::Profile;
use longshore_st_format::Dtype;

use crate::{
    stores::{read, store, threads, try_import},
    support::{Dir, options},
};

const QUERY: &str = "model.layers.0.self_attn.q_proj.weight";
const EXPERTS: [&str; 2] =
    ["model.layers.0.mlp.experts.0.gate_proj.weight", "model.layers.0.mlp.experts.1.gate_proj.weight"];
const STACK: &str = "model.layers.0.mlp.experts.gate_proj.weight";
/// Names of the same weights in GGUF.
const IN_GGUF: [&str; 2] = ["blk.0.attn_q.weight", "blk.0.ffn_gate_exps.weight"];
const COLUMNS: usize = 64;

/// The sums of squares of a weight's inputs, and the number of rows, for each matrix. The second expert saw no input.
struct Sums {
    sums: Vec<f32>,
    counts: Vec<f32>,
}

fn statistics() -> [Sums; 2] {
    let number = |number: usize| f32::from(u8::try_from(number % 101).expect("it is small"));
    let sums = |count: usize, seed: usize| (0..count).map(|at| number(at * 37 + seed) + 0.5).collect();
    let mut experts: Vec<f32> = sums(2 * COLUMNS, 5);
    experts[COLUMNS..].fill(0.0);
    [Sums { sums: sums(COLUMNS, 3), counts: vec![128.0] }, Sums { sums: experts, counts: vec![96.0, 0.0] }]
}

/// The mean squares; those of a matrix without input are all alike.
fn means(of: &Sums) -> Vec<f32> {
    let each = of.sums.chunks(COLUMNS).zip(&of.counts);
    each.flat_map(|(sums, count)| sums.iter().map(|sum| if *count > 0.0 { *sum / *count } else { 1.0 })).collect()
}

fn keys(metadata: &mut Metadata) -> Result<(), MetadataError> {
    metadata.push("general.type", "imatrix")?;
    metadata.push_array("imatrix.datasets", ["wiki.train.raw"])?;
    metadata.push("imatrix.chunk_count", 1_u32)?;
    metadata.push("imatrix.chunk_size", 512_u32)
}

/// A file in GGUF: the names in byte order, the sums of each before its counts.
fn gguf() -> Vec<u8> {
    let (mut metadata, all) = (Metadata::new(), statistics());
    keys(&mut metadata).expect("the keys are given once");
    let named = || IN_GGUF.iter().zip(&all);
    let dims =
        |matrices: usize, columns: usize| Dims::from_shape(&[matrices as u64, columns as u64]).expect("it is small");
    let tensors = named().flat_map(|(name, of)| {
        let matrices = of.counts.len();
        [
            (format!("{name}.in_sum2"), GgmlType::F32, dims(matrices, COLUMNS)),
            (format!("{name}.counts"), GgmlType::F32, dims(matrices, 1)),
        ]
    });
    let layout = Layout::new(metadata, tensors).expect("names differ");
    let mut writer = Writer::new(Vec::new(), layout).expect("a Vec takes it");
    for value in named().flat_map(|(_, of)| of.sums.iter().chain(&of.counts)) {
        writer.write(&value.to_le_bytes()).expect("it is planned");
    }
    writer.finish().expect("everything was written")
}

/// A file of the older form, which has one number of calls for all matrices of a weight.
fn dat() -> Vec<u8> {
    let number = |number: usize| i32::try_from(number).expect("it is small").to_le_bytes();
    let mut bytes = number(IN_GGUF.len()).to_vec();
    for (name, of) in IN_GGUF.iter().zip(statistics()) {
        let calls = 1_u8;
        bytes.extend(number(name.len()));
        bytes.extend(name.as_bytes());
        bytes.extend(number(usize::from(calls)));
        bytes.extend(number(of.sums.len()));
        bytes.extend(means(&of).iter().flat_map(|mean| (mean * f32::from(calls)).to_le_bytes()));
    }
    bytes.extend(number(1));
    bytes.extend(number("wiki.train.raw".len()));
    bytes.extend(b"wiki.train.raw");
    bytes
}

/// The blobs of a model whose codes are chosen by a file.
fn blobs(importance: Option<&Dir>, file: &str) -> Vec<Digest> {
    let place = Dir::new();
    let shape: &[u64] = &[32, COLUMNS as u64];
    let model = Dir::model(&[(QUERY, shape), (EXPERTS[0], shape), (EXPERTS[1], shape)]);
    let plan = Plan::new(model.open().expect("it is a model"), &options("int4", "uniform")).expect("it can be planned");
    let open = |dir: &Dir| Arc::new(ImportanceFile::open(dir.join(file)).expect("it can be read"));
    let importance = importance.map(open);
    if let Some(importance) = &importance {
        assert_eq!(importance.check(&plan).expect("it fits"), Vec::<String>::new(), "every weight has its statistics");
    }
    let options = ImportOptions { profile: Profile::Best, importance, ..threads(2) };
    let store = store(&place);
    try_import(&store, "m", &plan, &options).expect("there is room");
    let table = read(&store, "m").config.longshore.expect("it was imported");
    table.blobs.iter().map(|blob| blob.digest).collect()
}

#[test]
fn both_forms_choose_the_codes_that_the_same_means_do() {
    let dir = Dir::new();
    let [query, experts] =
        statistics().map(|of| means(&of).iter().flat_map(|mean| mean.to_le_bytes()).collect::<Vec<u8>>());
    dir.bytes(
        "means.safetensors",
        &[(QUERY, Dtype::F32, &[COLUMNS as u64], &query), (STACK, Dtype::F32, &[2, COLUMNS as u64], &experts)],
    );
    dir.file("imatrix.gguf", gguf());
    dir.file("imatrix.dat", dat());
    let expected = blobs(Some(&dir), "means.safetensors");
    assert_ne!(blobs(None, ""), expected, "the statistics decide about codes");
    assert_eq!(blobs(Some(&dir), "imatrix.gguf"), expected);
    assert_eq!(blobs(Some(&dir), "imatrix.dat"), expected);
}

#[test]
fn a_file_without_its_counts_is_refused() {
    let dir = Dir::new();
    let mut metadata = Metadata::new();
    keys(&mut metadata).expect("the keys are given once");
    let dims = Dims::from_shape(&[1, 4]).expect("it is small");
    let layout =
        Layout::new(metadata, [("blk.0.attn_q.weight.in_sum2", GgmlType::F32, dims)]).expect("it is one tensor");
    let mut writer = Writer::new(Vec::new(), layout).expect("a Vec takes it");
    writer.write(&[0; 16]).expect("it is planned");
    dir.file("half.gguf", writer.finish().expect("everything was written"));
    let error = ImportanceFile::open(dir.join("half.gguf")).expect_err("it is not whole").to_string();
    assert!(error.contains("without blk.0.attn_q.weight.counts"), "{error}");
}
