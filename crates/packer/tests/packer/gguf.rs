//! GGUF files through the store and back, byte for byte.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use longshore_gguf::{Dims, GgmlType, Layout, Metadata, SplitBy, SplitLayout, SplitSet, Writer};
use longshore_manifest::{
    Config, Descriptor, Digest, Manifest, Silent, Store, Weights,
    document::{GgmlBlocks, media_type},
    weights::{OpenOptions, Source as LoadSource},
};
use longshore_packer::{
    ExportError, ExportFormat, ExportOptions, Kind, Plan, PlanError, PlanOptions, RepairOptions, Source, SourceError,
    repair,
};
use longshore_quant::FloatType;
use longshore_st_format::Dtype;
use proptest::prelude::*;

use crate::{
    stores::{export_to, files, import_as, is_clean, read, store, try_export, weights},
    support::{Dir, chain, open, options},
};

/// A tensor of a generated file: name, type and shape, outermost extent first.
type Tensor<'a> = (&'a str, GgmlType, &'a [u64]);

const TENSORS: [Tensor<'static>; 6] = [
    ("token_embd.weight", GgmlType::Q8_0, &[5, 64]),
    ("blk.0.attn_q.weight", GgmlType::Q4K, &[3, 256]),
    ("blk.0.ffn_up_exps.weight", GgmlType::MXFP4, &[2, 3, 32]),
    ("blk.0.attn_norm.weight", GgmlType::F32, &[7]),
    ("rope_freqs.weight", GgmlType::F32, &[]),
    ("ids", GgmlType::I32, &[0, 3]),
];

fn gguf() -> ExportOptions {
    ExportOptions { format: ExportFormat::Gguf, ..ExportOptions::default() }
}

fn metadata() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", "llama").expect("it is new");
    metadata.push("llama.block_count", 1_u32).expect("it is new");
    metadata.push("llama.context_length", 128_u32).expect("it is new");
    metadata.push_array("tokenizer.ggml.tokens", ["a", "b", "c"]).expect("it is new");
    metadata
}

fn layout(metadata: Metadata, tensors: &[Tensor<'_>]) -> Layout {
    let dims = |shape: &[u64]| Dims::from_shape(shape).expect("it is small");
    let tensors = tensors.iter().map(|(name, kind, shape)| (*name, *kind, dims(shape)));
    Layout::new(metadata, tensors).expect("tests name tensors once")
}

/// The file of a layout, with bytes that depend on the names of the tensors.
fn bytes(layout: Layout) -> Vec<u8> {
    let parts: Vec<_> = layout.parsed().iter().map(|tensor| (tensor.name().to_owned(), tensor.byte_len())).collect();
    let mut writer = Writer::new(Vec::new(), layout).expect("a Vec takes it");
    for (name, len) in parts {
        let seed = name.bytes().fold(7_u8, u8::wrapping_add);
        let data: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).expect("it is below 251") ^ seed).collect();
        writer.write(&data).expect("it is planned");
    }
    writer.finish().expect("everything was written")
}

/// A directory with one file, `x.gguf`.
fn one() -> Dir {
    let dir = Dir::new();
    dir.file("x.gguf", bytes(layout(metadata(), &TENSORS)));
    dir
}

/// Writes `TENSORS` as a set of files with two tensors each.
fn split(dir: &Dir) -> Vec<String> {
    let tensors = TENSORS.map(|(name, kind, shape)| (name, kind, Dims::from_shape(shape).expect("it is small")));
    let mut by = SplitBy::default();
    by.tensors = Some(2);
    let layouts = SplitLayout::new("m", &metadata(), tensors, &by).expect("it can be split");
    let mut names = Vec::new();
    for (name, layout) in layouts.into_members() {
        dir.file(&name.to_string(), bytes(layout));
        names.push(name.to_string());
    }
    names
}

/// Imports and exports the source at `path`; returns the exported files.
fn there_and_back(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let place = Dir::new();
    let store = store(&place);
    let source = open(path).unwrap_or_else(|error| panic!("{}: {}", path.display(), chain(&error)));
    assert_eq!(source.kind, Kind::Gguf);
    import_as(&store, "m", &source, "none");
    is_clean(&store);
    opens_as_stored(path, &store);
    let outcome = export_to(&store, "m", &place.join("out"), &gguf());
    let found = files(&place.join("out"));
    assert_eq!(outcome.tensors, source.tensors.len());
    assert_eq!(outcome.bytes, found.values().map(|file| file.len() as u64).sum::<u64>());

    // A copy from this store to another restores the same files.
    let manifest = store.manifest_path(&"m".parse().expect("it is a name"));
    let stored = open(&manifest).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let other = Store::open(place.join("other")).expect("the directory is ours");
    import_as(&other, "m", &stored, "none");
    assert_eq!(read(&other, "m").manifest.layers, read(&store, "m").manifest.layers);
    export_to(&other, "m", &place.join("again"), &gguf());
    assert_eq!(files(&place.join("again")), found);
    found
}

/// What is opened at `path` with nothing stored has the tensors, the facts and the companion files of the stored model.
fn opens_as_stored(path: &Path, store: &Store) {
    let opened = longshore_packer::open(path, &Silent).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let stored = weights(store, "m");
    assert_eq!(opened.weights.table().facts, stored.table().facts);
    let found = Weights::open_source(&opened.weights, &OpenOptions::default()).expect("it was just read");
    assert!(found.names().eq(stored.names()));
    for (a, b) in found.iter().zip(stored.iter()) {
        assert_eq!((a.dtype(), a.shape(), a.quantization()), (b.dtype(), b.shape(), b.quantization()), "{}", a.name());
        assert!(a.weight().data == b.weight().data && a.weight().shape == b.weight().shape, "{}", a.name());
    }
    for name in opened.weights.companions().expect("they are in memory") {
        let bytes = |source: &LoadSource| source.companion(&name).expect("it can be read");
        assert_eq!(bytes(&opened.weights), bytes(stored.source()), "{name}");
    }
}

#[test]
fn a_file_comes_back() {
    let dir = one();
    let found = there_and_back(&dir.join("x.gguf"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["model.gguf"]);
    assert_eq!(found["model.gguf"], fs::read(dir.join("x.gguf")).expect("it is ours"));
}

#[test]
fn a_file_comes_back_without_its_last_padding() {
    let whole = bytes(layout(metadata(), &TENSORS[..4]));
    let dir = Dir::new();
    // Seven F32 are four bytes short of the alignment.
    dir.file("x.gguf", &whole[..whole.len() - 4]);
    assert_eq!(there_and_back(&dir.join("x.gguf"))["model.gguf"], whole[..whole.len() - 4]);
}

#[test]
fn a_set_comes_back_by_any_of_its_files() {
    let dir = Dir::new();
    let names = split(&dir);
    assert_eq!(names.len(), 3);
    let sources = names.iter().map(|name| dir.join(name)).chain([dir.path().to_owned()]);
    for path in sources {
        let found = there_and_back(&path);
        assert_eq!(found.len(), 3, "{}", path.display());
        for name in &names {
            let exported = name.replacen('m', "model", 1);
            assert_eq!(found[&exported], fs::read(dir.join(name)).expect("it is ours"), "{name}");
        }
    }
}

#[test]
fn the_table_says_what_the_file_says() {
    let (dir, place) = (one(), Dir::new());
    let store = store(&place);
    import_as(&store, "m", &open(&dir.join("x.gguf")).expect("it is whole"), "none");
    let model = read(&store, "m");
    let table = model.config.longshore.as_deref().expect("this program wrote it");
    assert_eq!(table.import.kind, "gguf");
    assert_eq!((table.facts.architecture.as_deref(), table.facts.layers), (Some("llama"), Some(1)));
    assert_eq!((table.facts.vocabulary, model.config.context_length), (Some(3), Some(128)));
    assert_eq!(model.config.capabilities, ["completion"]);
    let found: BTreeMap<_, _> = table
        .tensors()
        .map(|(blob, tensor)| {
            assert_eq!(blob.tensors.len(), 1, "each tensor has a blob of its own");
            let coding = tensor.quantization.as_ref().map(ToString::to_string);
            (tensor.name.as_str(), (tensor.dtype, tensor.shape.to_string(), coding, tensor.weight().shape.to_string()))
        })
        .collect();
    let blocks = |shape: &str, coding: &str, array: &str| {
        (Dtype::F32, shape.to_owned(), Some(coding.to_owned()), array.to_owned())
    };
    let plain = |dtype, shape: &str| (dtype, shape.to_owned(), None, shape.to_owned());
    let expected = BTreeMap::from([
        ("model.embed_tokens.weight", blocks("[5, 64]", "q8_0", "[5, 68]")),
        // The file does not state the heads.
        ("blk.0.attn_q.weight", blocks("[3, 256]", "q4_k", "[3, 144]")),
        ("model.layers.0.block_sparse_moe.experts.w3.weight", blocks("[2, 3, 32]", "ggml_mxfp4", "[2, 3, 17]")),
        ("model.layers.0.input_layernorm.weight", plain(Dtype::F32, "[7]")),
        ("rope_freqs.weight", plain(Dtype::F32, "[]")),
        ("ids", plain(Dtype::I32, "[0, 3]")),
    ]);
    assert_eq!(found, expected);
    let names: Vec<_> =
        model.manifest.files().map(|(name, layer)| (name.to_string(), layer.media_type.clone())).collect();
    let expected = [("config.json", media_type::JSON), ("gguf/header-00001-of-00001.bin", media_type::FILE)];
    assert_eq!(names, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
}

#[test]
fn tables_with_other_blocks_are_refused() {
    let (dir, place) = (one(), Dir::new());
    let store = store(&place);
    import_as(&store, "m", &open(&dir.join("x.gguf")).expect("it is whole"), "none");
    let text = String::from_utf8(read(&store, "m").config.to_bytes()).expect("it is JSON");
    assert!(Config::parse(text.as_bytes()).is_ok());
    for (from, to, expected) in [
        (r#""scheme":"q4_k""#, r#""scheme":"q5_k""#, "its Weight is U8 [3, 144], expected U8 [3, 176]"),
        (r#""scheme":"q4_k""#, r#""scheme":"q4_9""#, "not a known scheme"),
        (r#""scheme":"ggml_mxfp4""#, r#""scheme":"mxfp4""#, "expected U32"),
        (
            r#""scheme":"q4_k","group_size":256"#,
            r#""scheme":"q4_k","group_size":32"#,
            "in groups of 32 elements, expected 256",
        ),
        (r#""shape":[5,64],"quant"#, r#""shape":[5,65],"quant"#, "do not fill the rows of [5, 65]"),
        (r#""dtype":"F32","shape":[5,64],"quant"#, r#""dtype":"F16","shape":[5,64],"quant"#, "of F16, expected F32"),
    ] {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{from}");
        let error = Config::parse(edited.as_bytes()).expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn damaged_blobs_are_built_again() {
    let place = Dir::new();
    let dir = Dir::new();
    split(&dir);
    let store = store(&place);
    let source = open(dir.path()).expect("it is whole");
    import_as(&store, "m", &source, "none");
    for layer in read(&store, "m").manifest.layers {
        let path = store.blob_path(&layer.digest);
        fs::remove_file(&path).expect("the store is ours");
        fs::write(&path, vec![1; usize::try_from(layer.size).expect("it is small")]).expect("the store is ours");
    }
    let outcome = repair(&store, source, &RepairOptions::default(), &Silent).expect("it can be tried");
    assert!(outcome.left.is_empty(), "{:?}", outcome.left);
    assert_eq!(outcome.repaired.len(), 10, "six tensors, three headers and config.json");
    is_clean(&store);
}

#[test]
fn files_share_the_tensors_that_they_have_in_common() {
    let (dir, place) = (one(), Dir::new());
    let mut more = metadata();
    more.push("general.name", "another").expect("it is new");
    dir.file("y.gguf", bytes(layout(more, &TENSORS)));
    let store = store(&place);
    let first = import_as(&store, "x", &open(&dir.join("x.gguf")).expect("it is whole"), "none");
    let second = import_as(&store, "y", &open(&dir.join("y.gguf")).expect("it is whole"), "none");
    assert!(second.reused_bytes > 0 && second.new_bytes < first.new_bytes);
    let tensors = |model: &str| -> Vec<Digest> {
        read(&store, model).manifest.layers.iter().filter(|layer| layer.is_tensor()).map(|layer| layer.digest).collect()
    };
    assert_eq!(tensors("x"), tensors("y"));
}

#[test]
fn values_are_not_changed() {
    let dir = one();
    let source = open(&dir.join("x.gguf")).expect("it is whole");
    for options in [options("int4", "default"), options("nvfp4", "uniform")] {
        let error = Plan::new(source.clone(), &options).expect_err("they are quantized otherwise");
        assert!(matches!(error, PlanError::RequantizeBlocks { .. }) && error.hint().is_some(), "{error}");
    }
    let options = PlanOptions { floats: true, requantize: true, ..PlanOptions::default() };
    let error = Plan::new(source.clone(), &options).expect_err("blocks are not stored as floats");
    assert!(matches!(error, PlanError::Gguf { .. }) && error.hint().is_some(), "{error}");
    assert!(matches!(source.clone().with_draft(source), Err(SourceError::Draft { .. })));
}

#[test]
fn other_formats_have_no_place_for_it_and_it_has_none_for_others() {
    let (dir, place) = (one(), Dir::new());
    let store = store(&place);
    import_as(&store, "m", &open(&dir.join("x.gguf")).expect("it is whole"), "none");
    for dequantize in [None, Some(FloatType::BF16)] {
        let options = ExportOptions { format: ExportFormat::Hf, dequantize, ..ExportOptions::default() };
        let error = try_export(&store, "m", &place.join("out"), &options).expect_err("it came from no checkpoint");
        assert!(matches!(error, ExportError::FromGguf { .. }), "{error}");
    }
    let options = ExportOptions { format: ExportFormat::Mlx, ..ExportOptions::default() };
    let error = try_export(&store, "m", &place.join("out"), &options).expect_err("MLX has no such blocks");
    assert!(matches!(error, ExportError::MlxTensor { .. }), "{error}");
    import_as(&store, "floats", &Dir::model(&[("a.weight", &[2])]).open().expect("it is a model"), "none");
    let error = try_export(&store, "floats", &place.join("out"), &gguf()).expect_err("it came from safetensors");
    assert!(matches!(error, ExportError::GgufMetadata { .. } | ExportError::NotFromGguf { .. }), "{error}");
    assert!(!place.join("out").exists());
}

#[test]
fn companions_beside_a_file_come_back_with_it() {
    let dir = one();
    dir.file("LICENSE", "free");
    // Published beside the file; the file's own keys are what counts.
    dir.file("config.json", r#"{"architectures":["LlamaForCausalLM"],"num_hidden_layers":99}"#);
    let found = there_and_back(dir.path());
    assert_eq!(found.keys().collect::<Vec<_>>(), ["LICENSE", "config.json", "model.gguf"]);
    dir.file("z.gguf", bytes(layout(metadata(), &TENSORS[..1])));
    let error = dir.open().expect_err("two models lie there");
    assert!(matches!(error, SourceError::Ambiguous { .. }), "{error}");
}

fn of_kind(kind: &str) -> Result<Source, SourceError> {
    let mut metadata = metadata();
    metadata.push("general.type", kind).expect("it is new");
    let dir = Dir::new();
    dir.file("x.gguf", bytes(layout(metadata, &TENSORS)));
    open(&dir.join("x.gguf"))
}

#[test]
fn adapters_are_refused_and_projectors_are_told() {
    let error = of_kind("adapter").expect_err("it changes another model");
    assert!(matches!(error, SourceError::Adapter { .. }) && error.hint().is_some(), "{error}");
    let source = of_kind("mmproj").expect("it is whole");
    let plan = Plan::new(source, &PlanOptions::default()).expect("it can be stored");
    assert!(plan.notes.iter().any(|note| note.contains("mmproj")), "{:?}", plan.notes);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn a_model_of_ollama_is_read_from_its_blob() {
    let file = bytes(layout(metadata(), &TENSORS));
    let dir = Dir::new();
    let put = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes);
        dir.file(&format!("blobs/{}", digest.file_name()), bytes);
        Descriptor { media_type: kind.into(), digest, size: bytes.len() as u64, name: None }
    };
    let layers = vec![put(media_type::GGUF, &file), put("application/vnd.ollama.image.params", b"{}")];
    let blob = dir.join(&format!("blobs/{}", layers[0].digest.file_name()));
    let config = put(media_type::CONFIG, br#"{"model_format":"gguf"}"#);
    let path = "manifests/registry.ollama.ai/library/m/latest";
    dir.file(path, Manifest::new(config, layers).to_bytes());
    let warnings = open(&dir.join(path)).expect("it is read").warnings;
    assert!(warnings.iter().any(|warning| warning.contains("params")), "params are left out: {warnings:?}");
    assert_eq!(there_and_back(&dir.join(path))["model.gguf"], file);

    // The blob is checked against the digest in its name.
    let source = open(&dir.join(path)).expect("its header is whole");
    let mut other = file;
    let last = other.len() - 40;
    other[last] ^= 1;
    fs::write(blob, other).expect("the directory is ours");
    let place = Dir::new();
    let plan = Plan::new(source, &PlanOptions::default()).expect("it can be stored");
    let import = longshore_packer::ImportOptions::default();
    let error = plan.import(&store(&place), &"m".parse().expect("it is a name"), &import, &Silent);
    assert!(error.is_err_and(|error| chain(&error).contains("is damaged")));
    is_clean(&store(&place));
}

#[test]
fn cut_files_are_refused_and_nothing_is_stored() {
    let dir = one();
    let whole = fs::read(dir.join("x.gguf")).expect("it is ours");
    let last_padding =
        whole.len() - usize::try_from(layout(metadata(), &TENSORS).parsed().data_start()).expect("small");
    let mut accepted = 0;
    for len in 0..whole.len() {
        dir.file("cut.gguf", &whole[..len]);
        match open(&dir.join("cut.gguf")) {
            Err(SourceError::Gguf { .. }) => {}
            Ok(_) if last_padding < whole.len() => accepted += 1,
            other => panic!("{len}: {other:?}"),
        }
    }
    // The file without its last padding is a file, too.
    assert!(accepted <= 1, "{accepted}");

    // A file that changes after its header was read is found out.
    let source = open(&dir.join("x.gguf")).expect("it is whole");
    let plan = Plan::new(source, &PlanOptions::default()).expect("it can be stored");
    fs::write(dir.join("x.gguf"), &whole[..whole.len() - 100]).expect("the directory is ours");
    let place = Dir::new();
    let import = longshore_packer::ImportOptions::default();
    assert!(plan.import(&store(&place), &"m".parse().expect("it is a name"), &import, &Silent).is_err());
    assert!(store(&place).names().expect("it can be listed").is_empty());
    is_clean(&store(&place));
}

#[test]
fn hostile_files_are_refused_by_name() {
    let whole = bytes(layout(metadata(), &TENSORS));
    let dir = Dir::new();
    let at = |part: &[u8]| whole.windows(part.len()).position(|window| window == part).expect("it is there");
    // Behind the name of the first tensor: its rank, its two extents, its type.
    let kind = at(b"token_embd.weight") + "token_embd.weight".len() + 4 + 16;
    let refuse = |edit: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let mut bytes = whole.clone();
        edit(&mut bytes);
        dir.file("x.gguf", bytes);
        let error = open(&dir.join("x.gguf")).expect_err(expected);
        assert!(chain(&error).contains(expected) && chain(&error).contains("x.gguf"), "{}", chain(&error));
    };
    refuse(&|bytes| bytes[kind] = 99, "unknown ggml type 99");
    refuse(&|bytes| bytes[kind] = 4, "ggml type 4");
    refuse(&|bytes| bytes[kind + 4] = 32, "offset");
    refuse(&|bytes| bytes[kind - 16] = 63, "a row has 63 elements");
    refuse(&|bytes| bytes[4] = 1, "version");
    refuse(&|bytes| bytes[8..16].fill(0xFF), "tensors");
    refuse(&|bytes| bytes.extend([0; 64]), "bytes");
    refuse(&|bytes| bytes[0] = b'g', "GGUF");
    let empty = Dir::new();
    empty.file("x.gguf", bytes(layout(metadata(), &[])));
    assert!(matches!(open(&empty.join("x.gguf")), Err(SourceError::NoTensors { .. })));
}

#[test]
fn sets_that_are_not_whole_are_refused() {
    let dir = Dir::new();
    let names = split(&dir);
    fs::remove_file(dir.join(&names[1])).expect("the directory is ours");
    for path in [dir.path().to_owned(), dir.join(&names[2])] {
        let error = open(&path).expect_err("a file is missing");
        assert!(chain(&error).contains(&names[1]), "{}", chain(&error));
        assert!(error.hint().is_some_and(|hint| hint.contains(&names[1])));
    }
    fs::rename(dir.join(&names[0]), dir.join("alone.gguf")).expect("the directory is ours");
    let error = open(&dir.join("alone.gguf")).expect_err("its keys say another name");
    assert!(error.hint().is_some(), "{}", chain(&error));
}

#[test]
fn stored_headers_that_do_not_fit_are_refused() {
    let (dir, place) = (one(), Dir::new());
    let store = store(&place);
    import_as(&store, "m", &open(&dir.join("x.gguf")).expect("it is whole"), "none");
    let model = read(&store, "m");
    let header = model.manifest.files().find(|(name, _)| name.as_str().starts_with("gguf/"));
    let (_, layer) = header.expect("there is a header");
    let path = store.blob_path(&layer.digest);
    let whole = fs::read(&path).expect("it is there");
    for edit in [b"token_embd" as &[u8], b"GGUF"] {
        let at = whole.windows(edit.len()).position(|window| window == edit).expect("it is there");
        let mut bytes = whole.clone();
        bytes[at] = b'x';
        fs::remove_file(&path).expect("the store is ours");
        fs::write(&path, bytes).expect("the store is ours");
        let error = try_export(&store, "m", &place.join("out"), &gguf()).expect_err("it was damaged");
        assert!(matches!(error, ExportError::GgufHeader { .. } | ExportError::Restore { .. }), "{error}");
        assert!(!place.join("out").exists());
    }
}

/// Every GGUF file beside the repository, each opened by its own name.
#[test]
fn published_files_come_back() {
    let shared = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/gguf"));
    let Ok(entries) = fs::read_dir(&shared) else { return };
    let mut seen = 0;
    for path in entries.map(|entry| entry.expect("it can be listed").path()) {
        if path.extension().is_none_or(|end| end != "gguf") {
            continue;
        }
        let set = SplitSet::open(&path, &longshore_gguf::Limits::default()).expect("it is whole");
        let found = there_and_back(&path);
        let expected: Vec<_> =
            set.members().iter().map(|member| fs::read(&member.path).expect("it is there")).collect();
        assert!(found.into_values().eq(expected), "{}", path.display());
        seen += 1;
    }
    assert!(seen > 0, "{} holds GGUF files", shared.display());
}

/// The tensors of a file: names, types and shapes.
fn tensors() -> impl Strategy<Value = Vec<(String, GgmlType, Vec<u64>)>> {
    let kind = prop::sample::select(GgmlType::ALL);
    let rows = prop::collection::vec(prop_oneof![5 => 1..4_u64, 1 => Just(0)], 0..3);
    let tensor =
        ("[a-z]{1,6}(\\.[a-z0-9 ]{1,6}){0,3}", kind, rows, 1..3_u64).prop_map(|(name, kind, mut shape, blocks)| {
            shape.push(blocks * kind.block_size());
            (name, kind, shape)
        });
    prop::collection::vec(tensor, 1..8).prop_map(|tensors| {
        let unique: BTreeMap<_, _> = tensors.into_iter().map(|(name, kind, shape)| (name, (kind, shape))).collect();
        unique.into_iter().rev().map(|(name, (kind, shape))| (name, kind, shape)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn generated_files_come_back(tensors in tensors(), power in 0..9_u32, is_padded: bool) {
        let mut metadata = metadata();
        metadata.push("general.alignment", 1_u32 << power).expect("it is new");
        let tensors: Vec<_> = tensors.iter().map(|(name, kind, shape)| (name.as_str(), *kind, shape.as_slice())).collect();
        let layout = layout(metadata, &tensors);
        let last = layout.parsed().iter().last().expect("there is one").file_range().end;
        let mut whole = bytes(layout);
        if !is_padded {
            whole.truncate(usize::try_from(last).expect("it is small"));
        }
        let dir = Dir::new();
        dir.file("x.gguf", &whole);
        prop_assert_eq!(&there_and_back(&dir.join("x.gguf"))["model.gguf"], &whole);
    }
}

#[test]
fn block_types_have_names_of_their_own() {
    for known in GgmlType::ALL.iter().filter(|known| known.block_size() > 1) {
        let blocks = GgmlBlocks::of_ggml(known.name()).expect("every block type can be stored");
        let scheme = longshore_quant::Scheme::from_metadata(blocks.quant_type, blocks.elements);
        assert!(scheme.is_err(), "{known}: a loader would take its blocks for codes of {scheme:?}");
    }
}
