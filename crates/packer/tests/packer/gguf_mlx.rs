//! Blocks of GGUF files in schemes of MLX: taken over without loss, or quantized again.

use std::{collections::BTreeMap, fs};

use longshore_gguf::{Dims, GgmlType, Layout, Metadata, Writer};
use longshore_manifest::{
    Silent, Store,
    weights::{OpenOptions, Weights},
};
use longshore_packer::{ImportError, Plan, PlanError, PlanOptions, RepairOptions, Source, TakeOver, repair};
use longshore_quant::ggml::{self, Mapping};
use longshore_st_format::Dtype;

use crate::{
    stores::{is_clean, read, store, threads, try_import},
    support::{Dir, chain, open, options},
};

/// The types with blocks, two axes of a tensor of each.
const ROWS: u64 = 3;
const COLUMNS: u64 = 512;

pub(crate) fn types() -> impl Iterator<Item = GgmlType> {
    GgmlType::ALL.iter().copied().filter(|known| known.block_size() > 1)
}

pub(crate) fn name_of(ggml_type: GgmlType) -> String {
    format!("blk.0.{}.weight", ggml_type.name().to_lowercase())
}

/// The type as the crate of the codecs has it.
pub(crate) fn quant(known: GgmlType) -> ggml::GgmlType {
    known.name().parse().expect("both crates name them alike")
}

/// Random bytes, in which every block has scales that all schemes hold.
fn blocks(ggml_type: GgmlType, count: usize) -> Vec<u8> {
    let block_bytes = quant(ggml_type).block_bytes();
    let mut state = 0x9E37_79B9_u32 ^ ggml_type.id();
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_le_bytes()[2]
    };
    let mut bytes: Vec<u8> = (0..count * block_bytes).map(|_| random()).collect();
    for block in bytes.chunks_exact_mut(block_bytes) {
        let places: &[usize] = match ggml_type {
            GgmlType::MXFP4 => {
                block[0] = 100 + block[0] % 32;
                &[]
            }
            GgmlType::NVFP4 => {
                block[..4].iter_mut().for_each(|scale| *scale = *scale & 0x3F | 0x20);
                &[]
            }
            GgmlType::IQ1M => {
                block[48..56].iter_mut().for_each(|byte| *byte &= 0x2F);
                &[]
            }
            GgmlType::Q2K => &[80, 82],
            GgmlType::Q3K => &[108],
            GgmlType::Q6K => &[208],
            GgmlType::TQ1_0 => &[52],
            GgmlType::TQ2_0 => &[64],
            GgmlType::Q8K => {
                block[..4].copy_from_slice(&0.5_f32.to_le_bytes());
                &[]
            }
            GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q8_1 | GgmlType::Q4K | GgmlType::Q5K => &[0, 2],
            _ => &[0],
        };
        for at in places {
            // F16 numbers from 2^-12 to 2^-8, of either sign.
            block[at + 1] = block[at + 1] & 0x8F | 0x10;
        }
    }
    bytes
}

/// Writes a file with these tensors: name, type, shape, bytes.
pub(crate) fn write(dir: &Dir, tensors: &[(String, GgmlType, Vec<u64>, Vec<u8>)]) {
    let mut metadata = Metadata::new();
    metadata.push("general.architecture", "unheard-of").expect("it is new");
    let planned = tensors
        .iter()
        .map(|(name, kind, shape, _)| (name.as_str(), *kind, Dims::from_shape(shape).expect("it is small")));
    let layout = Layout::new(metadata, planned).expect("tests name tensors once");
    let mut writer = Writer::new(Vec::new(), layout).expect("a Vec takes it");
    for (.., bytes) in tensors {
        writer.write(bytes).expect("it is planned");
    }
    dir.file("x.gguf", writer.finish().expect("everything was written"));
}

pub(crate) fn tensor(name: &str, kind: GgmlType, shape: &[u64]) -> (String, GgmlType, Vec<u64>, Vec<u8>) {
    let elements = usize::try_from(shape.iter().product::<u64>()).expect("it is small");
    let bytes = match kind {
        GgmlType::F32 => (0..elements)
            .flat_map(|at| (1.0 + f32::from(u8::try_from(at % 251).expect("it is below 251")) / 64.0).to_le_bytes())
            .collect(),
        _ => blocks(kind, elements / quant(kind).block_size()),
    };
    (name.to_owned(), kind, shape.to_vec(), bytes)
}

/// A file with a tensor of every type of blocks, and a norm.
fn every() -> Dir {
    let dir = Dir::new();
    let mut tensors: Vec<_> = types().map(|known| tensor(&name_of(known), known, &[ROWS, COLUMNS])).collect();
    tensors.push(tensor("blk.0.attn_norm.weight", GgmlType::F32, &[COLUMNS]));
    tensors.push(tensor("blk.0.nvfp4.scale", GgmlType::F32, &[1]));
    write(&dir, &tensors);
    dir
}

pub(crate) fn source(dir: &Dir) -> Source {
    open(&dir.join("x.gguf")).unwrap_or_else(|error| panic!("{}", chain(&error)))
}

pub(crate) fn mlx() -> PlanOptions {
    PlanOptions { take_over: TakeOver::Every, ..PlanOptions::default() }
}

pub(crate) fn import(store: &Store, model: &str, source: &Source, options: &PlanOptions) -> Plan {
    let plan = Plan::new(source.clone(), options).unwrap_or_else(|error| panic!("{}", chain(&error)));
    try_import(store, model, &plan, &threads(2)).unwrap_or_else(|error| panic!("{}", chain(&error)));
    plan
}

/// Every tensor of a model decoded to F32, by name.
fn values(store: &Store, model: &str) -> BTreeMap<String, Vec<f32>> {
    let options = OpenOptions { decode: true, dtype: Some(Dtype::F32), ..OpenOptions::default() };
    let weights = Weights::open(store, &read(store, model), &options).expect("every type is decoded");
    let values = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
    weights.iter().map(|tensor| (tensor.name().to_owned(), values(tensor.weight().data))).collect()
}

/// Compares bit for bit, but for the sign of zeros.
fn assert_equal(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        let same = a.to_bits() == b.to_bits() || *a == 0.0 && *b == 0.0;
        assert!(same, "{what}, element {i}: {a:e}, expected {b:e}");
    }
}

#[test]
fn every_type_is_decoded_on_the_host() {
    let (dir, place) = (every(), Dir::new());
    let store = store(&place);
    import(&store, "raw", &source(&dir), &PlanOptions::default());
    let found = values(&store, "raw");
    for known in types() {
        let count = usize::try_from(ROWS * COLUMNS).expect("it is small");
        let mut expected = vec![0.0; count];
        let decoded = quant(known);
        ggml::decode(decoded, &blocks(known, count / decoded.block_size()), &mut expected).expect("whole blocks");
        let found = &found[&name_of(known)];
        let same = found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan());
        assert!(same, "{known}");
    }
}

#[test]
fn values_are_taken_over_without_loss() {
    let (dir, place) = (every(), Dir::new());
    let store = store(&place);
    let source = source(&dir);
    import(&store, "raw", &source, &PlanOptions::default());
    let plan = import(&store, "mlx", &source, &mlx());
    is_clean(&store);
    let (raw, found) = (values(&store, "raw"), values(&store, "mlx"));
    assert!(!found.contains_key("blk.0.nvfp4.scale"), "it is a part of its tensor");
    let model = read(&store, "mlx");
    let table = model.config.longshore.as_deref().expect("this program wrote it");
    assert_eq!(table.import.quantize.as_deref(), Some("mlx"));
    for (_, entry) in table.tensors() {
        let Some(known) = types().find(|known| name_of(*known) == entry.name) else { continue };
        let coding = entry.quantization.as_ref().expect("it has blocks");
        let mapping = Mapping::of(quant(known));
        assert_eq!(coding.quant_type.starts_with("int") || entry.name.contains("fp4"), mapping.is_some(), "{known}");
        if let Some(mapping) = mapping {
            let scheme = (mapping.scheme().quant_type(), mapping.scheme().group_size());
            assert_eq!((coding.quant_type.as_str(), coding.group_size), scheme, "{known}");
            assert_eq!(entry.dtype.name(), mapping.float().name(), "{known}");
        }
        if known == GgmlType::NVFP4 {
            assert!(entry.parts.len() == 3, "its scale is there");
            let scale = 1.0;
            let scaled: Vec<f32> = raw[&entry.name].iter().map(|value| value * scale).collect();
            assert_equal(&entry.name, &found[&entry.name], &scaled);
        } else {
            assert_equal(&entry.name, &found[&entry.name], &raw[&entry.name]);
        }
    }
    let rule = |known: GgmlType| {
        let tensors = plan.blobs.iter().flat_map(|blob| &blob.tensors);
        let mut tensors = tensors.filter(|tensor| tensor.name == name_of(known));
        tensors.next().expect("it is planned").rule.to_string()
    };
    assert_eq!(rule(GgmlType::Q4_0), "Q4_0: taken over without loss");
    assert_eq!(rule(GgmlType::Q6K), "Q6_K: kept, MLX has no groups of 16");
    assert_eq!(rule(GgmlType::IQ2XS), "IQ2_XS: kept, MLX has no codebooks");
    let says =
        |note: &String| note.contains("13 tensors are taken over") && note.contains("needs --type for 5 of them");
    assert!(plan.notes.iter().any(says), "{:?}", plan.notes);

    // A copy from this store to another has the same tensors.
    let stored = open(&store.manifest_path(&"mlx".parse().expect("it is a name"))).expect("it was stored");
    let other = Store::open(place.join("other")).expect("the directory is ours");
    import(&other, "mlx", &stored, &PlanOptions::default());
    assert_eq!(read(&other, "mlx").manifest.layers, read(&store, "mlx").manifest.layers);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let (dir, place) = (every(), Dir::new());
    let source = source(&dir);
    let requantize = PlanOptions { requantize: true, ..options("int4", "uniform") };
    for (number, options) in [mlx(), requantize].iter().enumerate() {
        let plan = Plan::new(source.clone(), options).expect("it can be planned");
        let layers = [1, 3].map(|count| {
            let store = Store::open(place.join(&format!("{number}-{count}"))).expect("the directory is ours");
            try_import(&store, "m", &plan, &threads(count)).unwrap_or_else(|error| panic!("{}", chain(&error)));
            read(&store, "m").manifest.layers
        });
        assert_eq!(layers[0], layers[1]);
    }
}

#[test]
fn a_type_takes_over_its_own_and_refuses_others_by_name() {
    let dir = Dir::new();
    let shape = [ROWS, COLUMNS];
    let taken = [tensor("a.weight", GgmlType::Q4_0, &shape), tensor("b.weight", GgmlType::Q4K, &shape)];
    let norm = tensor("n.weight", GgmlType::F32, &[COLUMNS]);
    let others = [tensor("c.weight", GgmlType::Q6K, &shape), tensor("d.weight", GgmlType::Q8_0, &shape)];
    write(&dir, &[&taken[..], &others[..], &[norm]].concat());
    let source = source(&dir);
    let error = Plan::new(source.clone(), &options("int4", "uniform")).expect_err("two are of other types");
    let PlanError::RequantizeBlocks { tensors, .. } = &error else { panic!("{error}") };
    assert_eq!(tensors, &["c.weight (Q6_K)", "d.weight (Q8_0)"]);
    assert!(error.to_string().contains("c.weight (Q6_K), d.weight (Q8_0)"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--requantize")));

    let again = PlanOptions { requantize: true, ..options("int4", "uniform") };
    let codings = |options: &PlanOptions| -> Vec<Option<String>> {
        let plan = Plan::new(source.clone(), options).unwrap_or_else(|error| panic!("{}", chain(&error)));
        plan.blobs.iter().flat_map(|blob| &blob.tensors).map(longshore_packer::PlannedTensor::coding_name).collect()
    };
    let all = |names: [&str; 4]| -> Vec<Option<String>> {
        names.map(|name| Some(name.to_owned())).into_iter().chain([None]).collect()
    };
    assert_eq!(codings(&again), all(["int4-g32", "int4-g32", "int4", "int4"]));
    // A group that is named is the group of all.
    let named = PlanOptions { take_over: TakeOver::Scheme, ..again.clone() };
    assert_eq!(codings(&named), all(["int4", "int4", "int4", "int4"]));

    let place = Dir::new();
    let store = store(&place);
    import(&store, "raw", &source, &PlanOptions::default());
    import(&store, "again", &source, &again);
    import(&store, "named", &source, &named);
    is_clean(&store);
    let record = |model: &str| read(&store, model).config.longshore.and_then(|table| table.import.quantize.clone());
    assert_eq!((record("again").as_deref(), record("named").as_deref()), (Some("int4"), Some("int4-g64")));
    let (raw, found) = (values(&store, "raw"), values(&store, "again"));
    assert_equal("a", &found["a.weight"], &raw["a.weight"]);
    assert_equal("b", &found["b.weight"], &raw["b.weight"]);
    for name in ["c.weight", "d.weight"] {
        let (mut error, mut total) = (0.0, 0.0);
        for (a, b) in found[name].iter().zip(&raw[name]) {
            error += f64::from(a - b).powi(2);
            total += f64::from(*b).powi(2);
        }
        assert!(error > 0.0 && error < 0.03 * total, "{name} is quantized again: {error} of {total}");
    }

    // Damaged blobs are built again with the options that the record and the table tell.
    for model in ["again", "named"] {
        for layer in read(&store, model).manifest.layers {
            let path = store.blob_path(&layer.digest);
            fs::remove_file(&path).expect("the store is ours");
            fs::write(&path, vec![1; usize::try_from(layer.size).expect("it is small")]).expect("the store is ours");
        }
    }
    let outcome = repair(&store, source, &RepairOptions::default(), &Silent).expect("it can be tried");
    assert!(outcome.left.is_empty(), "{:?}", outcome.left);
    is_clean(&store);
}

#[test]
fn damaged_blobs_that_were_taken_over_are_built_again() {
    let (dir, place) = (every(), Dir::new());
    let store = store(&place);
    let source = source(&dir);
    import(&store, "m", &source, &mlx());
    for layer in read(&store, "m").manifest.layers {
        let path = store.blob_path(&layer.digest);
        fs::remove_file(&path).expect("the store is ours");
        fs::write(&path, vec![1; usize::try_from(layer.size).expect("it is small")]).expect("the store is ours");
    }
    let outcome = repair(&store, source, &RepairOptions::default(), &Silent).expect("it can be tried");
    assert!(outcome.left.is_empty(), "{:?}", outcome.left);
    is_clean(&store);
}

#[test]
fn scales_beyond_the_range_are_refused_by_name() {
    let (dir, place) = (Dir::new(), Dir::new());
    let mut large = tensor("a.weight", GgmlType::Q4_0, &[ROWS, COLUMNS]);
    // The last block's bias, −8 × 16384, is no F16.
    let last = large.3.len() - 18;
    large.3[last..last + 2].copy_from_slice(&0x7400_u16.to_le_bytes());
    write(&dir, &[large]);
    let store = store(&place);
    let plan = Plan::new(source(&dir), &mlx()).expect("planning reads no weights");
    let error = try_import(&store, "m", &plan, &threads(1)).expect_err("the bias overflows");
    assert!(matches!(&error, ImportError::TakeOver { tensor, .. } if tensor == "a.weight"), "{error}");
    assert!(chain(&error).contains("-1.31072e5"), "{}", chain(&error));
}

#[test]
fn experts_keep_a_global_scale_each() {
    let (dir, place) = (Dir::new(), Dir::new());
    let experts = tensor("blk.0.ffn_up_exps.weight", GgmlType::NVFP4, &[2, 3, 64]);
    let scale = tensor("blk.0.ffn_up_exps.scale", GgmlType::F32, &[2]);
    write(&dir, &[experts, scale]);
    let store = store(&place);
    let source = source(&dir);
    import(&store, "raw", &source, &PlanOptions::default());
    import(&store, "mlx", &source, &mlx());
    let (raw, found) = (values(&store, "raw"), values(&store, "mlx"));
    let (name, scales) = ("blk.0.ffn_up_exps.weight", &raw["blk.0.ffn_up_exps.scale"]);
    for (expert, scale) in scales.iter().enumerate() {
        let part = expert * 192..(expert + 1) * 192;
        let expected: Vec<f32> = raw[name][part.clone()].iter().map(|value| value * scale).collect();
        for (a, b) in found[name][part].iter().zip(&expected) {
            assert!((a - b).abs() <= b.abs() * 1e-6, "expert {expert}: {a}, expected {b}");
        }
    }
}

#[test]
fn other_sources_have_no_blocks() {
    let model = Dir::model(&[("a.weight", &[64, 64])]);
    let error = Plan::new(model.open().expect("it is a model"), &mlx()).expect_err("it is no GGUF file");
    assert!(matches!(error, PlanError::NotGguf) && error.hint().is_some(), "{error}");
}
