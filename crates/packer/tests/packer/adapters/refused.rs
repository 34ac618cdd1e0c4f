//! Adapters that cannot be merged. Those that are refused by their documents and shapes alone are tested in
//! `longshore-transform`.

use longshore_manifest::{Silent, Store};
use longshore_packer::{ImportError, ImportOptions, Plan, PlanError, PlanOptions, Source};
use longshore_st_format::{Dtype, Limits};

use super::{
    cases::{Tensor, cases, write},
    with_adapter,
};
use crate::support::{Dir, chain, open, options};

fn add(source: Source, dir: &Dir) -> Result<Source, String> {
    source.with_adapter(dir.path(), 1.0, &Limits::default()).map_err(|error| chain(&error))
}

#[test]
fn directories_that_are_no_adapters() {
    let case = &cases()[0];
    let [base, adapter] = case.write(Dtype::F32);
    let open = || base.open().expect("it is a checkpoint");
    let found = add(open(), &base).expect_err("it has no document");
    assert!(found.contains("adapter_config.json"), "{found}");
    let empty = Dir::new();
    empty.file("adapter_config.json", case.config.to_string());
    let found = add(open(), &empty).expect_err("it has no weights");
    assert!(found.contains("it has no adapter_model.safetensors"), "{found}");
    empty.file("adapter_config.json", r#"{"peft_type": "IA3"}"#);
    write(&empty, "adapter_model.safetensors", &case.adapter, Dtype::F32);
    let found = add(open(), &empty).expect_err("it is another kind");
    assert!(found.contains("peft_type: IA3, expected LORA"), "{found}");
    assert!(open().with_adapter(adapter.path(), f64::NAN, &Limits::default()).is_err());
    empty.file("adapter_config.json", case.config.to_string());
    empty.typed_weights("adapter_model.safetensors", &[("a.lora_A.weight", Dtype::I32, &[2, 2])]);
    let found = add(open(), &empty).expect_err("its type is none");
    assert!(found.contains("is I32, expected F32, F16 or BF16"), "{found}");
}

#[test]
fn a_quantized_base_needs_requantize() {
    let case = &cases()[0];
    let [base, adapter] = case.write(Dtype::F32);
    let dir = Dir::new();
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    let plan = Plan::new(base.open().expect("it is one"), &options("int4-g32", "uniform")).expect("it is planned");
    let name = "int4".parse().expect("it is a name");
    plan.import(&store, &name, &ImportOptions::default(), &Silent).expect("nothing is in the way");
    let stored = || {
        let source = open(&store.manifest_path(&name)).expect("it is a stored model");
        source.with_adapter(adapter.path(), 1.0, &Limits::default()).expect("it is an adapter")
    };
    let error = Plan::new(stored(), &PlanOptions::default()).expect_err("it is quantized");
    assert!(matches!(error, PlanError::AdapterQuantized { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--requantize")));
    let again = PlanOptions { requantize: true, ..options("int4-g32", "uniform") };
    let plan = Plan::new(stored(), &again).expect("it may be quantized again");
    let merged = plan.import(&store, &"merged".parse().expect("it is a name"), &ImportOptions::default(), &Silent);
    assert!(merged.expect("nothing is in the way").new_bytes > 0);
}

#[test]
fn values_that_are_not_finite() {
    let mut case = cases().swap_remove(0);
    case.adapter[1].values[3] = f32::NAN;
    let [base, adapter] = case.write(Dtype::F32);
    let dir = Dir::new();
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    let plan = Plan::new(with_adapter(&base, &adapter, 1.0), &PlanOptions::default()).expect("it fits");
    let name = "merged".parse().expect("it is a name");
    let error = plan.import(&store, &name, &ImportOptions::default(), &Silent).expect_err("it is not finite");
    assert!(chain(&error).contains("holds infinities or NaNs"), "{error}");
    assert!(store.model(&name).is_err());
}

/// Sums that F32 does not hold are not stored, quantized or not.
#[test]
fn sums_that_are_not_finite() {
    let case = &cases()[0];
    let [base, adapter] = case.write(Dtype::F32);
    let dir = Dir::new();
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    let name = "merged".parse().expect("it is a name");
    let plan = |options: &PlanOptions| Plan::new(with_adapter(&base, &adapter, 8e37), options).expect("it fits");
    let import = |plan: &Plan, allow_non_finite| {
        let options = ImportOptions { allow_non_finite, ..ImportOptions::default() };
        plan.import(&store, &name, &options, &Silent)
    };
    let floats = plan(&PlanOptions::default());
    let error = import(&floats, false).expect_err("it is not finite");
    let found = error.to_string();
    assert!(matches!(error, ImportError::MergedNonFinite { .. }), "{error:?}");
    assert!(found.contains("l.0.q_proj.weight") && found.contains(&adapter.path().display().to_string()), "{found}");
    let codes = plan(&options("int4-g32", "uniform"));
    assert!(matches!(import(&codes, false), Err(ImportError::NonFinite { .. })));
    assert!(store.model(&name).is_err());
    import(&floats, true).expect("it was asked for");
}

#[test]
fn two_adapters_with_magnitudes() {
    let case = cases().into_iter().find(|case| case.name == "dora").expect("there is one");
    let [base, adapter] = case.write(Dtype::F32);
    let source = add(with_adapter(&base, &adapter, 1.0), &adapter).expect("it is an adapter");
    let error = Plan::new(source, &PlanOptions::default()).expect_err("their order would matter");
    assert!(matches!(error, PlanError::Magnitudes { .. }), "{error}");
    let source = base.open().expect("it is one").with_adapter(adapter.path(), 0.5, &Limits::default());
    assert!(chain(&source.expect_err("half a magnitude is nothing")).contains("magnitudes"));
}

/// A tensor that replaces the base's is stored in the base's type.
#[test]
fn replaced_tensors_keep_their_type() {
    let mut case = cases().swap_remove(0);
    let values: Vec<f32> = (0..64_u8).map(|at| f32::from(at) / 8.0).collect();
    let replaced = Tensor { name: "base_model.model.norm.weight".into(), shape: vec![64], values: values.clone() };
    case.adapter.push(replaced);
    let [base, adapter] = case.write(Dtype::BF16);
    let dir = Dir::new();
    let store = Store::open(dir.join("store")).expect("the directory is ours");
    super::import(&store, "merged", with_adapter(&base, &adapter, 1.0), &PlanOptions::default(), 1);
    let found = &super::exported(&store, "merged", &dir)["norm.weight"];
    assert_eq!(*found, values.iter().flat_map(|value| value.to_le_bytes()[2..].to_vec()).collect::<Vec<u8>>());
}
