//! Draft models beside a target.

use longshore_packer::{ExportOptions, Plan, PlanError, Source, SourceError};
use longshore_st_format::Dtype;

use crate::{
    stores::{companions, export_to, import_as, is_clean, read, store, tensors},
    support::{Dir, chain, fixture, open, options, plan},
};

fn target() -> Dir {
    Dir::model(&[("model.norm.weight", &[64]), ("model.layers.0.mlp.up_proj.weight", &[64, 64])])
}

fn draft() -> Dir {
    let dir = Dir::model(&[("model.layers.0.mlp.up_proj.weight", &[32, 64])]);
    dir.file("config.json", r#"{"architectures": ["SmallForCausalLM"], "model_type": "small"}"#);
    dir.file("tokenizer.json", "{}");
    dir
}

fn both(target: &Dir, draft: &Dir) -> Result<Source, SourceError> {
    target.open().expect("it is a model").with_draft(draft.open().expect("it is a model"))
}

#[test]
fn a_draft_is_stored_under_a_prefix() {
    let (target, draft, place) = (target(), draft(), Dir::new());
    let source = both(&target, &draft).expect("they fit");
    assert_eq!(source.architecture(), Some("TestForCausalLM"));
    let planned = plan(&source, "int4", "default");
    let names: Vec<_> = planned.blobs.iter().map(|blob| (blob.name.as_str(), blob.tensors[0].name.as_str())).collect();
    let same = |name| (name, name);
    assert_eq!(
        names,
        ["model.layers.0.mlp.up_proj.weight", "model.norm.weight", "draft.model.layers.0.mlp.up_proj.weight"].map(same)
    );
    assert!(planned.blobs[2].scheme.is_some());

    let store = store(&place);
    import_as(&store, "m", &source, "none");
    is_clean(&store);
    let stored = read(&store, "m");
    let found = stored.config.draft.as_ref().expect("it has a draft");
    assert_eq!((found.model_format.as_str(), found.architecture.as_str()), ("safetensors", "SmallForCausalLM"));
    assert_eq!((found.tensor_prefix.as_str(), found.config.as_str()), ("draft.", "draft/config.json"));
    let table = stored.config.longshore.as_ref().expect("it was imported");
    let (_, entry) = table.tensors().find(|(_, tensor)| tensor.name.starts_with("draft.")).expect("it is stored");
    assert_eq!(entry.sources, ["model.layers.0.mlp.up_proj.weight"], "sources have no prefix");
    assert_eq!(table.facts.architecture.as_deref(), Some("TestForCausalLM"));
    let text = String::from_utf8(stored.config.to_bytes()).expect("it is JSON");
    let object = r#""draft":{"model_format":"safetensors","architecture":"SmallForCausalLM","tensor_prefix":"draft.","config":"draft/config.json"},"architecture""#;
    assert!(text.contains(object), "{text}");

    let out = place.join("out");
    export_to(&store, "m", &out, &ExportOptions::default());
    let (exported, of_draft) =
        (open(&out).expect("it is a model"), open(&out.join("draft")).expect("it loads by itself"));
    assert_eq!(tensors(&exported), tensors(&target.open().expect("it is a model")));
    assert_eq!(tensors(&of_draft), tensors(&draft.open().expect("it is a model")));
    assert_eq!(companions(&of_draft), companions(&draft.open().expect("it is a model")));
}

#[test]
fn real_shapes_beside_each_other() {
    let (target, draft, place) = (fixture("qwen3-moe"), fixture("llama"), Dir::new());
    let source = both(&target, &draft).expect("they fit");
    let store = store(&place);
    import_as(&store, "m", &source, "none");
    is_clean(&store);
    let out = place.join("out");
    export_to(&store, "m", &out, &ExportOptions::default());
    assert_eq!(tensors(&open(&out).expect("it is a model")), tensors(&target.open().expect("it is a model")));
    assert_eq!(tensors(&open(&out.join("draft")).expect("it is one")), tensors(&draft.open().expect("it is one")));
}

#[test]
fn a_draft_may_be_quantized_already() {
    let (target, draft, place) = (fixture("llama"), fixture("qwen3-mlx-4bit"), Dir::new());
    let source = both(&target, &draft).expect("they fit");
    let store = store(&place);
    import_as(&store, "m", &source, "none");
    is_clean(&store);
    let table = read(&store, "m").config.longshore.expect("it was imported");
    let found =
        table.tensors().find(|(_, tensor)| tensor.name == "draft.lm_head.weight").expect("it is stored").1.clone();
    assert_eq!(found.quantization.expect("it is quantized").to_string(), "int8-g64");
}

#[test]
fn what_is_no_draft() {
    let refused = |target: &Dir, draft: Source, words: &str| {
        let error = target.open().expect("it is a model").with_draft(draft).expect_err(words);
        assert!(matches!(error, SourceError::Draft { .. }), "{error:?}");
        assert!(chain(&error).contains(words), "{}", chain(&error));
    };
    let (target, draft) = (target(), draft());
    let pipeline = fixture("flux");
    refused(&target, pipeline.open().expect("it is a pipeline"), "it is a pipeline");
    refused(&pipeline, draft.open().expect("it is a model"), "a pipeline has no draft");
    refused(&target, both(&target, &draft).expect("they fit"), "has a draft model itself");
    refused(&target, open(&draft.join("model.safetensors")).expect("it is a file"), "expected a directory");
    target.file("draft/config.json", "{}");
    refused(&target, draft.open().expect("it is a model"), "a file draft/config.json of its own");
    assert!(matches!(Dir::new().open(), Err(SourceError::Empty { .. })));
}

#[test]
fn a_tensor_called_like_a_drafts_clashes() {
    let target = Dir::model(&[("draft.model.layers.0.mlp.up_proj.weight", &[2, 2])]);
    let error =
        Plan::new(both(&target, &draft()).expect("they fit"), &options("none", "default")).expect_err("they clash");
    assert!(matches!(error, PlanError::Clash { .. }), "{error}");
}

#[test]
fn a_quantized_target_is_still_refused() {
    let target = Dir::model(&[]);
    target.typed_weights("model.safetensors", &[("a.weight", Dtype::F8E5M2, &[64, 64])]);
    let error =
        Plan::new(both(&target, &draft()).expect("they fit"), &options("none", "default")).expect_err("it is FP8");
    assert!(matches!(error, PlanError::Coding { .. }), "{error}");
}
