//! Statements about quantization in the files of an export whose values are floats.

use std::{fs, path::Path};

use longshore_packer::{ExportOptions, Plan, PlanOptions, Source};
use longshore_quant::FloatType;

use crate::{
    stores::{companions, dequantize, export_to, import_as, store, threads, try_import},
    support::{Dir, fixture, open, options},
};

fn text(dir: &Path) -> String {
    fs::read_to_string(dir.join("config.json")).expect("it is there")
}

/// Imports with a scheme, exports, and returns the exported configuration.
fn exported(source: &Source, scheme: &str, output: Option<FloatType>) -> (Dir, String) {
    let target = Dir::new();
    let store = store(&target);
    import_as(&store, "m", source, scheme);
    let out = target.join("out");
    export_to(&store, "m", &out, &output.map_or_else(ExportOptions::default, dequantize));
    let text = text(&out);
    (target, text)
}

#[test]
fn a_decoded_model_says_nothing_of_quantization() {
    for model in ["qwen3-mlx-4bit", "gpt-oss-mxfp4", "llama-modelopt-nvfp4"] {
        let dir = fixture(model);
        let source = dir.open().expect("a fixture is a model");
        let (target, found) = exported(&source, "none", Some(FloatType::F16));
        let before = text(dir.path());
        let until = before.find("\"quantization").expect("the source says so");
        let kept = before[..until].trim_end().trim_end_matches(',').replace("bfloat16", "float16");
        assert!(found.starts_with(&kept), "{model}: {found}");
        assert_eq!(found[kept.len()..].trim(), "}", "{model}");
        assert!(!target.join("out").join("hf_quant_config.json").exists(), "{model}");
        let again = open(&target.join("out")).expect("it is a checkpoint");
        assert_eq!(again.kind.to_string(), "float", "{model}");
    }
}

#[test]
fn values_decoded_at_import_count_as_well() {
    let dir = fixture("deepseek-v3-fp8");
    let (source, target) = (dir.open().expect("a fixture is a model"), Dir::new());
    let store = store(&target);
    let plan = Plan::new(source.clone(), &PlanOptions { floats: true, ..options("none", "default") })
        .expect("it can be planned");
    try_import(&store, "m", &plan, &threads(2)).expect("it can be imported");
    let out = target.join("out");
    export_to(&store, "m", &out, &ExportOptions::default());
    let (before, after) = (text(dir.path()), text(&out));
    assert!(before.contains("quantization_config") && !after.contains("quant"), "{after}");
    assert!(after.contains("\"dtype\": \"bfloat16\""));
}

#[test]
fn only_the_type_changes_where_nothing_else_was_said() {
    let dir = fixture("llama");
    let source = dir.open().expect("a fixture is a model");
    let (_target, found) = exported(&source, "int4", Some(FloatType::BF16));
    assert_eq!(found, text(dir.path()));
    let (_target, found) = exported(&source, "int4", Some(FloatType::F32));
    assert_eq!(found, text(dir.path()).replace("\"bfloat16\"", "\"float32\""));
}

/// An export removes statements about quantization wherever an import reads them.
#[test]
fn a_nested_language_model_is_looked_at() {
    for member in ["text_config", "llm_config", "language_config", "language_model_config", "thinker_config", "decoder"]
    {
        let dir = Dir::new();
        let before = concat!(
            "{\n  \"architectures\": [\"TestForCausalLM\"],\n  \"MEMBER\": {\n    \"torch_dtype\": \"bfloat16\",\n",
            "    \"quantization_config\": {\"quant_method\": \"fp8\"},\n    \"rms_norm_eps\": 1e-06\n  }\n}\n"
        )
        .replace("MEMBER", member);
        dir.file("config.json", &before);
        dir.weights("model.safetensors", &[("a.weight", &[64, 64])]);
        let source = dir.open().expect("it is a model");
        assert!(source.config.as_ref().is_some_and(|config| config.quantization.is_some()), "{member}");
        let (_target, found) = exported(&source, "int8", Some(FloatType::F32));
        let expected = before.replace("bfloat16", "float32");
        assert_eq!(found, expected.replace("    \"quantization_config\": {\"quant_method\": \"fp8\"},\n", ""));
    }
}

#[test]
fn a_float_source_keeps_every_byte() {
    let dir = Dir::new();
    dir.file("config.json", "{ \"compression_config\" : {},\n\n \"torch_dtype\":\"float16\",\"x\": NaN }");
    dir.weights("model.safetensors", &[("a.weight", &[64, 64])]);
    let source = dir.open().expect("it is a model");
    assert_eq!(source.kind.to_string(), "float");
    let (target, _) = exported(&source, "none", None);
    assert_eq!(companions(&open(&target.join("out")).expect("it is a model")), companions(&source));
}
