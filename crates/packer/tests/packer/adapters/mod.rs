//! Adapters that an import merges, against the definition of LoRA in f64: `vectors.py` makes the cases.

mod attached;
mod cases;
mod held;
mod large;
mod llama_cpp;
mod refused;
mod repaired;

use std::{collections::BTreeMap, num::NonZero};

use longshore_manifest::{Silent, Store};
use longshore_packer::{ExportOptions, ImportOptions, ImportOutcome, Plan, PlanOptions, Source, export};
use longshore_quant::Profile;
use longshore_st_format::{Dtype, Limits, open};

use self::cases::{Case, cases};
use super::support::{Dir, options};

/// Opens a base with an adapter.
fn with_adapter(base: &Dir, adapter: &Dir, weight: f64) -> Source {
    let source = base.open().expect("the base is a checkpoint");
    source.with_adapter(adapter.path(), weight, &Limits::default()).expect("the adapter is one")
}

fn import(store: &Store, name: &str, source: Source, plan: &PlanOptions, threads: usize) -> ImportOutcome {
    let plan = Plan::new(source, plan).expect("the adapter fits");
    let options = ImportOptions { threads: NonZero::new(threads), ..ImportOptions::default() };
    plan.import(store, &name.parse().expect("it is a name"), &options, &Silent).expect("nothing is in the way")
}

fn tensors(dir: &Dir, below: &str) -> BTreeMap<String, Vec<u8>> {
    let file = open(dir.join(below)).expect("it is a weight file");
    file.iter().map(|tensor| (tensor.name.to_owned(), tensor.data.to_vec())).collect()
}

/// The tensors of a model that is exported.
fn exported(store: &Store, name: &str, dir: &Dir) -> BTreeMap<String, Vec<u8>> {
    let model = store.model(&name.parse().expect("it is a name")).expect("it was imported");
    export(store, &model, &dir.join(name), &ExportOptions::default(), &Silent).expect("it is exported");
    tensors(dir, &format!("{name}/model.safetensors"))
}

fn floats(bytes: &[u8]) -> Vec<f64> {
    let float = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().expect("four bytes")));
    bytes.chunks_exact(4).map(float).collect()
}

#[test]
fn merged_weights_are_those_of_the_definition() {
    for case in cases() {
        let Case { name, expected, .. } = &case;
        let (dir, [base, adapter]) = (Dir::new(), case.write(Dtype::F32));
        let store = Store::open(dir.join("store")).expect("the directory is ours");
        let mut digests = Vec::new();
        for threads in [1, 2, 8] {
            let source = with_adapter(&base, &adapter, 1.0);
            digests.push(import(&store, "merged", source, &PlanOptions::default(), threads).digest);
        }
        assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{name}");
        let before = tensors(&base, "model.safetensors");
        for (tensor, found) in exported(&store, "merged", &dir) {
            let Some(expected) = expected.get(&tensor) else {
                assert_eq!(found, before[&tensor], "{name}: {tensor} was changed");
                continue;
            };
            let most = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            assert_ne!(found, before[&tensor], "{name}: {tensor} was not changed");
            for (found, expected) in floats(&found).iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-6 * most, "{name}: {tensor}: {found}, expected {expected}");
            }
        }
    }
}

/// Codes are chosen for the sum before it is rounded: those of a checkpoint that holds the sum in F32.
#[test]
fn codes_are_those_of_the_merged_weights() {
    for case in cases() {
        let (dir, [base, adapter]) = (Dir::new(), case.write(Dtype::F32));
        let store = Store::open(dir.join("store")).expect("the directory is ours");
        import(&store, "merged", with_adapter(&base, &adapter, 1.0), &PlanOptions::default(), 2);
        exported(&store, "merged", &dir);
        for scheme in ["int4-g32", "mxfp4", "nvfp4"] {
            let options = options(scheme, "uniform");
            let source = super::support::open(&dir.join("merged")).expect("it was exported");
            import(&store, "of-merged", source, &options, 1);
            import(&store, "at-once", with_adapter(&base, &adapter, 1.0), &options, 2);
            let layers = |name: &str| {
                let model = store.model(&name.parse().expect("it is a name")).expect("it was imported");
                model
                    .manifest
                    .layers
                    .iter()
                    .filter(|layer| layer.is_tensor())
                    .map(|layer| layer.digest)
                    .collect::<Vec<_>>()
            };
            assert_eq!(layers("at-once"), layers("of-merged"), "{}: {scheme}", case.name);
        }
    }
}

/// A type that is narrower than F32 is rounded to once, and its scales have that type.
#[test]
fn narrow_weights_are_rounded_once() {
    let case = &cases()[0];
    let (dir, [base, adapter]) = (Dir::new(), case.write(Dtype::BF16));
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    import(&store, "merged", with_adapter(&base, &adapter, 1.0), &PlanOptions::default(), 2);
    for (tensor, found) in exported(&store, "merged", &dir) {
        let Some(expected) = case.expected.get(&tensor) else { continue };
        for (found, expected) in found.chunks_exact(2).zip(expected) {
            let found = f64::from(f32::from_le_bytes([0, 0, found[0], found[1]]));
            assert!((found - expected).abs() <= expected.abs() / 256.0 * 1.001, "{found}, expected {expected}");
        }
    }
    for profile in Profile::ALL {
        let plan = Plan::new(with_adapter(&base, &adapter, 1.0), &options("int4-g32", "uniform")).expect("it fits");
        let options = ImportOptions { profile, measure: true, ..ImportOptions::default() };
        let name = "codes".parse().expect("it is a name");
        let outcome = plan.import(&store, &name, &options, &Silent).expect("nothing is in the way");
        let [(_, loss)] = &*outcome.losses else { panic!("one tensor is quantized: {:?}", outcome.losses) };
        assert!(loss.relative_rmse.is_some_and(|rmse| rmse > 0.02 && rmse < 0.12), "{profile}: {loss:?}");
    }
}

#[test]
fn adapters_add_up_and_are_recorded() {
    let case = &cases()[0];
    let (dir, [base, adapter]) = (Dir::new(), case.write(Dtype::F32));
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    let limits = Limits::default();
    let source = with_adapter(&base, &adapter, 0.75).with_adapter(adapter.path(), 0.25, &limits).expect("it is one");
    import(&store, "both", source, &PlanOptions::default(), 2);
    let (tensor, expected) = case.expected.first_key_value().expect("the case has one");
    let found = floats(&exported(&store, "both", &dir)[tensor]);
    assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-5));
    let model = store.model(&"both".parse().expect("it is a name")).expect("it was imported");
    let changes = model.config.changes.expect("the adapters are recorded");
    let weights: Vec<f64> = changes.adapters.iter().map(|adapter| adapter.weight).collect();
    assert_eq!(weights, [0.75, 0.25]);
    assert_eq!(changes.adapters[0].scales.get(tensor), Some(&vec![3.0]));
    assert_eq!(changes.adapters[0].digest, changes.adapters[1].digest);
}

/// A stored model is a base as the checkpoint was, experts included, and a quantized one only to be quantized again.
#[test]
fn a_stored_model_is_a_base() {
    for case in cases() {
        let (dir, [base, adapter]) = (Dir::new(), case.write(Dtype::F32));
        let store = Store::open(dir.join("store")).expect("the directory is ours");
        import(&store, "direct", with_adapter(&base, &adapter, 1.0), &PlanOptions::default(), 1);
        import(&store, "base", base.open().expect("it is one"), &PlanOptions::default(), 1);
        let path = store.manifest_path(&"base".parse().expect("it is a name"));
        let stored = || super::support::open(&path).expect("it is a stored model");
        let source = stored().with_adapter(adapter.path(), 1.0, &Limits::default()).expect("it is an adapter");
        import(&store, "stored", source, &PlanOptions::default(), 1);
        assert_eq!(exported(&store, "stored", &dir), exported(&store, "direct", &dir), "{}", case.name);
    }
}
