//! GGUF files that come and go one by one, as shards do.

use std::path::Path;

use longshore_fake_hosts::{Fault, Host as _};
use longshore_hub::{HubError, PullOptions, pull};
use longshore_manifest::Store;
use longshore_packer::{
    PlanOptions, TakeOver,
    longshore_gguf::{Dims, GgmlType, Metadata, SplitBy, SplitLayout, Writer},
};

use crate::{
    rolling::{Watch, used},
    support::{files, hub, hub_of, imported, including, quantized, try_pull},
};

/// A tensor: its name, type and shape, outermost extent first.
type Tensor = (String, GgmlType, Vec<u64>);

/// The tensors of a model of an architecture: matrices in blocks, norms, and the decay of a state space.
fn model(layers: u64) -> Vec<Tensor> {
    let mut tensors = vec![("token_embd.weight".to_owned(), GgmlType::Q8_0, vec![64, 256])];
    for layer in 0..layers {
        let mut add = |name: &str, kind, shape: &[u64]| {
            tensors.push((format!("blk.{layer}.{name}"), kind, shape.to_vec()));
        };
        add("attn_norm.weight", GgmlType::F32, &[256]);
        add("attn_q.weight", GgmlType::Q4K, &[256, 256]);
        add("ssm_a", GgmlType::F32, &[8]);
        add("ffn_down.weight", GgmlType::Q4_1, &[256, 512]);
        add("ffn_norm.weight", GgmlType::F32, &[256]);
    }
    tensors.push(("output_norm.weight".to_owned(), GgmlType::F32, vec![256]));
    tensors
}

/// Bytes of a tensor. A norm is 1 and a little, which is had back; every other one has a value that is not.
fn values(name: &str, count: u64, seed: u64) -> Vec<u8> {
    let number = |at: u64| u16::try_from((at * 37 + seed * 11) % 251).expect("it is small");
    if name.ends_with("norm.weight") {
        let lost = if seed.is_multiple_of(2) { 0.0 } else { 1e-5 };
        return (0..count / 4).flat_map(|at| (1.0 + lost + f32::from(number(at)) / 128.0).to_le_bytes()).collect();
    }
    if name.ends_with("ssm_a") {
        return (0..count / 4).flat_map(|at| (-(f32::from(number(at)) / 128.0).exp()).to_le_bytes()).collect();
    }
    // Scales of blocks are small numbers of 16 bits.
    (0..count).map(|at| u8::try_from(number(at) % 60).expect("it is small")).collect()
}

/// Writes a model in files of so many tensors each, the first without any where `alone`.
fn write(dir: &Path, architecture: &str, tensors: &[Tensor], each: usize, alone: bool) {
    std::fs::create_dir_all(dir).unwrap();
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", architecture).unwrap();
    metadata.push(&format!("{architecture}.block_count"), 2_u32).unwrap();
    metadata.push(&format!("{architecture}.attention.head_count"), 4_u32).unwrap();
    metadata.push_array("tokenizer.ggml.tokens", ["a", "b", "c"]).unwrap();
    let mut by = SplitBy::default();
    by.tensors = Some(each);
    by.metadata_alone = alone;
    let planned = tensors.iter().map(|(name, kind, shape)| (name.as_str(), *kind, Dims::from_shape(shape).unwrap()));
    let layouts = SplitLayout::new("m", &metadata, planned, &by).unwrap();
    for (name, layout) in layouts.into_members() {
        let parts: Vec<_> = layout.parsed().iter().map(|part| (part.name().to_owned(), part.byte_len())).collect();
        let mut writer = Writer::new(Vec::new(), layout).unwrap();
        for (seed, (name, len)) in (0..).zip(parts) {
            writer.write(&values(&name, len, seed)).unwrap();
        }
        std::fs::write(dir.join(name.to_string()), writer.finish().unwrap()).unwrap();
    }
}

#[test]
fn sets_become_what_an_import_makes_of_them() {
    let plan = PlanOptions { take_over: TakeOver::Every, ..PlanOptions::default() };
    let every = PullOptions { plan, ..PullOptions::default() };
    for architecture in ["llama", "gemma3", "qwen3next", "unheard-of"] {
        for (each, alone) in [(1, false), (1, true), (3, false), (100, false)] {
            let dir = tempfile::tempdir().unwrap();
            let source = dir.path().join("source");
            write(&source, architecture, &model(2), each, alone);
            std::fs::write(source.join("README.md"), "Read me.").unwrap();
            let host = hub_of(&source);
            for (at, options) in [PullOptions::default(), every.clone()].into_iter().enumerate() {
                let store = Store::open(dir.path().join(format!("store{at}"))).unwrap();
                let what = format!("{architecture} {each} {alone} {at}");
                let pulled =
                    try_pull(&hub(&host), &store, &options).unwrap_or_else(|error| panic!("{what}: {error:?}"));
                assert_eq!(pulled.outcome.digest, imported(&source, &options), "{what}");
                assert!(store.pulls().unwrap().is_empty(), "{what}");
            }
        }
    }
}

#[test]
fn a_set_below_a_directory_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    write(&source.join("Q4_1"), "llama", &model(1), 2, false);
    write(&source.join("Q8_0"), "llama", &model(2), 3, false);
    let host = hub_of(&source);
    let store = Store::open(dir.path().join("store")).unwrap();
    assert!(matches!(try_pull(&hub(&host), &store, &PullOptions::default()), Err(HubError::Ambiguous { .. })));
    let options = including(&["Q8_0/*"]);
    let pulled = try_pull(&hub(&host), &store, &options).unwrap();
    assert_eq!(pulled.outcome.digest, imported(&source.join("Q8_0"), &PullOptions::default()));
}

/// Eight files of two mebibytes and more each. Returns the length of the longest.
fn eight_files(dir: &Path) -> u64 {
    let tensor = |layer: usize| (format!("blk.{layer}.ffn_down.weight"), GgmlType::Q8_0, vec![1024, 2048]);
    write(dir, "llama", &(0..8).map(tensor).collect::<Vec<_>>(), 1, false);
    let files = files(dir);
    assert_eq!(files.len(), 8);
    files.values().map(|bytes| bytes.len() as u64).max().unwrap()
}

#[test]
fn a_set_needs_the_disk_of_the_result_and_three_files() {
    let dir = tempfile::tempdir().unwrap();
    let (source, root) = (dir.path().join("source"), dir.path().join("store"));
    let file = eight_files(&source);
    let host = hub_of(&source);
    let store = Store::open(&root).unwrap();
    let watch = Watch::of(&root);
    let (reference, name) = ("hf:acme/tiny".parse().unwrap(), "tiny:1".parse().unwrap());
    let pulled = pull(&hub(&host), &reference, &store, &name, &PullOptions::default(), &watch).unwrap();
    assert_eq!(pulled.outcome.digest, imported(&source, &PullOptions::default()));
    let (result, most) = (used(&root), watch.most());
    assert!(most <= result + 3 * file + (1 << 20), "{most} with a result of {result} and files of {file}");
}

#[test]
fn a_set_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let file = eight_files(&source);
    let host = hub_of(&source);
    let store = Store::open(dir.path().join("store")).unwrap();
    let options = quantized(None);
    let sent =
        || -> u64 { host.take_log().iter().filter(|line| line.path.contains("/cdn/")).map(|line| line.sent).sum() };
    // The headers of all come first; then four files, a piece of the fifth, and nothing any more.
    let headers = 8 * (1 << 20);
    host.faults.order_after("GET", "/cdn/", Fault::Cut(1_000_000), 1, 8 + 4);
    host.faults.order("GET", "/cdn/", Fault::Unreachable, usize::MAX);
    try_pull(&hub(&host), &store, &options).unwrap_err();
    assert_eq!(store.names().unwrap(), []);
    let arrived = sent() - headers;
    assert!(arrived > 4 * file && arrived < 5 * file, "{arrived}");
    host.faults.clear();
    let pulled = try_pull(&hub(&host), &store, &options).unwrap();
    assert_eq!(pulled.outcome.digest, imported(&source, &options));
    let (moved, rest) = (sent() - headers, 8 * file - arrived);
    assert!(moved <= rest + file, "{moved} after {arrived}, {rest} left");
}

#[test]
fn a_header_that_comes_damaged_after_its_file_has_gone_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    eight_files(&source);
    let host = hub_of(&source);
    let store = Store::open(dir.path().join("store")).unwrap();
    let options = quantized(None);
    host.faults.order_after("GET", "/cdn/", Fault::Unreachable, usize::MAX, 8 + 4);
    try_pull(&hub(&host), &store, &options).unwrap_err();
    host.faults.clear();
    // A letter of the vocabulary in the first header, whose file is not fetched again.
    let first = std::fs::read(source.join("m-00001-of-00008.gguf")).unwrap();
    let at = first.windows(9).position(|bytes| bytes == b"\x01\0\0\0\0\0\0\0b").unwrap() + 8;
    host.faults.order("GET", "/cdn/", Fault::Corrupt(at), 1);
    let error = try_pull(&hub(&host), &store, &options).unwrap_err();
    assert!(matches!(error, HubError::Changed { .. } | HubError::Source(_)), "{error:?}");
    assert_eq!(store.names().unwrap(), []);
    assert_eq!(try_pull(&hub(&host), &store, &options).unwrap().outcome.digest, imported(&source, &options));
}

#[test]
fn damage_in_a_file_without_tensors_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    write(&source, "llama", &model(1), 2, true);
    let host = hub_of(&source);
    let store = Store::open(dir.path().join("store")).unwrap();
    let first = std::fs::read(source.join("m-00001-of-00005.gguf")).unwrap();
    let at = first.windows(9).position(|bytes| bytes == b"\x01\0\0\0\0\0\0\0b").unwrap() + 8;
    // Nothing but its header is part of the model.
    host.faults.order("GET", "/cdn/", Fault::Corrupt(at), 1);
    let error = try_pull(&hub(&host), &store, &PullOptions::default()).unwrap_err();
    assert!(matches!(error, HubError::Changed { .. }), "{error:?}");
    assert_eq!(store.names().unwrap(), []);
    let pulled = try_pull(&hub(&host), &store, &PullOptions::default()).unwrap();
    assert_eq!(pulled.outcome.digest, imported(&source, &PullOptions::default()));
}
