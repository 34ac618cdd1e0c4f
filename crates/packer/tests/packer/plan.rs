//! Plans of real architectures, and sources that planning refuses.

use std::collections::BTreeSet;

use longshore_packer::{
    Arrangement, Kind, Plan, PlanError, PlanReport, PlannedBlob, PlannedTensor, Source, StackError,
    longshore_model::experts::ExpertError,
};
use longshore_quant::Scheme;
use longshore_st_format::{Dtype, Header, Limits};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Dir, FLOAT_MODELS, chain, fixture, open, options, plan};

/// Checks that hold for every plan.
fn obeys(plan: &Plan, source: &Source) {
    let mut used: Vec<usize> =
        plan.blobs.iter().flat_map(|blob| &blob.tensors).flat_map(PlannedTensor::sources).collect();
    used.sort_unstable();
    assert_eq!(used, (0..source.tensors.len()).collect::<Vec<_>>(), "every tensor is used once");

    let stored: u64 = plan.blobs.iter().map(|blob| blob.layout.file_len()).sum();
    assert_eq!(plan.stored_bytes(), stored);
    assert_eq!(plan.source_bytes(), plan.blobs.iter().map(PlannedBlob::source_len).sum::<u64>());
    assert!(plan.files.iter().map(|file| &file.name).eq(source.companions.iter().map(|file| &file.name)));

    let names: BTreeSet<_> = plan.blobs.iter().map(|blob| &blob.name).collect();
    assert_eq!(names.len(), plan.blobs.len(), "blobs have names of their own");
    for blob in &plan.blobs {
        let header = Header::parse(blob.layout.header(), blob.layout.file_len(), &Limits::default())
            .expect("a layout is a valid file");
        let scheme = blob.scheme.map(|scheme| (scheme.quant_type().to_owned(), scheme.group_size().to_string()));
        let metadata = header.metadata();
        assert_eq!(metadata.get("quant_type").cloned().zip(metadata.get("group_size").cloned()), scheme);

        let mut parts = 0;
        for tensor in &blob.tensors {
            let elements: u64 = tensor.sources().map(|at| source.tensors[at].shape.elements().expect("it fits")).sum();
            assert_eq!(tensor.shape.elements(), Some(elements));
            assert!(tensor.sources().all(|at| source.tensors[at].dtype == tensor.dtype));
            assert!(!tensor.rule.is_empty());
            assert_eq!(
                tensor.arrangement == Arrangement::Stack,
                tensor.shape.rank() > source.tensors[tensor.units[0].parts.weight].shape.rank()
            );
            let has = |suffix: &str| header.get(&format!("{}{suffix}", tensor.name));
            let weight = has("").expect("it has a place");
            match tensor.scheme {
                None => {
                    assert_eq!((weight.dtype(), weight.shape()), (tensor.dtype, &tensor.shape));
                    parts += 1;
                }
                Some(scheme) => {
                    assert_eq!(Some(scheme), blob.scheme);
                    assert_eq!(weight.dtype(), Dtype::U32);
                    assert!(has(".scale").is_some());
                    assert_eq!(has(".bias").is_some(), scheme.has_bias());
                    parts += 2 + usize::from(scheme.has_bias());
                }
            }
        }
        assert_eq!(header.len(), parts, "the blob holds nothing else");
    }
}

fn blob<'a>(plan: &'a Plan, name: &str) -> &'a PlannedBlob {
    plan.blobs.iter().find(|blob| blob.name == name).unwrap_or_else(|| panic!("no blob is called {name}"))
}

#[test]
fn every_float_model_under_every_scheme() {
    for model in FLOAT_MODELS {
        let dir = fixture(model);
        let source = dir.open().unwrap_or_else(|error| panic!("{model}: {}", chain(&error)));
        assert_eq!((source.kind, &source.warnings[..]), (Kind::Float, &[][..]), "{model}");
        for scheme in ["none", "int4", "int4-g32", "int8", "int3", "nvfp4", "mxfp4", "mxfp8"] {
            for policy in ["default", "uniform"] {
                let plan = plan(&source, scheme, policy);
                obeys(&plan, &source);
                let quantized = plan.blobs.iter().filter(|blob| blob.scheme.is_some()).count();
                assert_eq!(quantized > 0, scheme != "none", "{model} {scheme} {policy}");
                if scheme == "int4" {
                    assert!(plan.stored_bytes() < plan.source_bytes(), "{model} {policy}");
                }
            }
        }
    }
}

#[test]
fn the_checkpoints_that_the_lists_were_made_from() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/models");
    for model in FLOAT_MODELS {
        let path = std::path::Path::new(models).join(model);
        if path.exists() {
            let source = open(&path).unwrap_or_else(|error| panic!("{model}: {}", chain(&error)));
            let listed = fixture(model);
            let listed = listed.open().expect("a fixture is a model");
            let table = |source: &Source| -> Vec<_> {
                source.tensors.iter().map(|t| (t.name.clone(), t.dtype, t.shape.clone())).collect()
            };
            assert_eq!(table(&source), table(&listed), "{model}");
            obeys(&plan(&source, "int4", "default"), &source);
        }
    }
}

#[test]
fn plain_tensors_come_first_and_groups_after_them() {
    let dir = fixture("qwen3-moe");
    let source = dir.open().expect("a fixture is a model");
    let plan = plan(&source, "none", "default");
    let names: Vec<_> = plan.blobs.iter().map(|blob| blob.name.as_str()).collect();
    let groups = ["model.layers.0.mlp.experts", "model.layers.1.mlp.experts"];
    assert_eq!(&names[names.len() - 2..], groups);
    assert!(names[..names.len() - 2].is_sorted());
    let group = blob(&plan, groups[0]);
    let tensors: Vec<_> = group.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.dims())).collect();
    assert_eq!(
        tensors,
        [
            ("model.layers.0.mlp.experts.down_proj.weight", &[8, 128, 64][..]),
            ("model.layers.0.mlp.experts.gate_proj.weight", &[8, 64, 128]),
            ("model.layers.0.mlp.experts.up_proj.weight", &[8, 64, 128]),
        ]
    );
    let sources = group.tensors[0].sources().map(|at| source.tensors[at].name.clone());
    assert!(sources.eq((0..8).map(|index| format!("model.layers.0.mlp.experts.{index}.down_proj.weight"))));
}

#[test]
fn projections_that_differ_in_scheme_are_blobs_of_their_own() {
    // Row B6 of the acceptance list.
    let list: Vec<(String, [u64; 2])> = (0..2)
        .flat_map(|at| {
            ["gate_proj", "down_proj"]
                .map(|proj| (format!("model.layers.0.mlp.experts.{at}.{proj}.weight"), [128, 128]))
        })
        .collect();
    let mut tensors: Vec<(&str, &[u64])> = list.iter().map(|(name, dims)| (name.as_str(), &dims[..])).collect();
    tensors.push(("model.layers.0.mlp.gate.weight", &[2, 128]));
    let dir = Dir::model(&tensors);
    let source = dir.open().expect("it is a model");

    let mixed = plan(&source, "int4", "default");
    let found: Vec<_> = mixed.blobs.iter().map(|blob| (blob.name.as_str(), blob.scheme)).collect();
    assert_eq!(
        found,
        [
            ("model.layers.0.mlp.gate.weight", None),
            ("model.layers.0.mlp.experts.down_proj.weight", Some(Scheme::INT8)),
            ("model.layers.0.mlp.experts.gate_proj.weight", Some(Scheme::INT4)),
        ]
    );
    assert_eq!(mixed.blobs[2].tensors[0].shape.dims(), [2, 128, 128]);

    let same = plan(&source, "int4", "uniform");
    assert_eq!(blob(&same, "model.layers.0.mlp.experts").tensors.len(), 2);
}

#[test]
fn fused_projections_follow_the_same_rule() {
    // Row B6 of the acceptance list.
    let dir =
        Dir::model(&[("l.mlp.experts.down_proj", &[2, 128, 128]), ("l.mlp.experts.gate_up_proj", &[2, 256, 128])]);
    let source = dir.open().expect("it is a model");
    let found: Vec<_> = plan(&source, "int4", "default")
        .blobs
        .into_iter()
        .map(|blob| (blob.name, blob.scheme, blob.tensors[0].arrangement))
        .collect();
    assert_eq!(
        found,
        [
            ("l.mlp.experts.down_proj".to_owned(), Some(Scheme::INT8), Arrangement::None),
            ("l.mlp.experts.gate_up_proj".to_owned(), Some(Scheme::INT4), Arrangement::None),
        ]
    );
    assert_eq!(plan(&source, "none", "default").blobs.len(), 1);

    let file = open(&dir.join("model.safetensors")).expect("it is a weight file");
    let warnings = plan(&file, "none", "default").warnings;
    assert!(warnings[0].contains("l.mlp.experts.down_proj"), "the architecture is unknown: {warnings:?}");
}

#[test]
fn plain_tensors_are_blobs_of_their_own() {
    // Row B5 of the acceptance list, except that promotion is to int8 in every family.
    let dir = Dir::model(&[
        ("model.embed_tokens.weight", &[128, 128]),
        ("model.layers.0.mlp.down_proj.weight", &[128, 128]),
        ("model.layers.0.self_attn.q_proj.weight", &[128, 128]),
        ("model.layers.0.self_attn.v_proj.weight", &[128, 128]),
        ("model.norm.weight", &[128]),
    ]);
    let source = dir.open().expect("it is a model");
    let schemes = |scheme| -> Vec<_> {
        let plan = plan(&source, scheme, "default");
        assert!(plan.blobs.iter().all(|blob| blob.tensors.len() == 1 && blob.tensors[0].name == blob.name));
        assert!(plan.blobs.is_sorted_by_key(|blob| &blob.name));
        plan.blobs.iter().map(|blob| blob.scheme).collect()
    };
    let (int4, int8, nvfp4) = (Some(Scheme::INT4), Some(Scheme::INT8), Some(Scheme::NVFP4));
    assert_eq!(schemes("none"), [None; 5]);
    assert_eq!(schemes("int4"), [None, int8, int4, int8, None]);
    assert_eq!(schemes("nvfp4"), [None, int8, nvfp4, int8, None]);
}

#[test]
fn fused_experts_of_gpt_oss_are_transposed() {
    let dir = fixture("gpt-oss");
    let source = dir.open().expect("a fixture is a model");
    let plan = plan(&source, "int4", "uniform");
    let group = blob(&plan, "model.layers.1.mlp.experts");
    let found: Vec<_> = group
        .tensors
        .iter()
        .map(|tensor| {
            (
                &tensor.name["model.layers.1.mlp.experts.".len()..],
                tensor.shape.dims(),
                tensor.arrangement,
                tensor.scheme,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("down_proj", &[4, 128, 256][..], Arrangement::Transpose, Some(Scheme::INT4)),
            ("down_proj_bias", &[4, 128], Arrangement::None, None),
            ("gate_up_proj", &[4, 512, 128], Arrangement::Transpose, Some(Scheme::INT4)),
            ("gate_up_proj_bias", &[4, 512], Arrangement::None, None),
        ]
    );
    let part = group.layout.get("model.layers.1.mlp.experts.gate_up_proj.bias").expect("int4 has biases");
    assert_eq!(part.shape.dims(), [4, 512, 2]);
}

#[test]
fn other_dtypes_and_empty_tensors_are_kept() {
    let dir = Dir::new();
    dir.file("config.json", "{}");
    dir.typed_weights(
        "model.safetensors",
        &[
            ("f64.weight", Dtype::F64, &[64, 64]),
            ("ids.weight", Dtype::I64, &[64, 64]),
            ("none.weight", Dtype::BF16, &[64, 0]),
            ("w.weight", Dtype::F32, &[64, 64]),
        ],
    );
    let source = dir.open().expect("it is a model");
    let plan = plan(&source, "int8", "uniform");
    let rules: Vec<_> = plan.blobs.iter().map(|blob| (blob.scheme, blob.tensors[0].rule.as_ref())).collect();
    assert_eq!(rules[0].0, Some(Scheme::INT8));
    let warning = "tensors of F64 are rounded to F32 to be quantized: 1 of them, the first is f64.weight";
    assert_eq!(plan.warnings[0], warning, "{:?}", plan.warnings);
    assert_eq!((plan.blobs[0].tensors[0].dtype, plan.blobs[0].tensors[0].operation()), (Dtype::F32, "f32"));
    assert_eq!(rules[1], (None, "I64: kept, only F64, F32, F16 and BF16 are quantized"));
    assert_eq!(rules[2], (None, "no elements: kept"));
    assert_eq!(rules[3].0, Some(Scheme::INT8));
}

#[test]
fn a_vae_is_never_quantized() {
    let dir = fixture("flux");
    let component = |name: &str| plan(&open(&dir.join(name)).expect("a component is a model"), "int4", "default");
    assert!(component("vae").blobs.iter().all(|blob| blob.scheme.is_none()));
    assert!(component("transformer").blobs.iter().any(|blob| blob.scheme.is_some()));
}

#[test]
fn experts_that_only_the_configuration_misses() {
    let dir = Dir::model(&[("l.experts.0.w.weight", &[4, 4]), ("l.experts.1.w.weight", &[4, 4])]);
    dir.file("config.json", r#"{"num_experts": 8}"#);
    let error =
        Plan::new(dir.open().expect("it is a model"), &options("none", "default")).expect_err("six are missing");
    assert!(chain(&error).contains(r#""l.experts.2.w.weight" not found, though "l.experts.1.w.weight""#), "{error:?}");

    // More experts than the configuration says, and fused experts, of which no single one can be missing.
    dir.file("config.json", r#"{"num_experts": 1}"#);
    let more = plan(&dir.open().expect("it is a model"), "none", "default");
    assert!(
        more.warnings.contains(&"l.experts has 2 experts, but config.json says 1".to_owned()),
        "{:?}",
        more.warnings
    );
    let dir = Dir::model(&[("l.experts.w.weight", &[2, 4, 4])]);
    dir.file("config.json", r#"{"num_experts": 8}"#);
    let fused = plan(&dir.open().expect("it is a model"), "none", "default");
    assert!(
        fused.warnings.contains(&"l.experts has 2 experts, but config.json says 8".to_owned()),
        "{:?}",
        fused.warnings
    );
}

#[test]
fn names_that_clash_are_refused() {
    type Tensors<'a> = &'a [(&'a str, &'a [u64])];
    let cases: &[(&str, Tensors<'_>, &str)] = &[
        (
            "none",
            &[("e.experts.0.w.weight", &[4, 4]), ("e.experts.w.weight", &[1, 4, 4])],
            r#"clashing name "e.experts.w.weight": the results of "e.experts."#,
        ),
        (
            "none",
            &[("e.experts", &[4]), ("e.experts.0.w.weight", &[4, 4])],
            r#"clashing name "e.experts": the results of "e.experts" and of "e.experts.0.w.weight" would both have it"#,
        ),
        (
            "int4",
            &[("a.weight", &[64, 64]), ("a.weight.scale", &[4])],
            r#"clashing name "a.weight.scale": it is reserved for a companion of "a.weight""#,
        ),
        (
            "nvfp4",
            &[("a.weight", &[64, 64]), ("a.weight.bias", &[4])],
            r#"clashing name "a.weight.bias": it is reserved for a companion of "a.weight""#,
        ),
        (
            "int4",
            &[("e.experts.w", &[2, 64, 64]), ("e.experts.w.bias", &[2, 64])],
            r#"clashing name "e.experts.w.bias": it is reserved"#,
        ),
    ];
    for (scheme, tensors, expected) in cases {
        let source = Dir::model(tensors).open().expect("it is a model");
        let error = Plan::new(source.clone(), &options(scheme, "uniform")).expect_err(expected);
        assert!(matches!(error, PlanError::Clash { .. } | PlanError::Reserved { .. }));
        assert!(error.to_string().starts_with(expected), "{error}\n{expected}");
    }
    // A plain tensor has no companions, so the names of companions are free.
    let source = Dir::model(&[("a.weight", &[64, 64]), ("a.weight.scale", &[4])]).open().expect("it is a model");
    obeys(&plan(&source, "none", "uniform"), &source);
}

#[test]
fn experts_that_cannot_be_stacked_are_refused() {
    let source = Dir::model(&[("e.experts.0.w", &[4, 4]), ("e.experts.2.w", &[4, 4])]).open().expect("it is a model");
    let error = Plan::new(source.clone(), &options("none", "default")).expect_err("an expert is missing");
    assert!(matches!(&error, PlanError::Experts { source: StackError::Group(ExpertError::Missing { .. }) }));
    assert!(chain(&error).contains("\"e.experts.1.w\" not found"), "{}", chain(&error));
}

#[test]
fn codes_are_not_quantized_again_unasked() {
    for (model, kind, words) in [
        ("mistral-fp8-e5m2", Kind::Fp8, "F8_E5M2"),
        ("gpt-oss-mxfp4", Kind::Prequantized, "quantized already (mxfp4)"),
        ("llama-modelopt-nvfp4", Kind::Prequantized, "quantized already (nvfp4)"),
        ("qwen3-mlx-4bit", Kind::Prequantized, "quantized already (int8)"),
    ] {
        let dir = fixture(model);
        let source = dir.open().unwrap_or_else(|error| panic!("{model}: {}", chain(&error)));
        assert_eq!(source.kind, kind, "{model}");
        let error = Plan::new(source.clone(), &options("int4", "default")).expect_err(model);
        let message = chain(&error);
        assert!(message.contains(words), "{message}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn the_report_is_the_document_of_a_dry_run() {
    let dir = Dir::model(&[
        ("e.experts.0.w.weight", &[64, 64]),
        ("e.experts.1.w.weight", &[64, 64]),
        ("n.norm.weight", &[8]),
    ]);
    let source = dir.open().expect("it is a model");
    let plan = plan(&source, "int4-g32", "uniform");
    let report = serde_json::to_value(PlanReport::new(&plan)).expect("it is plain data");
    let expected = json!({
        "version": 1,
        "kind": "float",
        "architecture": "TestForCausalLM",
        "quantize": "int4-g32",
        "policy": "uniform",
        "blobs": [
            {
                "name": "n.norm.weight",
                "metadata": null,
                "tensors": [{
                    "name": "n.norm.weight", "dtype": "BF16", "shape": [8], "scheme": null, "transform": "none",
                    "sources": ["n.norm.weight"], "reason": plan.blobs[0].tensors[0].rule,
                }],
            },
            {
                "name": "e.experts",
                "metadata": {"group_size": "32", "quant_type": "int4"},
                "tensors": [{
                    "name": "e.experts.w.weight", "dtype": "BF16", "shape": [2, 64, 64], "scheme": "int4-g32",
                    "transform": "stack", "sources": ["e.experts.0.w.weight", "e.experts.1.w.weight"],
                    "reason": plan.blobs[1].tensors[0].rule,
                }],
            },
        ],
        "files": [{"name": "config.json", "size": 38}],
        "source_bytes": 2 * 64 * 64 * 2 + 16,
        "stored_bytes": plan.stored_bytes(),
    });
    assert_eq!(report, expected);
    let text = serde_json::to_string(&PlanReport::new(&plan)).expect("it is plain data");
    let order =
        ["version", "kind", "architecture", "quantize", "policy", "blobs", "files", "source_bytes", "stored_bytes"];
    let at: Vec<_> = order.iter().map(|key| text.find(&format!("\"{key}\":"))).collect();
    assert!(at.is_sorted() && at[0] == Some(1), "{text}");

    let unquantized = crate::support::plan(&source, "none", "default");
    let report = serde_json::to_value(PlanReport::new(&unquantized)).expect("it is plain data");
    assert_eq!(report["quantize"], Value::Null);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The plan does not depend on how the tensors are distributed over shards.
    #[test]
    fn plans_do_not_depend_on_the_shards(cuts in prop::collection::vec(0_usize..3, 12)) {
        let mut names: Vec<String> = (0..3).flat_map(|at| ["a", "b"].map(|proj| format!("l.0.mlp.experts.{at}.{proj}.weight"))).collect();
        names.extend((0..6).map(|at| format!("l.0.w{at}.weight")));
        let tensor = |name: &String| (name.clone(), [64_u64, 64]);
        let tensors: Vec<_> = names.iter().map(tensor).collect();
        let whole: Vec<(&str, &[u64])> = tensors.iter().map(|(name, dims)| (name.as_str(), &dims[..])).collect();
        let one = Dir::model(&whole);

        let cut = Dir::new();
        cut.file("config.json", r#"{"architectures": ["TestForCausalLM"]}"#);
        for shard in 0..3 {
            let part: Vec<_> = whole.iter().zip(&cuts).filter(|(_, cut)| **cut == shard).map(|(tensor, _)| *tensor).collect();
            cut.weights(&format!("model-0000{}-of-00003.safetensors", shard + 1), &part);
        }
        let report = |dir: &Dir| {
            let source = dir.open().expect("it is a model");
            serde_json::to_value(PlanReport::new(&plan(&source, "int4", "default"))).expect("it is plain data")
        };
        prop_assert_eq!(report(&one), report(&cut));
    }
}
