//! Tests of descriptions of already quantized weights, in every published form.

use longshore_model::{ModelConfig, QuantizationMethod as Method, SourceQuantization, WeightCoding};
use longshore_st_format::fixtures;
use proptest::prelude::*;

fn config(text: &str) -> SourceQuantization {
    let parsed = ModelConfig::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    parsed.quantization.unwrap_or_else(|| panic!("{text} describes it"))
}

fn described(text: &str) -> SourceQuantization {
    config(&format!(r#"{{"quantization_config": {text}}}"#))
}

#[test]
fn the_fixtures() {
    let model = |name: &str| config(&fixtures::model(name).json["config.json"]);
    let fp8 = model("deepseek-v3-fp8");
    assert_eq!((&fp8.method, fp8.block, fp8.format.as_deref()), (&Method::Fp8, Some((128, 128)), Some("e4m3")));

    let mxfp4 = model("gpt-oss-mxfp4");
    assert_eq!((&mxfp4.method, mxfp4.skipped.len()), (&Method::Mxfp4, 4));

    let mlx = model("qwen3-mlx-4bit");
    assert_eq!((&mlx.method, mlx.weights.bits, mlx.weights.group_size), (&Method::Mlx, Some(4), Some(64)));
    assert_eq!((mlx.weights.mode.as_deref(), mlx.overrides.len()), (None, 1), "no mode is affine");
    assert_eq!(mlx.of_module("lm_head").expect("it is quantized").bits, Some(8));
    assert_eq!(mlx.of_module("model.layers.0.mlp.up_proj"), Some(&mlx.weights));

    let nvfp4 = model("llama-modelopt-nvfp4");
    assert_eq!((&nvfp4.method, nvfp4.format.as_deref()), (&Method::ModelOpt, Some("nvfp4")));
    assert_eq!((nvfp4.weights.group_size, nvfp4.of_module("lm_head")), (Some(16), None));
    let sidecar = &fixtures::model("llama-modelopt-nvfp4").json["hf_quant_config.json"];
    let sidecar = SourceQuantization::parse_sidecar(sidecar.as_bytes()).expect("it is JSON").expect("it is described");
    assert_eq!((&sidecar.method, sidecar.version.as_deref()), (&Method::ModelOpt, Some("0.39.0")));
    assert_eq!((sidecar.format, sidecar.weights, sidecar.skipped), (nvfp4.format, nvfp4.weights, nvfp4.skipped));
}

#[test]
fn compressed_tensors() {
    // The form that llm-compressor writes for NVFP4.
    let found = described(
        r#"{"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "version": "0.10.2",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights":
                {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "symmetric": true,
                 "block_structure": null, "observer": "minmax", "zp_dtype": null}, "input_activations": null}},
            "ignore": ["lm_head", "re:.*router"], "kv_cache_scheme": null}"#,
    );
    assert_eq!((&found.method, found.format.as_deref()), (&Method::CompressedTensors, Some("nvfp4-pack-quantized")));
    let weights = &found.weights;
    assert_eq!((weights.bits, weights.group_size, weights.symmetric), (Some(4), Some(16), Some(true)));
    assert_eq!((weights.kind.as_deref(), weights.strategy.as_deref()), (Some("float"), Some("tensor_group")));
    assert_eq!((found.groups["group_0"].targets.as_slice(), found.block), (&["Linear".to_owned()][..], None));
    assert_eq!((found.skipped.len(), found.version.as_deref()), (2, Some("0.10.2")));

    // FP8 in blocks, beside a group with another coding.
    let found = described(
        r#"{"quant_method": "compressed-tensors", "config_groups": {
            "a": {"format": "float-quantized", "weights": {"num_bits": 8, "type": "float", "block_structure": [128, 128]}},
            "b": {"format": "pack-quantized", "weights": {"num_bits": 4, "type": "int", "group_size": -1}},
            "c": {"weights": null}}}"#,
    );
    assert_eq!((found.block, found.weights.bits, found.weights.kind), (Some((128, 128)), None, None));
    assert_eq!((found.groups.len(), found.groups["b"].weights.group_size), (2, None));
    assert_eq!(
        described(r#"{"config_groups": {"a": {"weights": {"block_structure": "64x32"}}}}"#).block,
        Some((64, 32))
    );
}

#[test]
fn other_methods() {
    let gptq = described(
        r#"{"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": true, "sym": false,
            "checkpoint_format": "gptq_v2", "true_sequential": true}"#,
    );
    assert_eq!((&gptq.method, gptq.desc_act, gptq.format.as_deref()), (&Method::Gptq, Some(true), Some("gptq_v2")));
    assert_eq!((gptq.weights.bits, gptq.weights.group_size, gptq.weights.symmetric), (Some(4), Some(128), Some(false)));

    let awq =
        described(r#"{"quant_method": "awq", "w_bit": 4, "q_group_size": 128, "zero_point": true, "version": "GEMM"}"#);
    assert_eq!((&awq.method, awq.format.as_deref(), awq.version), (&Method::Awq, Some("gemm"), None));
    assert_eq!((awq.weights.bits, awq.weights.group_size, awq.weights.symmetric), (Some(4), Some(128), Some(false)));

    let four_bit = described(r#"{"quant_method": "bitsandbytes", "load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}"#);
    assert_eq!((&four_bit.method, four_bit.weights.bits), (&Method::BitsAndBytes, Some(4)));
    assert_eq!(described(r#"{"load_in_8bit": true}"#).weights.bits, Some(8));
    assert_eq!(described(r#"{"quant_method": "Quanto"}"#).method, Method::Other("quanto".into()));

    let mixed = described(
        r#"{"quant_algo": "MIXED_PRECISION", "quantized_layers": {"a": {"quant_algo": "FP8"}, "b": {"group_size": 16}}}"#,
    );
    assert_eq!((&mixed.method, mixed.overrides.len()), (&Method::ModelOpt, 2));
}

#[test]
fn where_it_stands() {
    // A nested description under an older name.
    let nested =
        config(r#"{"text_config": {"compression_config": {"quant_method": "fp8", "weight_block_size": [64, 32]}}}"#);
    assert_eq!(nested.block, Some((64, 32)));
    // The first member that describes something is used.
    let second = config(r#"{"quantization": {"x": 1}, "quantization_config": {"quant_method": "awq", "bits": 4}}"#);
    assert_eq!(second.method, Method::Awq);
    assert_eq!(config(r#"{"quantization": {"x": 1}}"#).method, Method::Other(String::new()));
    // Documents without a description.
    for text in ["{}", r#"{"quantization": {}}"#, r#"{"quantization": null, "quantization_config": 3}"#] {
        assert_eq!(ModelConfig::parse(text.as_bytes()).expect(text).quantization, None, "{text}");
    }
}

#[test]
fn odd_members_are_passed_over() {
    let odd = described(
        r#"{"quant_method": "fp8", "bits": -1, "group_size": 1e300, "weight_block_size": [0, 128], "ignore": "x",
            "config_groups": [1], "desc_act": "yes", "version": 2, "quantized_layers": 0, "modules_to_not_convert": [1, "a"]}"#,
    );
    assert_eq!((odd.weights, odd.block, odd.desc_act), (WeightCoding::default(), None, None));
    assert_eq!((odd.skipped, odd.version.as_deref()), (vec!["a".to_owned()], Some("2")));
    for block in ["[1]", "[1, 2, 3]", "\"128\"", "\"0x4\"", "\"ax4\"", "128", "[1.5, 2]"] {
        let found = described(&format!(r#"{{"quant_method": "fp8", "weight_block_size": {block}}}"#));
        assert_eq!(found.block, None, "{block}");
    }
    assert_eq!(SourceQuantization::parse_sidecar(b"{}").expect("it is an object"), None);
    assert!(SourceQuantization::parse_sidecar(b"[]").is_err());
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let word = prop::sample::select(vec!["fp8", "gptq", "awq", "compressed-tensors", "modelopt", "128x128", "", "x"]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        word.prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key = prop::sample::select(vec![
            "quant_method",
            "bits",
            "group_size",
            "weight_block_size",
            "config_groups",
            "weights",
            "block_structure",
            "ignore",
            "targets",
            "version",
            "producer",
            "quantized_layers",
            "a.b",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..8).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn no_document_makes_it_panic(value in value()) {
        let text = serde_json::json!({"quantization_config": value, "quantization": value}).to_string();
        let config = ModelConfig::parse(text.as_bytes()).expect("it is an object");
        if let Some(found) = config.quantization {
            prop_assert!(found.weights.bits != Some(0) && found.weights.group_size != Some(0));
            let _ = found.of_module("a.b");
        }
        let _ = SourceQuantization::parse_sidecar(text.as_bytes());
    }
}
