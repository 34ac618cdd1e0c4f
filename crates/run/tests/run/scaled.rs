//! Models whose columns have factors of their inputs, against the same models without.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use longshore_packer::{
    Awq, ImportOptions, ImportanceFile, Plan, PlanOptions,
    quant::policy::Policy,
    st_format::{Dtype, Layout, Shape},
};
use longshore_run::{
    LoadOptions, Model,
    manifest::{Silent, Store, weights::Source},
};

use crate::{
    checkpoint::Case,
    rotated::{logits, open},
};

/// Architectures whose columns can have factors, tied and untied, with and without biases and experts.
const CASES: [&str; 12] = [
    "gemma2",
    "gemma3",
    "llama",
    "llama-tied-bias",
    "mistral",
    "mixtral",
    "phi3",
    "qwen2",
    "qwen3",
    "qwen3-moe",
    "qwen3-moe-dense",
    "smollm3",
];

/// Mean squares of the inputs of all weights, from a fifth to five. Which inputs are the same makes no difference here.
fn statistics(plan: &Plan, path: &Path) -> Arc<ImportanceFile> {
    let tensors = plan.blobs.iter().flat_map(|blob| &blob.tensors).filter(|tensor| tensor.scheme.is_some());
    let rows = tensors.map(|tensor| match tensor.shape.dims() {
        [experts, _, columns] => (tensor.name.clone(), Shape::new([*experts, *columns])),
        dims => (tensor.name.clone(), Shape::new([*dims.last().expect("it is a matrix")])),
    });
    let layout =
        Layout::new(&BTreeMap::new(), rows.map(|(name, shape)| (name, Dtype::F32, shape))).expect("names differ");
    let mut file = layout.header().to_vec();
    let count = (layout.file_len() - file.len() as u64) / 4;
    let values = (0..count).map(|at| ((at as f32 * 12.9898).sin() * 1.6).exp());
    file.extend(values.flat_map(f32::to_le_bytes));
    std::fs::write(path, file).expect("there is room");
    Arc::new(ImportanceFile::open(path).expect("it is valid"))
}

#[test]
fn logits_are_those_of_the_model_as_it_was() {
    for name in CASES {
        let case = Case::named(name);
        let checkpoint = case.write();
        let expected = logits(Source::open(checkpoint.path()).expect("it is a checkpoint"), &case.tokens);
        let home = tempfile::tempdir().expect("there is room");
        let store = Store::open(home.path().join("store")).expect("there is room");
        let scheme = "int8-g32".parse().ok();
        let options =
            PlanOptions { scheme, policy: Policy::named("uniform").expect("it is built in"), ..PlanOptions::default() };
        let plain = Plan::new(open(checkpoint.path()), &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        let awq = Some(Awq::new(statistics(&plain, &home.path().join("squares.safetensors")), 0.5));
        let options = PlanOptions { awq, ..options };
        let scaled = Plan::new(open(checkpoint.path()), &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        let run = |plan: &Plan, model: &str| {
            let model = model.parse().expect("it is a name");
            plan.import(&store, &model, &ImportOptions::default(), &Silent).expect("there is room");
            let model = store.model(&model).expect("it is stored");
            logits(Source::of_model(&store, &model).expect("it has a table"), &case.tokens)
        };
        let rms = |values: &mut dyn Iterator<Item = f32>| {
            let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + f64::from(value).powi(2), count + 1));
            (sum / f64::from(count)).sqrt()
        };
        let off = |found: &[f32]| {
            let off = rms(&mut found.iter().zip(&expected).map(|(found, expected)| found - expected));
            off / rms(&mut expected.iter().copied())
        };
        let (plain, scaled) = (run(&plain, "plain"), run(&scaled, "scaled"));
        assert!(off(&scaled) <= 3.0 * off(&plain), "{name}: {:e}, without factors {:e}", off(&scaled), off(&plain));
        assert_ne!(scaled, plain, "{name}: it has no factors");
        let model = store.model(&"scaled".parse().expect("it is a name")).expect("it is stored");
        let adapter = Some(Source::open(checkpoint.path()).expect("it is a checkpoint"));
        let source = Source::of_model(&store, &model).expect("it has a table");
        let refused = Model::open(source, LoadOptions { adapter, ..LoadOptions::default() });
        let refused = refused.expect_err("its inputs are others").to_string();
        assert!(refused.contains("--awq"), "{name}: {refused}");
    }
}
