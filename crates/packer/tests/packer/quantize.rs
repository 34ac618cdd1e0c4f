//! Measurement, global scales and importance in an import.

use std::sync::Arc;

use longshore_manifest::document::{Loss, Role};
use longshore_packer::{ImportError, ImportOptions, ImportanceFile, ImportanceFileError, Plan, PlanOptions, Source};
use longshore_quant::{Decoder, ErrorMeasure, FloatType, Profile, Scheme};
use longshore_st_format::{Dtype, Layout, Shape};

use crate::{
    stores::{is_clean, part, read, store, tensors, threads, try_import},
    support::{Dir, chain, options},
};

const UP: &str = "layers.0.mlp.up_proj.weight";
const STACK: &str = "layers.0.mlp.experts.w1.weight";
const EXPERTS: [&str; 2] = ["layers.0.mlp.experts.0.w1.weight", "layers.0.mlp.experts.1.w1.weight"];

fn model() -> Dir {
    Dir::model(&[(UP, &[96, 256]), (EXPERTS[0], &[32, 128]), (EXPERTS[1], &[32, 128]), ("norm.weight", &[256])])
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn best(importance: Option<ImportanceFile>) -> ImportOptions {
    let mut options = threads(2);
    options.profile = Profile::Best;
    options.importance = importance.map(Arc::new);
    options.measure = true;
    options
}

/// Error of an export in F32 against the source, weighted by column.
fn error(source: &[u8], restored: &[u8], columns: usize, weights: &[f32]) -> f64 {
    let original =
        source.chunks_exact(2).map(|half| f32::from_bits(u32::from(half[1]) << 24 | u32::from(half[0]) << 16));
    let restored = restored.chunks_exact(4).map(|word| f32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let pairs = original.zip(restored).enumerate();
    pairs.map(|(at, (a, b))| f64::from(weights[at % columns]) * f64::from(a - b).powi(2)).sum()
}

#[test]
fn the_loss_is_that_of_the_stored_codes() {
    let (dir, target) = (model(), Dir::new());
    let source = dir.open().expect("it is a model");
    let plan = Plan::new(source.clone(), &options("int4", "uniform")).expect("it fits");
    let store = store(&target);
    for count in [1, 2] {
        let mut options = threads(count);
        options.measure = true;
        let outcome = try_import(&store, "m", &plan, &options).expect("it is imported");
        let names: Vec<&str> = outcome.losses.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, [UP, STACK]);
        let stored = read(&store, "m");
        let bytes = |role| part(&store, &stored, UP, role);
        let original = &tensors(&source)[UP].2;
        let mut decoded = vec![0; original.len() * 2];
        Decoder::new(Scheme::INT4, FloatType::BF16, FloatType::F32)
            .decode(&bytes(Role::Weight), &bytes(Role::Scale), &bytes(Role::Bias), &mut decoded)
            .expect("the parts fit");
        let measure = ErrorMeasure::between(FloatType::BF16, original, FloatType::F32, &decoded).expect("they fit");
        let loss = outcome.losses[0].1;
        assert_eq!(loss.max_abs.to_bits(), measure.max_abs().to_bits());
        let ratio = loss.relative_rmse.expect("the weights are not zero");
        assert!((ratio / measure.relative_rmse().expect("the same") - 1.0).abs() < 1e-9, "{ratio}");
        assert!(ratio > 0.01 && loss.sqnr_db().is_some_and(|db| db > 15.0 && db < 40.0), "{loss:?}");
        let table = stored.config.longshore.as_ref().expect("it was imported");
        let in_table: Vec<Option<Loss>> = table.tensors().map(|(_, tensor)| tensor.loss).collect();
        assert_eq!(in_table.iter().flatten().count(), 2);
        assert!(in_table.contains(&Some(loss)));
    }
    is_clean(&store);
}

#[test]
fn nothing_is_measured_unasked() {
    let (dir, target) = (model(), Dir::new());
    let source = dir.open().expect("it is a model");
    let plan = Plan::new(source.clone(), &options("int4", "uniform")).expect("it fits");
    let store = store(&target);
    let outcome = try_import(&store, "m", &plan, &ImportOptions::default()).expect("it is imported");
    assert_eq!(outcome.losses, []);
    let stored = read(&store, "m");
    assert!(stored.config.longshore.expect("it was imported").tensors().all(|(_, tensor)| tensor.loss.is_none()));
}

#[test]
fn a_global_scale_reaches_small_weights() {
    // Below the smallest scale of nvfp4 a whole group becomes zero. A tensor of zeros has no largest weight.
    let tiny: Vec<u8> =
        (0..64 * 64u16).flat_map(|i| (f32::from(i % 200) * 1e-6 - 1e-4).to_bits().to_le_bytes()).collect();
    let zeros = vec![0; 64 * 64 * 4];
    let (dir, target) = (Dir::new(), Dir::new());
    dir.file("config.json", "{}");
    dir.bytes(
        "model.safetensors",
        &[("tiny.weight", Dtype::F32, &[64, 64], &tiny), ("zeros.weight", Dtype::F32, &[64, 64], &zeros)],
    );
    let source = dir.open().expect("it is a model");
    let store = store(&target);
    for global_scale in [false, true] {
        let plan =
            Plan::new(source.clone(), &PlanOptions { global_scale, ..options("nvfp4", "uniform") }).expect("it fits");
        let options = ImportOptions { measure: true, ..ImportOptions::default() };
        let outcome = try_import(&store, "m", &plan, &options).expect("it is imported");
        let (tiny, zeros) = (outcome.losses[0].1, outcome.losses[1].1);
        assert_eq!((zeros.max_abs.to_bits(), zeros.relative_rmse), (0, None));
        let ratio = tiny.relative_rmse.expect("it has weights");
        if !global_scale {
            assert!(ratio > 0.99 && tiny.zeroed_groups > 200 && outcome.warnings[0].contains("underflow"), "{tiny:?}");
            continue;
        }
        assert!(ratio < 0.11 && tiny.zeroed_groups == 0 && outcome.warnings.is_empty(), "{tiny:?}");
        let stored = read(&store, "m");
        let global =
            |name| f32::from_le_bytes(part(&store, &stored, name, Role::GlobalScale).try_into().expect("one F32"));
        assert!((global("tiny.weight") * 2688.0 / 1e-4 - 1.0).abs() < 1e-6);
        assert_eq!(global("zeros.weight").to_bits(), 1f32.to_bits());
        is_clean(&store);
    }
}

#[test]
fn only_nvfp4_has_a_global_scale() {
    let dir = model();
    let source = dir.open().expect("it is a model");
    for (scheme, expected) in [("nvfp4", true), ("mxfp4", false), ("int4", false)] {
        let plan = Plan::new(source.clone(), &PlanOptions { global_scale: true, ..options(scheme, "uniform") })
            .expect("it fits");
        let quantized = plan.blobs.iter().flat_map(|blob| &blob.tensors).filter(|tensor| tensor.scheme.is_some());
        assert!(
            quantized.clone().count() == 2 && quantized.clone().all(|tensor| tensor.global_scale.is_some() == expected)
        );
    }
}

#[test]
fn importance_steers_the_search() {
    let (dir, target) = (model(), Dir::new());
    let source = dir.open().expect("it is a model");
    let plan = Plan::new(source.clone(), &options("int3", "uniform")).expect("it fits");
    // One column of each group has a high importance, and another one in the second expert.
    let mut up = vec![1e-3; 256];
    up.iter_mut().step_by(64).for_each(|weight| *weight = 1.0);
    let mut experts = vec![1e-3; 256];
    for at in [5, 64 + 5, 128 + 9, 128 + 64 + 9] {
        experts[at] = 1.0;
    }
    dir.bytes(
        "importance/all.safetensors",
        &[
            (UP.trim_end_matches(".weight"), Dtype::F32, &[256], &floats(&up)),
            (STACK, Dtype::F32, &[2, 128], &floats(&experts)),
        ],
    );
    let file = || ImportanceFile::open(dir.join("importance/all.safetensors")).expect("it is valid");
    let store = store(&target);
    try_import(&store, "plain", &plan, &best(None)).expect("it is imported");
    try_import(&store, "steered", &plan, &best(Some(file()))).expect("it is imported");
    let originals = tensors(&source);
    let decoded = |model: &str, name: &str| {
        let stored = read(&store, model);
        let bytes = |role| part(&store, &stored, name, role);
        let mut out = vec![0; originals[EXPERTS[0]].2.len() * if name == UP { 12 } else { 4 }];
        let decoder = Decoder::new("int3".parse().expect("it is a scheme"), FloatType::BF16, FloatType::F32);
        decoder.decode(&bytes(Role::Weight), &bytes(Role::Scale), &bytes(Role::Bias), &mut out).expect("the parts fit");
        out
    };
    let of = |model: &str| error(&originals[UP].2, &decoded(model, UP), 256, &up);
    assert!(of("steered") < 0.7 * of("plain"), "{} {}", of("steered"), of("plain"));
    for (at, expert) in EXPERTS.iter().enumerate() {
        let of = |model: &str| {
            let stack = decoded(model, STACK);
            let half = stack.len() / 2;
            error(&originals[*expert].2, &stack[at * half..][..half], 128, &experts[at * 128..][..128])
        };
        assert!(of("steered") < 0.7 * of("plain"), "{at}: {} {}", of("steered"), of("plain"));
    }
    let import = &read(&store, "steered").config.longshore.expect("it was imported").import.clone();
    assert_eq!(import.importance, Some(file().digest()));
    is_clean(&store);
}

#[test]
fn an_importance_that_does_not_fit() {
    type Row<'a> = (&'a str, Dtype, &'a [u64], &'a [u8], &'a str);
    let (dir, target) = (model(), Dir::new());
    let source = dir.open().expect("it is a model");
    let plan = Plan::new(source.clone(), &options("int4", "uniform")).expect("it fits");
    let store = store(&target);
    let ones = |count: usize| floats(&vec![1.0; count]);
    let negative = floats(&[-1.0, 1.0]);
    let rows: &[Row<'_>] = &[
        (UP, Dtype::F32, &[128], &ones(128), "has shape [128], expected [256] for a weight [96, 256]"),
        (STACK, Dtype::F32, &[3, 128], &ones(384), "expected [128] or [2, 128] for a weight [2, 32, 128]"),
        ("other.weight", Dtype::F32, &[4], &ones(4), "no tensor for any weight"),
        (UP, Dtype::BF16, &[256], &[0; 512], "is BF16, expected F32"),
        (UP, Dtype::F32, &[2], &negative, "found -1 for column 0"),
        (UP, Dtype::F32, &[0], &[], "at least one column"),
    ];
    for (name, dtype, dims, bytes, words) in rows {
        dir.bytes("importance/bad.safetensors", &[(name, *dtype, dims, bytes)]);
        let error = match ImportanceFile::open(dir.join("importance/bad.safetensors")) {
            Err(error) => chain(&error),
            Ok(file) => match try_import(&store, "m", &plan, &best(Some(file))) {
                Err(error @ ImportError::Importance(_)) => chain(&error),
                other => panic!("{words}: {other:?}"),
            },
        };
        assert!(error.contains(words) && error.contains("bad.safetensors"), "{error}");
    }
    dir.file("importance/bad.safetensors", "no");
    let error = ImportanceFile::open(dir.join("importance/bad.safetensors")).expect_err("it is no such file");
    assert!(matches!(error, ImportanceFileError::Open { .. }), "{error:?}");
    assert!(store.list().is_ok_and(|models| models.is_empty()));
}

/// Weights without statistics, statistics without a weight, and those of another model are named.
#[test]
fn statistics_that_do_not_cover_all_are_said() {
    let (dir, target) = (model(), Dir::new());
    let store = store(&target);
    let source = dir.open().expect("it is a model");
    let check = |name: &str, tensors: &[(&str, u64)], metadata: &[(&str, &str)], source: Source| {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let parts = tensors.iter().map(|(name, count)| (*name, Dtype::F32, Shape::new([*count])));
        let layout = Layout::new(&metadata, parts).expect("names differ");
        let ones = usize::try_from(tensors.iter().map(|(_, count)| count).sum::<u64>()).expect("a test is small");
        dir.file(name, [layout.header(), &1.0_f32.to_le_bytes().repeat(ones)].concat());
        let plan = Plan::new(source, &options("int4", "uniform")).expect("it fits");
        ImportanceFile::open(dir.join(name)).expect("it is valid").check(&plan)
    };
    let all = [(UP, 256), (STACK, 128)];
    assert!(check("all", &all, &[], source.clone()).expect("it fits").is_empty());
    let found = check("some", &[(UP, 256), ("z.weight", 4)], &[], source.clone()).expect("it fits");
    assert!(
        matches!(&*found, [one, other] if one.contains("has no statistics") && one.contains(STACK)
        && other.contains("belongs to no quantized weight") && other.contains("z.weight")),
        "{found:?}"
    );
    let error = check("rotated", &all, &[("rotated", "true")], source.clone()).expect_err("the weights are others");
    assert!(error.to_string().contains("does not state, and the weights are not rotated"), "{error}");
    let plan = Plan::new(source, &PlanOptions::default()).expect("it fits");
    try_import(&store, "floats", &plan, &threads(2)).expect("it is imported");
    let stored = crate::support::open(&store.manifest_path(&crate::stores::name("floats"))).expect("it is stored");
    let model = serde_json::json!(longshore_manifest::Digest::of(b"another").to_string()).to_string();
    let found = check("other", &all, &[("model", &model)], stored).expect("it fits");
    assert!(matches!(&*found, [one] if one.contains("recorded with the model")), "{found:?}");
}
