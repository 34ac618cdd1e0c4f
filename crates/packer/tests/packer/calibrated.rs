//! Codes that are chosen by the products of inputs.

use std::{collections::BTreeMap, sync::Arc};

use longshore_manifest::{Store, document::Role};
use longshore_packer::{GptqOptions, HessianFile, HessianFileError, ImportError, ImportOptions, Plan, PlanOptions};
use longshore_quant::{FloatType, Profile, policy::Policy};
use longshore_st_format::{Dtype, Layout, Shape};
use serde_json::json;

use crate::{
    stores::{dequantize, export_to, is_clean, part, read, store, threads, try_import},
    support::{Dir, chain, options},
};

const UP: &str = "layers.0.mlp.up_proj.weight";
const DOWN: &str = "layers.0.mlp.down_proj.weight";
const STACK: &str = "layers.0.mlp.experts.w1.weight";
const EXPERTS: [&str; 2] = ["layers.0.mlp.experts.0.w1.weight", "layers.0.mlp.experts.1.w1.weight"];

/// A model with three weights: 40 × 256, 24 × 256, and two experts of 24 × 128.
fn model() -> Dir {
    let tensors: [(&str, &[u64]); 5] = [
        (UP, &[40, 256]),
        (DOWN, &[24, 256]),
        (EXPERTS[0], &[24, 128]),
        (EXPERTS[1], &[24, 128]),
        ("norm.weight", &[256]),
    ];
    Dir::model(&tensors)
}

/// The mean products of inputs whose channels depend on each other, if `shared` is not 0.
fn products(columns: usize, shared: f64, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 23) - 1.0
    };
    let rows = 3 * columns;
    let mut sums = vec![0.0_f64; columns * columns];
    for _ in 0..rows {
        let common = [next(), next(), next()];
        let input: Vec<f64> = (0..columns).map(|at| next() + shared * common[at % 3]).collect();
        for (at, sum) in sums.iter_mut().enumerate() {
            *sum += input[at / columns] * input[at % columns];
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "numbers of a test")]
    sums.iter().map(|sum| (sum / rows as f64) as f32).collect()
}

pub(crate) struct Hessians<'h> {
    pub(crate) arrays: Vec<(&'h str, Vec<u64>, Vec<f32>)>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Hessians<'_> {
    /// Hessians of all three weights. The first two read the same input.
    fn new(shared: f64, seed: u32) -> Self {
        let experts = [products(128, shared, seed + 1), products(128, shared, seed + 2)].concat();
        let arrays = vec![
            ("hessian/layers.0.mlp.up_proj.weight", vec![256, 256], products(256, shared, seed)),
            ("hessian/layers.0.mlp.experts.w1.weight", vec![2, 128, 128], experts),
        ];
        let names = json!({UP: arrays[0].0, DOWN: arrays[0].0, STACK: arrays[1].0});
        let rows = json!({UP: 768, DOWN: 768, STACK: [384, 384]});
        let metadata = [("hessians", names), ("rows", rows), ("rotated", json!(false))];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_string())).collect();
        Self { arrays, metadata }
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    fn write(&self, dir: &Dir, name: &str) {
        let parts = self.arrays.iter().map(|(name, dims, _)| (*name, Dtype::F32, Shape::from(dims.as_slice())));
        let layout = Layout::new(&self.metadata, parts).expect("names differ");
        let mut file = layout.header().to_vec();
        for part in layout.parts() {
            let (.., values) = self.arrays.iter().find(|(name, ..)| *name == part.name).expect("it has no others");
            file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        dir.file(name, file);
    }

    pub(crate) fn open(&self, dir: &Dir) -> Result<Arc<HessianFile>, HessianFileError> {
        // A file that is mapped is not written again.
        let names = (0..100).map(|at| format!("statistics/{at}.safetensors"));
        let name = names.into_iter().find(|name| !dir.join(name).exists()).expect("a test writes few files");
        self.write(dir, &name);
        HessianFile::open(dir.join(&name)).map(Arc::new)
    }
}

pub(crate) fn gptq(hessians: &Arc<HessianFile>, held: Option<&Arc<HessianFile>>, count: usize) -> ImportOptions {
    let mut options = threads(count);
    options.profile = Profile::Best;
    options.gptq = Some(GptqOptions::new(Arc::clone(hessians), held.cloned()));
    options.measure = true;
    options
}

fn best() -> ImportOptions {
    ImportOptions { profile: Profile::Best, ..threads(2) }
}

/// The loss of a model's weight under products of inputs.
fn loss(dir: &Dir, store: &Store, model: &str, columns: usize, hessian: &[f32], name: &str) -> f64 {
    let out = dir.join(&format!("out-{model}"));
    if !out.exists() {
        export_to(store, model, &out, &dequantize(FloatType::F32));
    }
    let file = longshore_st_format::open(out.join("model.safetensors")).expect("it was exported");
    let found = file.tensor(name).expect("it is there").data;
    let found = found.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")));
    let file = longshore_st_format::open(dir.join("model.safetensors")).expect("it is the source");
    let source = file.tensor(name).expect("it is there").data;
    let source = source.chunks_exact(2).map(|half| f32::from_bits(u32::from(half[1]) << 24 | u32::from(half[0]) << 16));
    let errors: Vec<f64> = source.zip(found).map(|(a, b)| f64::from(a - b)).collect();
    let mut loss = 0.0;
    for row in errors.chunks_exact(columns) {
        for (i, a) in row.iter().enumerate() {
            let products = row.iter().zip(&hessian[i * columns..]).map(|(b, h)| b * f64::from(*h));
            loss += a * products.sum::<f64>();
        }
    }
    loss
}

#[test]
fn codes_lose_less_of_what_they_are_multiplied_with() {
    let (dir, target) = (model(), Dir::new());
    let (hessians, store) = (Hessians::new(2.0, 3), store(&target));
    let file = hessians.open(&dir).expect("it is valid");
    for scheme in ["int4", "int3-g32", "int8"] {
        let plan = Plan::new(dir.open().expect("it is a model"), &options(scheme, "uniform")).expect("it fits");
        try_import(&store, "best", &plan, &best()).expect("it is imported");
        let outcome = try_import(&store, "gptq", &plan, &gptq(&file, None, 2)).expect("it is imported");
        assert!(outcome.losses.iter().all(|(_, loss)| loss.relative_rmse.is_some_and(|rmse| rmse > 0.001)));
        for (name, array, matrix, columns) in
            [(UP, 0, 0, 256), (DOWN, 0, 0, 256), (EXPERTS[0], 1, 0, 128), (EXPERTS[1], 1, 1, 128)]
        {
            let hessian = &hessians.arrays[array].2[matrix * columns * columns..][..columns * columns];
            let [searched, found] = ["best", "gptq"].map(|model| loss(&dir, &store, model, columns, hessian, name));
            assert!(found < 0.7 * searched, "{scheme} {name}: {found}, searched {searched}");
        }
        let changes = read(&store, "gptq").config.changes.expect("it is recorded");
        let record = changes.gptq.expect("it is recorded");
        assert_eq!((record.hessians, record.held), (file.digest(), None));
        assert_eq!(record.tensors, [DOWN, UP, STACK]);
        for model in ["best", "gptq"] {
            std::fs::remove_dir_all(dir.join(&format!("out-{model}"))).expect("it is ours");
        }
    }
    is_clean(&store);
}

#[test]
fn threads_do_not_matter() {
    let (dir, target) = (model(), Dir::new());
    let store = store(&target);
    let (file, other) = (Hessians::new(2.0, 3).open(&dir), Hessians::new(2.0, 11).open(&dir));
    let (file, other) = (file.expect("it is valid"), other.expect("it is valid"));
    let plan = Plan::new(dir.open().expect("it is a model"), &options("int4-g32", "uniform")).expect("it fits");
    for held in [None, Some(&other)] {
        let digests = [1, 2, 3, 8].map(|count| {
            let outcome = try_import(&store, "m", &plan, &gptq(&file, held, count)).expect("it is imported");
            outcome.digest
        });
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]));
    }
}

#[test]
fn the_better_codes_under_another_text_are_kept() {
    let (dir, target) = (model(), Dir::new());
    let store = store(&target);
    let file = Hessians::new(2.0, 3).open(&dir).expect("it is valid");
    let (like, unlike) = (Hessians::new(2.0, 11), Hessians::new(0.0, 5));
    let plan = Plan::new(dir.open().expect("it is a model"), &options("int4", "uniform")).expect("it fits");
    try_import(&store, "best", &plan, &best()).expect("it is imported");
    for (held, is_kept) in [(&like, true), (&unlike, false)] {
        let other = held.open(&dir).expect("it is valid");
        try_import(&store, "m", &plan, &gptq(&file, Some(&other), 2)).expect("it is imported");
        let [found, best] = ["m", "best"].map(|model| loss(&dir, &store, model, 256, &held.arrays[0].2, UP));
        std::fs::remove_dir_all(dir.join("out-m")).expect("it is ours");
        assert!(found <= best, "{found} {best}");
        let found = read(&store, "m");
        let recorded = found.config.changes.clone().and_then(|changes| changes.gptq);
        assert_eq!(recorded.is_some_and(|gptq| gptq.held == Some(other.digest()) && gptq.tensors.len() == 3), is_kept);
        let codes = |model| part(&store, model, UP, Role::Weight);
        assert_eq!(codes(&found) == codes(&read(&store, "best")), !is_kept);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (dir, target) = (model(), Dir::new());
    let store = store(&target);
    let plan = |scheme| Plan::new(dir.open().expect("it is a model"), &options(scheme, "uniform")).expect("it fits");
    let import = |hessians: &Hessians<'_>| {
        let file = hessians.open(&dir).map_err(ImportError::Hessians)?;
        try_import(&store, "m", &plan("int4"), &gptq(&file, None, 2)).map(drop)
    };
    let message = |hessians: Hessians<'_>| chain(&import(&hessians).expect_err("it does not fit"));
    let mut short = Hessians::new(0.0, 1);
    short.arrays[0] = (short.arrays[0].0, vec![128, 512], short.arrays[0].2.clone());
    let found = message(short);
    assert!(found.contains("F32 [128, 512], expected F32 [256, 256]"), "{found}");
    let found = message(Hessians::new(0.0, 1).with("hessians", "{}"));
    assert!(found.contains("no Hessian for any weight") && found.contains("down_proj"), "{found}");
    let found = message(Hessians::new(0.0, 1).with("hessians", r#"{"a": "hessian/b"}"#));
    assert!(found.contains(r#"no array "hessian/b""#), "{found}");
    assert!(message(Hessians::new(0.0, 1).with("hessians", "[")).contains("\"hessians\" in its metadata"));
    let mut none = Hessians::new(0.0, 1);
    none.metadata.clear();
    assert!(message(none).contains("its metadata have no"));
    for (rotated, by) in [("7", "seed 7"), ("true", "a seed that the file does not state")] {
        let found = message(Hessians::new(0.0, 1).with("rotated", rotated));
        assert!(found.contains(&format!("is rotated by {by}, and the weights are not rotated")), "{found}");
    }
    let mut indefinite = Hessians::new(0.0, 1);
    indefinite.arrays[0].2[1] = 9.0;
    indefinite.arrays[0].2[256] = 9.0;
    let found = message(indefinite);
    assert!(found.contains("cannot be used") && found.contains("not positive definite"), "{found}");
    assert!(store.names().expect("it can be listed").is_empty());
    // Types of floats have no such codes: they are searched for.
    let file = Hessians::new(0.0, 1).open(&dir).expect("it is valid");
    try_import(&store, "m", &plan("mxfp4"), &gptq(&file, None, 2)).expect("it is imported");
    assert!(read(&store, "m").config.changes.is_none());
}

#[test]
fn what_is_doubtful_is_said() {
    let (dir, target) = (model(), Dir::new());
    let store = store(&target);
    let plan = Plan::new(dir.open().expect("it is a model"), &options("int4", "uniform")).expect("it fits");
    let check = |hessians: Hessians<'_>| {
        let file = hessians.open(&dir).expect("it is valid");
        (file.check(&plan).expect("it fits"), file)
    };
    assert!(check(Hessians::new(0.0, 1)).0.is_empty());
    let rows = json!({UP: 200, DOWN: 768, STACK: [384, 100]}).to_string();
    let (found, _) = check(Hessians::new(0.0, 1).with("rows", &rows));
    assert!(matches!(&*found, [one] if one.contains("fewer than its") && one.contains("and 1 more")), "{found:?}");
    let names = json!({UP: "hessian/layers.0.mlp.up_proj.weight"}).to_string();
    let (found, _) = check(Hessians::new(0.0, 1).with("hessians", &names));
    assert!(matches!(&*found, [one] if one.contains("2 of 3 quantized weights have no Hessian")), "{found:?}");
    // Only a stored model has a digest to compare with.
    let model = json!(longshore_manifest::Digest::of(b"another").to_string()).to_string();
    let (found, file) = check(Hessians::new(0.0, 1).with("model", &model));
    assert!(found.is_empty(), "{found:?}");
    let floats = Plan::new(dir.open().expect("it is a model"), &options("none", "uniform")).expect("it fits");
    try_import(&store, "floats", &floats, &threads(2)).expect("it is imported");
    let stored = crate::support::open(&store.manifest_path(&crate::stores::name("floats"))).expect("it is stored");
    let plan = Plan::new(stored, &options("int4", "uniform")).expect("it fits");
    let found = file.check(&plan).expect("it fits");
    assert!(matches!(&*found, [one] if one.contains("recorded with the model")), "{found:?}");
}

/// The record names what is still as it was chosen, and not what was encoded again since.
#[test]
fn the_record_leaves_out_what_is_encoded_again() {
    let (dir, target) = (model(), Dir::new());
    let store = store(&target);
    let file = Hessians::new(0.5, 1).open(&dir).expect("it is valid");
    let plan = Plan::new(dir.open().expect("it is a model"), &options("int4", "uniform")).expect("it fits");
    try_import(&store, "chosen", &plan, &gptq(&file, None, 2)).expect("it is imported");
    let stored = || crate::support::open(&store.manifest_path(&crate::stores::name("chosen"))).expect("it is stored");
    let recorded = |options: &PlanOptions| {
        let plan = Plan::new(stored(), options).expect("it fits");
        try_import(&store, "again", &plan, &threads(2)).expect("it is imported");
        let changes = read(&store, "again").config.changes;
        changes.and_then(|changes| changes.gptq).map(|gptq| gptq.tensors).unwrap_or_default()
    };
    let mut all = recorded(&PlanOptions::default());
    all.sort();
    assert_eq!(all, [DOWN, STACK, UP]);
    let again = |policy: &str| PlanOptions {
        scheme: "int8".parse().ok(),
        policy: Policy::parse(policy, "some").expect("it is a policy"),
        requantize: true,
        ..PlanOptions::default()
    };
    let one = "description = \"one\"\nmin_elements = 1\n[[rule]]\nname = [\"layers.0.mlp.up_proj.weight\"]\n\
        action = \"request\"\nreason = \"it\"\n";
    let mut some = recorded(&again(one));
    some.sort();
    assert_eq!(some, [DOWN, STACK]);
    let every = PlanOptions { requantize: true, ..options("int8", "uniform") };
    assert!(recorded(&every).is_empty());
}
