//! Facts known before anything is loaded, with MLX or without.

use longshore_loader_mlx::{GetError, LoadOptions, MlxWeights, OpenError};
use longshore_manifest::weights::{
    OpenOptions, Weights,
    plan::{LoadPlanError, Selection},
};
use longshore_packer::PlanOptions;
use longshore_quant::Scheme;
use longshore_st_format::Dtype;

use crate::support::{Dir, Stored, chain};

#[test]
fn names_sizes_and_schemes_are_those_of_the_host() {
    let stored = Stored::new();
    let model = stored.import("qwen3-moe", "int4");
    let weights = stored.open(&model);
    let host = Weights::open(&stored.store, &model, &OpenOptions::default()).unwrap();
    assert!(weights.names().eq(host.names()));
    assert!(weights.names().is_sorted());
    assert_eq!((weights.len(), weights.bytes()), (host.len(), host.bytes()));
    assert!(!weights.is_empty() && !weights.is_loaded());
    assert_eq!(weights.quantization(), host.quantization());
    // Some tensors are int8 in this policy.
    let found = weights.quantization().unwrap();
    assert_eq!((found.quantization.quant_type.as_str(), found.is_mixed), ("int4", true));
    assert_eq!(weights.group_size(), Some(64));
    for tensor in host.iter() {
        assert!(weights.contains(tensor.name()));
        assert_eq!(weights.quantization_of(tensor.name()), tensor.quantization());
    }
    assert!(!weights.contains("model.norm") && !weights.contains(""));
    let companion = host.iter().find(|tensor| tensor.quantization().is_some()).unwrap().name().to_owned() + ".scale";
    assert!(!weights.contains(&companion));
}

#[test]
fn one_scheme_for_all_is_the_scheme_of_the_weights() {
    let stored = Stored::new();
    let model = stored.import_with("llama", |_| PlanOptions {
        scheme: Some(Scheme::MXFP4),
        policy: longshore_quant::policy::Policy::named("uniform").unwrap(),
        ..PlanOptions::default()
    });
    let weights = stored.open(&model);
    let found = weights.quantization().unwrap();
    let quantization = &found.quantization;
    assert!(!found.is_mixed);
    assert_eq!((quantization.quant_type.as_str(), quantization.group_size), ("mxfp4", 32));
    let plain = stored.open(&stored.import("llama", "none"));
    assert_eq!((plain.quantization(), plain.group_size()), (None, None));
}

#[test]
fn a_component_is_chosen_by_its_name_and_is_no_prefix() {
    let stored = Stored::new();
    let model = stored.import("flux", "none");
    let mut options = Selection { component: Some("text_encoder".into()), ..Selection::default() };
    let weights = MlxWeights::open(&stored.store, &model, &options).unwrap();
    assert!(!weights.is_empty());
    assert!(weights.names().all(|name| !name.starts_with("text_encoder")));
    options.component = Some("decoder".into());
    let error = MlxWeights::open(&stored.store, &model, &options).unwrap_err();
    assert!(
        matches!(&error, OpenError::Component { component, found, .. } if component == "decoder" && found.len() == 4)
    );
}

#[test]
fn tensors_are_selected_by_their_names() {
    let stored = Stored::new();
    let model = stored.import("llama", "int4");
    let mut options = Selection { globs: vec!["*layers.0.*".into()], ..Selection::default() };
    let weights = MlxWeights::open(&stored.store, &model, &options).unwrap();
    assert!(!weights.is_empty() && weights.names().all(|name| name.contains("layers.0.")));
    options.globs = vec!["*layers.9.*".into()];
    let error = MlxWeights::open(&stored.store, &model, &options).unwrap_err();
    assert!(matches!(error, OpenError::Plan(LoadPlanError::NoMatch { .. })), "{error}");
}

#[test]
fn a_build_without_mlx_says_so() {
    let dir = Dir::new();
    let file = dir.fill("a.safetensors", &[("a", Dtype::F32, &[2, 2])]);
    let mut weights = MlxWeights::open_files([file]).unwrap();
    let outcome = weights.load(&LoadOptions::default());
    if cfg!(any(target_os = "macos", longshore_mlx)) {
        assert_eq!(outcome.unwrap().tensors, 1);
    } else {
        assert!(chain(&outcome.unwrap_err()).contains("no MLX back end"));
        assert!(!weights.is_loaded());
        assert!(matches!(weights.get("a"), Err(GetError::NotBuilt { name }) if name == "a"));
        assert!(matches!(weights.get("b"), Err(GetError::Missing { name }) if name == "b"));
    }
}
