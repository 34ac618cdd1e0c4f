//! Pipelines: a directory for each component.

use std::{collections::BTreeMap, fs, path::Path};

use longshore_manifest::weights::{OpenOptions, Weights, plan::Selection};
use longshore_packer::{ExportOptions, Kind, Member, Plan, Source, SourceError};
use longshore_quant::FloatType;
use longshore_st_format::Dtype;

use crate::{
    stores::{
        Plain, by_hand, companions, dequantize, export_to, files, import_as, is_clean, part_in, read, store, tensors,
    },
    support::{Dir, chain, fixture, open, options, plan},
};

/// A pipeline with a component of each kind.
fn pipeline() -> Dir {
    let dir = Dir::new();
    dir.file(
        "model_index.json",
        r#"{"_class_name": "TestPipeline", "_diffusers_version": "0.36.0", "force_zeros": true, "image_encoder": [null, null],
            "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizerFast"], "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"]}"#,
    );
    dir.file("scheduler/scheduler_config.json", "{}");
    dir.file("tokenizer/tokenizer_config.json", "{}");
    dir.file("tokenizer/merges.txt", "a b");
    dir.file("text_encoder/config.json", r#"{"architectures": ["CLIPTextModel"]}"#);
    dir.weights("text_encoder/model.safetensors", &[("proj.weight", &[64, 64]), ("norm.weight", &[64])]);
    dir.file("unet/config.json", r#"{"_class_name": "UNet2DConditionModel"}"#);
    dir.weights(
        "unet/diffusion_pytorch_model.safetensors",
        &[("proj.weight", &[64, 128]), ("conv.weight", &[8, 8, 3, 3])],
    );
    dir.file("vae/config.json", r#"{"_class_name": "AutoencoderKL"}"#);
    dir.weights("vae/diffusion_pytorch_model.safetensors", &[("proj.weight", &[64, 64])]);
    dir
}

/// The tensors of every member, under the names `<component>/<tensor>`.
fn by_member(source: &Source) -> BTreeMap<String, Plain> {
    let of = |member: &Member| {
        let mut one = source.clone();
        one.tensors = source.tensors_of(member).to_vec();
        let component = member.component().map_or_else(String::new, |component| format!("{component}/"));
        tensors(&one).into_iter().map(move |(name, tensor)| (format!("{component}{name}"), tensor))
    };
    source.members.iter().flat_map(of).collect()
}

fn refused(dir: &Dir, is: impl Fn(&SourceError) -> bool, words: &[&str]) {
    let error = dir.open().expect_err("it is not a pipeline");
    assert!(is(&error), "{error:?}");
    for word in words {
        assert!(chain(&error).contains(word), "{}", chain(&error));
    }
}

#[test]
fn what_a_pipeline_is_made_of() {
    let source = pipeline().open().expect("it is a pipeline");
    assert_eq!((source.kind, source.architecture()), (Kind::Pipeline, Some("TestPipeline")));
    let components: Vec<_> =
        source.members.iter().map(|member| member.component().expect("it is a component")).collect();
    assert_eq!(components, ["text_encoder", "unet", "vae"]);
    assert_eq!(source.members[1].architecture(), Some("UNet2DConditionModel"));
    assert_eq!(source.warnings, [""; 0]);
    let shards: Vec<_> = source.shards.iter().map(|shard| shard.name.as_str()).collect();
    assert_eq!(
        shards,
        [
            "text_encoder/model.safetensors",
            "unet/diffusion_pytorch_model.safetensors",
            "vae/diffusion_pytorch_model.safetensors"
        ]
    );
    let files: Vec<_> = source.companions.iter().map(|file| file.name.as_str()).collect();
    let expected = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "unet/config.json",
        "vae/config.json",
    ];
    assert_eq!(files, expected);
}

#[test]
fn what_becomes_of_each_component() {
    let source = pipeline().open().expect("it is a pipeline");
    let planned = plan(&source, "int4", "default");
    let found: Vec<_> = planned
        .blobs
        .iter()
        .map(|blob| (blob.name.as_str(), blob.tensors[0].name.as_str(), blob.scheme.map(|scheme| scheme.to_string())))
        .collect();
    let int4 = || Some("int4".to_owned());
    assert_eq!(
        found,
        [
            ("text_encoder/norm.weight", "norm.weight", None),
            ("text_encoder/proj.weight", "proj.weight", int4()),
            ("unet/conv.weight", "conv.weight", None),
            ("unet/proj.weight", "proj.weight", int4()),
            ("vae/proj.weight", "proj.weight", None),
        ]
    );
    assert_eq!((planned.source().kind, planned.source().architecture()), (Kind::Pipeline, Some("TestPipeline")));
}

#[test]
fn a_pipeline_comes_back() {
    for dir in [pipeline(), fixture("flux")] {
        comes_back(dir.path());
    }
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/models/flux");
    if shared.is_dir() {
        comes_back(&shared);
    }
}

fn comes_back(dir: &Path) {
    let source = open(dir).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let target = Dir::new();
    let store = store(&target);
    for scheme in ["none", "int4"] {
        import_as(&store, scheme, &source, scheme);
        is_clean(&store);
        let stored = read(&store, scheme);
        let table = stored.config.longshore.as_ref().expect("it was imported");
        assert_eq!(table.facts.architecture.as_deref(), source.architecture());
        assert!(table.blobs.iter().all(|blob| blob.component.is_some()));
        let originals = by_member(&source);
        for blob in &plan(&source, scheme, "default").blobs {
            let component = blob.component.as_deref();
            for tensor in blob.tensors.iter().filter(|tensor| tensor.scheme.is_none()) {
                let of_component = originals.iter().filter_map(|(name, tensor)| {
                    Some((name.strip_prefix(component?)?.strip_prefix('/')?.to_owned(), tensor.clone()))
                });
                let expected = by_hand(&source, &of_component.collect(), tensor);
                assert_eq!(
                    part_in(&store, &stored, component, &tensor.name),
                    expected,
                    "{component:?} {}",
                    tensor.name
                );
            }
        }
    }

    let options = ExportOptions::default();
    export_to(&store, "none", &target.join("out"), &options);
    let exported = open(&target.join("out")).unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(by_member(&exported), by_member(&source));
    assert_eq!(companions(&exported), companions(&source));
    // Only the metadata of the source's files may differ, because an export adds the name of the framework.
    import_as(&store, "again", &exported, "none");
    assert_eq!(read(&store, "again").manifest.layers, read(&store, "none").manifest.layers);

    // The export has the same directories and files, except for shards, which may be cut differently.
    let names = |dir: &Path| files(dir).into_keys().filter(|name| !name.contains("-of-")).collect::<Vec<_>>();
    let is_index = |name: &String| name.ends_with(".index.json");
    let without_indexes: Vec<_> = names(dir).into_iter().filter(|name| !is_index(name)).collect();
    let found = names(&target.join("out"));
    assert!(without_indexes.iter().all(|name| found.contains(name)), "{found:?}");

    let decoded = export_to(&store, "int4", &target.join("decoded"), &dequantize(FloatType::BF16));
    let decoded_source = open(&target.join("decoded")).expect("it is a pipeline");
    assert_eq!((decoded.tensors, decoded_source.members.len()), (source.tensors.len(), source.members.len()));
}

#[test]
fn large_components_are_cut_into_files() {
    let (dir, target) = (pipeline(), Dir::new());
    let store = store(&target);
    import_as(&store, "m", &dir.open().expect("it is a pipeline"), "none");
    let options = ExportOptions { shard_bytes: 1, ..ExportOptions::default() };
    export_to(&store, "m", &target.join("out"), &options);
    let written = files(&target.join("out"));
    for name in [
        "text_encoder/model-00002-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "vae/diffusion_pytorch_model.safetensors",
    ] {
        assert!(written.contains_key(name), "{name}: {:?}", written.keys());
    }
    assert_eq!(
        by_member(&open(&target.join("out")).expect("it is a pipeline")),
        by_member(&dir.open().expect("it is one"))
    );
}

#[test]
fn a_text_encoder_that_two_pipelines_share_is_stored_once() {
    let (one, other, target) = (pipeline(), pipeline(), Dir::new());
    other.weights("vae/diffusion_pytorch_model.safetensors", &[("other.weight", &[64, 64])]);
    // Blobs are also shared within one pipeline, whatever the directories of the components.
    for dir in [&one, &other] {
        let index = fs::read_to_string(dir.join("model_index.json")).expect("it was written");
        dir.file(
            "model_index.json",
            index.replace("tokenizer\": [", "text_encoder_2\": [\"transformers\", \"X\"], \"t\": ["),
        );
        for file in ["config.json", "model.safetensors"] {
            dir.file(
                &format!("text_encoder_2/{file}"),
                fs::read(dir.join("text_encoder").join(file)).expect("it was written"),
            );
        }
    }
    let store = store(&target);
    import_as(&store, "one", &one.open().expect("it is a pipeline"), "int4");
    let second = import_as(&store, "other", &other.open().expect("it is a pipeline"), "int4");
    assert!(second.reused_bytes > 0);
    is_clean(&store);
    let digest = |model: &str, layer: &str| {
        let manifest = read(&store, model).manifest;
        manifest.layers.iter().find(|found| found.name.as_deref() == Some(layer)).expect("it is stored").digest
    };
    let shared = digest("one", "text_encoder/proj.weight");
    assert_eq!(digest("one", "text_encoder_2/proj.weight"), shared);
    assert_eq!(digest("other", "text_encoder/proj.weight"), shared);
    assert_ne!(digest("one", "unet/proj.weight"), shared);
}

#[test]
fn one_component_loads_by_itself() {
    let (dir, target) = (pipeline(), Dir::new());
    let store = store(&target);
    import_as(&store, "m", &dir.open().expect("it is a pipeline"), "int4");
    let selection = Selection { component: Some("unet".into()), ..Selection::default() };
    let options = OpenOptions { selection, ..OpenOptions::default() };
    let weights = Weights::open(&store, &read(&store, "m"), &options).expect("it is there");
    assert_eq!(weights.names().collect::<Vec<_>>(), ["conv.weight", "proj.weight"]);
    assert_eq!(weights.get("proj.weight").expect("it is there").shape().dims(), [64, 128]);
}

#[test]
fn variants_are_left_out_with_a_note() {
    let dir = pipeline();
    dir.weights("unet/diffusion_pytorch_model.fp16.safetensors", &[("proj.weight", &[2])]);
    dir.file("unet/diffusion_pytorch_model.safetensors.index.fp16.json", "{}");
    dir.weights("stray.safetensors", &[("x", &[2])]);
    let source = dir.open().expect("the plain one is taken");
    assert_eq!(by_member(&source), by_member(&pipeline().open().expect("it is a pipeline")));
    assert_eq!(source.warnings.len(), 1, "{:?}", source.warnings);
    for name in ["unet/diffusion_pytorch_model.fp16.safetensors", "index.fp16.json", "stray.safetensors"] {
        assert!(source.warnings[0].contains(name), "{:?}", source.warnings);
    }
}

#[test]
fn experts_are_counted_per_component() {
    let dir = pipeline();
    dir.file("text_encoder/config.json", r#"{"num_experts": 1}"#);
    let experts: &[(&str, &[u64])] = &[("l.experts.0.w.weight", &[4, 4]), ("l.experts.1.w.weight", &[4, 4])];
    dir.weights("text_encoder/model.safetensors", experts);
    dir.weights("unet/diffusion_pytorch_model.safetensors", experts);
    let planned = plan(&dir.open().expect("it is a pipeline"), "none", "default");
    assert_eq!(planned.warnings, ["l.experts has 2 experts, but text_encoder/config.json says 1"]);
    assert_eq!(planned.blobs[0].name, "text_encoder/l.experts");
    assert_eq!(planned.blobs[1].name, "unet/l.experts");
}

#[test]
fn a_language_model_beside_a_pipeline_wins() {
    let dir = pipeline();
    dir.file("config.json", r#"{"architectures": ["LlamaForCausalLM"]}"#);
    let source = dir.open().expect("a config.json without weights is no model");
    assert_eq!(source.kind, Kind::Pipeline);
    dir.weights("model.safetensors", &[("w.weight", &[2, 2])]);
    let source = dir.open().expect("it is both");
    assert_eq!((source.kind, source.architecture()), (Kind::Float, Some("LlamaForCausalLM")));
    assert!(source.warnings[0].contains("not as the pipeline"), "{:?}", source.warnings);
}

#[test]
fn pipelines_that_are_incomplete() {
    let dir = pipeline();
    fs::remove_file(dir.join("vae/diffusion_pytorch_model.safetensors")).expect("it was written");
    refused(&dir, |e| matches!(e, SourceError::NoWeights { .. }), &["no model weights found in", "vae"]);

    let dir = pipeline();
    fs::remove_dir_all(dir.join("vae")).expect("it was written");
    let is = |e: &SourceError| matches!(e, SourceError::MissingComponent { .. });
    refused(&dir, is, &["source model is incomplete", "vae", "model_index.json", "AutoencoderKL"]);

    let dir = pipeline();
    let index = r#"{"weight_map": {"proj.weight": "diffusion_pytorch_model-00001-of-00001.safetensors"}}"#;
    dir.file("unet/diffusion_pytorch_model.safetensors.index.json", index);
    let is = |e: &SourceError| matches!(e, SourceError::StaleIndex { .. });
    refused(
        &dir,
        is,
        &["belongs to other weight files", "unet", "unet/diffusion_pytorch_model.safetensors hold every"],
    );
    dir.file("unet/diffusion_pytorch_model.safetensors.index.json", index.replace("proj", "other"));
    let is = |e: &SourceError| matches!(e, SourceError::MissingShard { .. });
    refused(&dir, is, &["source model is incomplete", "unet", "other.weight"]);

    let dir = pipeline();
    dir.file("unet/config.json", "[]");
    refused(&dir, |e| matches!(e, SourceError::Config { .. }), &["unet", "config.json is not a model's configuration"]);

    let dir = Dir::new();
    dir.file("model_index.json", r#"{"_class_name": "P", "scheduler": ["diffusers", "DDIMScheduler"]}"#);
    refused(&dir, |e| matches!(e, SourceError::NoComponents { .. }), &["lists no component"]);
    for name in ["..", "a/b", "", "a\u{e9}", "NUL", "vae."] {
        dir.file("model_index.json", serde_json::json!({name: ["diffusers", "UNet2DConditionModel"]}).to_string());
        refused(&dir, |e| matches!(e, SourceError::ComponentName { .. }), &["lists a component", "expected letters"]);
    }
}

#[test]
fn a_quantized_component_is_named() {
    let dir = pipeline();
    dir.typed_weights("unet/diffusion_pytorch_model.safetensors", &[("a.weight", Dtype::F8E5M2, &[64, 64])]);
    let source = dir.open().expect("it is a pipeline");
    assert_eq!((source.kind, source.members[1].kind), (Kind::Pipeline, Kind::Fp8));
    let error = Plan::new(source.clone(), &options("none", "default")).expect_err("it cannot be imported");
    assert!(error.to_string().contains("unet"), "{error}");
}
