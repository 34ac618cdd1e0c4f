//! Rotations of the residual stream, as an import makes them.

use std::{collections::BTreeSet, num::NonZero};

use longshore_manifest::{Silent, Store, document::Descriptor};
use longshore_packer::{
    ExportOptions, ImportError, ImportOptions, Plan, PlanError, PlanOptions, RepairOptions, export, repair,
};
use longshore_quant::FloatType;
use longshore_st_format::{Dtype, open};
use longshore_transform::rotation::Rotation;

use crate::{
    stores::{dequantize, export_to, name, read, store, threads, try_import},
    support::{Dir, chain, options},
};

const SIZE: u64 = 128;
const LAYER: &str = "model.layers.0";

/// Numbers from -1 to 1 that follow from a seed.
pub(crate) fn numbers(count: u64, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u16::try_from(state >> 16).expect("sixteen bits")) / 32_768.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A layer of Mixtral whose experts are `width` wide, with an embedding that is the head, too, and `others`.
pub(crate) fn model(width: u64, others: &[(&str, &[u64])]) -> Dir {
    let config = format!(
        r#"{{"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": {SIZE},
            "tie_word_embeddings": true, "num_hidden_layers": 1}}"#
    );
    let dir = Dir::new();
    dir.file("config.json", config);
    let in_layer = |rest: &str| format!("{LAYER}.{rest}");
    let expert = |number: u64, part: &str| in_layer(&format!("block_sparse_moe.experts.{number}.{part}.weight"));
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![24, SIZE]),
        ("model.norm.weight".to_owned(), vec![SIZE]),
        (in_layer("input_layernorm.weight"), vec![SIZE]),
        (in_layer("post_attention_layernorm.weight"), vec![SIZE]),
        (in_layer("self_attn.q_proj.weight"), vec![64, SIZE]),
        (in_layer("self_attn.o_proj.weight"), vec![SIZE, 64]),
        (in_layer("block_sparse_moe.gate.weight"), vec![2, SIZE]),
    ];
    for number in [0, 1] {
        shapes.push((expert(number, "w1"), vec![32, SIZE]));
        shapes.push((expert(number, "w2"), vec![SIZE, width]));
        shapes.push((expert(number, "w3"), vec![32, SIZE]));
    }
    shapes.extend(others.iter().map(|(name, shape)| (in_layer(name), shape.to_vec())));
    let values: Vec<Vec<u8>> = (1..)
        .zip(&shapes)
        .map(|(seed, (_, shape))| {
            numbers(shape.iter().product(), seed).into_iter().flat_map(f32::to_le_bytes).collect()
        })
        .collect();
    let list: Vec<_> =
        shapes.iter().zip(&values).map(|((name, shape), bytes)| (&**name, Dtype::F32, &**shape, &**bytes)).collect();
    dir.bytes("model.safetensors", &list);
    dir
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(4).map(|bytes| f64::from(f32::from_le_bytes(bytes.try_into().expect("four bytes")))).collect()
}

fn tensor(dir: &Dir, below: &str, name: &str) -> Vec<f64> {
    let file = open(dir.join(below)).expect("it is a weight file");
    floats(file.tensor(name).unwrap_or_else(|| panic!("{name} is there")).data)
}

pub(crate) fn rotate(dir: &Dir, options: &PlanOptions) -> Result<Plan, PlanError> {
    Plan::new(dir.open().expect("it is a model").rotated(9).expect("it can be rotated"), options)
}

pub(crate) fn import(store: &Store, model: &str, plan: &Plan, count: usize) -> longshore_manifest::Digest {
    let options = ImportOptions { threads: NonZero::new(count), ..ImportOptions::default() };
    try_import(store, model, plan, &options).unwrap_or_else(|error| panic!("{model}: {}", chain(&error))).digest
}

#[test]
fn weights_are_turned_and_gains_folded() {
    // So wide that the columns are rotated in several parts.
    const WIDTH: u64 = 20_000;
    let (dir, target) = (model(WIDTH, &[]), Dir::new());
    let store = store(&target);
    let plan = rotate(&dir, &PlanOptions::default()).expect("all tensors are known");
    assert_eq!(import(&store, "m", &plan, 1), import(&store, "m", &plan, 3));
    export(&store, &read(&store, "m"), &target.join("out"), &ExportOptions::default(), &Silent)
        .expect("it is of floats");
    let rotation = Rotation::new(128, 9).expect("it is known");
    let before = |name: &str| tensor(&dir, "model.safetensors", name);
    let found = |name: &str| tensor(&target, "out/model.safetensors", name);
    let near = |name: &str, expected: &[f64]| {
        let found = found(name);
        assert_eq!(found.len(), expected.len(), "{name}");
        let most = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(off <= 1e-7 * most, "{name}: {off}");
    };
    let mut spare = Vec::new();
    for (of, name, norm) in [
        ("model.embed_tokens.weight", "model.embed_tokens.weight", None),
        ("model.embed_tokens.weight", "lm_head.weight", Some("model.norm.weight")),
        ("self_attn.q_proj.weight", "", Some("input_layernorm.weight")),
        ("block_sparse_moe.gate.weight", "", Some("post_attention_layernorm.weight")),
        ("block_sparse_moe.experts.1.w1.weight", "", Some("post_attention_layernorm.weight")),
        ("block_sparse_moe.experts.0.w3.weight", "", Some("post_attention_layernorm.weight")),
    ] {
        let whole = |rest: &str| if rest.starts_with("model.") { rest.to_owned() } else { format!("{LAYER}.{rest}") };
        let mut rows = before(&whole(of));
        let gains = norm.map_or_else(|| vec![1.0; 128], |norm| before(&whole(norm)));
        for row in rows.chunks_exact_mut(128) {
            row.iter_mut().zip(&gains).for_each(|(value, gain)| *value *= gain);
            rotation.apply(row, &mut spare);
        }
        near(&if name.is_empty() { whole(of) } else { name.to_owned() }, &rows);
        if let Some(norm) = norm {
            assert!(found(&whole(norm)).iter().all(|gain| (gain - 1.0).abs() < f64::EPSILON), "{norm}");
        }
    }
    for rest in ["self_attn.o_proj", "block_sparse_moe.experts.0.w2", "block_sparse_moe.experts.1.w2"] {
        let name = format!("{LAYER}.{rest}.weight");
        let mut values = before(&name);
        let columns = values.len() / 128;
        for column in 0..columns {
            let mut line: Vec<f64> = values[column..].iter().step_by(columns).copied().collect();
            rotation.apply(&mut line, &mut spare);
            values[column..].iter_mut().step_by(columns).zip(line).for_each(|(value, rotated)| *value = rotated);
        }
        near(&name, &values);
    }
    let stored = read(&store, "m").config;
    let rotated = stored.changes.and_then(|changes| changes.rotation).expect("it is recorded");
    assert_eq!((rotated.seed, rotated.order * rotated.power), (9, 128));
    let config = std::fs::read_to_string(target.join("out/config.json")).expect("it is exported");
    assert!(config.contains(r#""tie_word_embeddings": false"#), "{config}");
}

/// Columns of codes are rotated in stripes, for each of which the codes of its matrix alone are read again.
#[test]
fn columns_of_codes_are_those_of_their_values() {
    let (dir, target) = (model(20_000, &[]), Dir::new());
    let store = store(&target);
    let int8 = options("int8-g32", "uniform");
    import(&store, "int8", &Plan::new(dir.open().expect("it is a model"), &int8).expect("it fits"), 2);
    export_to(&store, "int8", &target.join("values"), &dequantize(FloatType::F32));
    let int4 = PlanOptions { requantize: true, ..options("int4-g32", "uniform") };
    let blobs = |model: &str, path: &std::path::Path, count| {
        let source = crate::support::open(path).expect("it is a model").rotated(9).expect("it can be rotated");
        import(&store, model, &Plan::new(source, &int4).expect("it fits"), count);
        let layers = read(&store, model).manifest.layers;
        layers.into_iter().filter(Descriptor::is_tensor).map(|layer| layer.digest).collect::<Vec<_>>()
    };
    let of_codes = blobs("of-codes", &store.manifest_path(&name("int8")), 3);
    assert_eq!(of_codes, blobs("of-values", &target.join("values"), 1));
}

#[test]
fn values_that_are_not_finite_are_named_with_their_file() {
    let (dir, target) = (model(64, &[]), Dir::new());
    let store = store(&target);
    let mut bytes = std::fs::read(dir.join("model.safetensors")).expect("it is there");
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    dir.file("model.safetensors", bytes);
    let plan = rotate(&dir, &PlanOptions::default()).expect("it fits");
    for allow_non_finite in [false, true] {
        let options = ImportOptions { allow_non_finite, ..threads(1) };
        let error = try_import(&store, "m", &plan, &options).expect_err("a NaN would be spread");
        // The last number is a gain, which the head takes over.
        assert!(
            matches!(&error, ImportError::RotatedNonFinite { count: 1, tensor, .. } if tensor == "model.norm.weight")
        );
        assert!(error.to_string().contains(&dir.join("model.safetensors").display().to_string()), "{error}");
    }
}

/// Codes are chosen for values that were not rounded: those of a checkpoint that holds them in F32.
#[test]
fn codes_are_those_of_the_rotated_weights() {
    let (dir, target) = (model(256, &[]), Dir::new());
    let store = store(&target);
    import(&store, "floats", &rotate(&dir, &PlanOptions::default()).expect("it fits"), 2);
    let path = store.manifest_path(&name("floats"));
    let of_floats = || crate::support::open(&path).expect("it is stored");
    for scheme in ["int4-g32", "mxfp4", "nvfp4"] {
        let options = options(scheme, "uniform");
        import(&store, "at-once", &rotate(&dir, &options).expect("it fits"), 3);
        import(&store, "of-floats", &Plan::new(of_floats(), &options).expect("it fits"), 1);
        let blobs = |model: &str| {
            let layers = read(&store, model).manifest.layers;
            layers.into_iter().filter(Descriptor::is_tensor).map(|layer| layer.digest).collect::<Vec<_>>()
        };
        assert_eq!(blobs("at-once"), blobs("of-floats"), "{scheme}");
    }
    let error = of_floats().rotated(1).expect_err("it is rotated");
    assert!(error.to_string().contains("rotated already"), "{error}");
}

#[test]
fn what_cannot_be_rotated_is_named() {
    let refused = |others: &[(&str, &[u64])]| {
        let error = rotate(&model(64, others), &PlanOptions::default()).expect_err("it is in the way");
        assert!(matches!(error, PlanError::Rotation { .. }), "{error:?}");
        error.to_string()
    };
    let found = refused(&[("self_attn.sinks.weight", &[3, SIZE])]);
    assert!(found.contains("self_attn.sinks.weight") && found.contains("as wide as the residual stream"), "{found}");
    let found = refused(&[("mlp.down_proj.bias", &[5])]);
    assert!(found.contains("mlp.down_proj.bias") && found.contains("128 numbers"), "{found}");
    // What has no extent of the stream's is none of its.
    let plan = rotate(&model(64, &[("self_attn.scale", &[3])]), &PlanOptions::default());
    plan.expect("it has nothing to do with the stream");
    let dir = model(64, &[]);
    dir.file("config.json", r#"{"architectures": ["Gemma3ForCausalLM"], "hidden_size": 128}"#);
    let error = dir.open().expect("it is a model").rotated(1).expect_err("its norms follow layers");
    assert!(error.to_string().contains("Gemma3ForCausalLM"), "{error}");
    dir.file("config.json", r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 11008}"#);
    dir.typed_weights("model.safetensors", &[("model.norm.weight", Dtype::F32, &[11008])]);
    let error = dir.open().expect("it is a model").rotated(1).expect_err("there is no such matrix");
    assert!(error.to_string().contains("no rotation is known for 11008"), "{error}");
    // Nothing is made for a size that the file does not have.
    dir.file("config.json", r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 1099511627776}"#);
    let error = dir.open().expect("it is a model").rotated(1).expect_err("its norm is shorter");
    assert!(error.to_string().contains("states a hidden_size of 1099511627776, and model.norm.weight has"), "{error}");
    dir.typed_weights("model.safetensors", &[("model.embed_tokens.weight", Dtype::F32, &[2, 64])]);
    let error = dir.open().expect("it is a model").rotated(1).expect_err("it has no norm");
    assert!(error.to_string().contains("it has no tensor model.norm.weight"), "{error}");
}

#[test]
fn a_quantized_model_is_rotated_only_to_be_quantized_again() {
    let (dir, target) = (model(64, &[]), Dir::new());
    let store = store(&target);
    let int8 = options("int8", "uniform");
    import(&store, "int8", &Plan::new(dir.open().expect("it is a model"), &int8).expect("it fits"), 2);
    let path = store.manifest_path(&name("int8"));
    let rotated = || crate::support::open(&path).expect("it is stored").rotated(9).expect("it can be rotated");
    let error = Plan::new(rotated(), &PlanOptions::default()).expect_err("it is quantized");
    assert!(error.to_string().contains("quantized already"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--requantize")), "{:?}", error.hint());
    let again = PlanOptions { requantize: true, ..int8 };
    import(&store, "again", &Plan::new(rotated(), &again).expect("it may be quantized again"), 2);
}

#[test]
fn a_rotated_model_is_repaired_from_the_source_as_it_is() {
    let (dir, target) = (model(64, &[]), Dir::new());
    let store = store(&target);
    import(&store, "m", &rotate(&dir, &options("int4-g32", "default")).expect("it fits"), 2);
    let stored = read(&store, "m");
    let damaged: BTreeSet<_> = stored.manifest.layers.iter().map(|layer| layer.digest).collect();
    for digest in &damaged {
        let path = store.blob_path(digest);
        let bytes = std::fs::read(&path).expect("it is there");
        std::fs::remove_file(&path).expect("it is ours");
        std::fs::write(&path, &bytes[1..]).expect("it is ours");
    }
    let source = dir.open().expect("it is a model");
    let outcome = repair(&store, source, &RepairOptions::default(), &Silent).expect("the store can be repaired");
    assert!(outcome.left.is_empty(), "{:?}", outcome.left);
    assert!(outcome.repaired.len() > 5, "{:?}", outcome.repaired.len());
    assert_eq!(read(&store, "m"), stored);
}
