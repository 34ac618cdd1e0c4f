//! Tests of matching the names of a configuration against modules.

use longshore_model::{
    ModelConfig, SourceQuantization,
    modules::{ModuleError, NamedModules},
};
use proptest::prelude::*;

fn described(text: &str) -> SourceQuantization {
    let config = ModelConfig::parse(format!(r#"{{"quantization_config": {text}}}"#).as_bytes());
    config.expect("it is JSON").quantization.expect("it is described")
}

fn numbers(named: &NamedModules<'_>, module: &str) -> Option<(Option<u32>, Option<u32>)> {
    named.of(module).map(|coding| (coding.bits, coding.group_size))
}

#[test]
fn wrappers_are_passed_over() {
    let said = described(
        r#"{"bits": 4, "group_size": 64, "model.language_model.layers.0.a": {"bits": 8, "group_size": 64}, "lm_head": false,
            "mtp.layers.0.a": {"bits": 2, "group_size": 64}, "visual.a": false}"#,
    );
    let modules = ["language_model.model.layers.0.a", "vision_tower.layers.0.a", "language_model.lm_head"];
    let named = NamedModules::new(&said, modules).expect("every name fits one module at most");
    assert_eq!(numbers(&named, modules[0]), Some((Some(8), Some(64))));
    assert_eq!(numbers(&named, modules[1]), Some((Some(4), Some(64))));
    assert_eq!(numbers(&named, modules[2]), None);
    let unmatched: Vec<_> = named.unmatched().iter().map(|named| named.name).collect();
    assert_eq!((unmatched, named.idle()), (vec!["mtp.layers.0.a"], &["visual.a"][..]));
    let error = NamedModules::new(&said, ["model.layers.0.a", "text_model.layers.0.a"]).expect_err("it may be both");
    assert!(matches!(error, ModuleError::Ambiguous { .. }), "{error}");
}

/// The first pattern of the document counts, and JSON's members are sorted once parsed.
#[test]
fn dynamic_patterns_in_order() {
    let said = described(
        r#"{"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true, "dynamic": {"z.*": {"bits": 8}, "-:.*o_proj": {},
            "+:.*": {"group_size": -1}}}"#,
    );
    let order: Vec<_> = said.dynamic.iter().map(|(pattern, _)| pattern.as_str()).collect();
    assert_eq!(order, ["z.*", "-:.*o_proj", "+:.*"]);
    let named = NamedModules::new(&said, ["z.o_proj", "a.o_proj", "a.z"]).expect("they are patterns");
    assert_eq!(numbers(&named, "z.o_proj"), Some((Some(8), Some(128))), "what it does not say is as for all");
    assert_eq!(numbers(&named, "a.o_proj"), None);
    assert_eq!(numbers(&named, "a.z"), Some((Some(4), None)));
    assert_eq!(named.of("a.z").expect("it is quantized").symmetric, Some(true));
    let bad = described(r#"{"quant_method": "gptq", "bits": 4, "dynamic": {"+:(": {"bits": 8}}}"#);
    assert!(matches!(NamedModules::new(&bad, ["a"]), Err(ModuleError::Pattern { .. })));
}

#[test]
fn targets_of_groups() {
    let said = described(
        r#"{"quant_method": "compressed-tensors", "ignore": ["lm_head"], "config_groups": {
            "z": {"targets": ["re:.*mlp.*"], "weights": {"num_bits": 4}},
            "y": {"targets": ["Linear"], "weights": {"num_bits": 8}},
            "x": {"targets": ["model.mlp.up", "re:model[.]mlp.*"], "weights": {"num_bits": 2}}}}"#,
    );
    let named =
        NamedModules::new(&said, ["mlp.up", "mlp.down", "attn.q", "lm_head", "embed_tokens"]).expect("they fit");
    let bits = |module: &str| named.of(module).map(|coding| coding.bits);
    assert_eq!(bits("mlp.up"), Some(Some(2)), "a name comes before patterns");
    assert_eq!(bits("mlp.down"), Some(Some(4)), "the first pattern");
    assert_eq!((bits("attn.q"), bits("lm_head"), bits("embed_tokens")), (Some(Some(8)), None, Some(None)));
    assert_eq!((named.unmatched(), named.idle().len()), (&[][..], 0));
}

#[test]
fn modules_that_lists_exclude() {
    let of = |list: &str, method: &str, module: &str| {
        let said = described(&format!(r#"{{"quant_method": "{method}", "ignore": [{list}]}}"#));
        let named = NamedModules::new(&said, [module, "model.norm"]).expect("every name fits one module at most");
        named.exclusion_of(module).map(str::to_owned)
    };
    let up = "model.layers.0.mlp.up_proj";
    for (list, method) in [
        (r#""model.layers.0.mlp.up_proj""#, "fp8"),
        (r#""language_model.layers.0.mlp.up_proj""#, "fp8"),
        (r#""up_proj""#, "awq"),
        (r#""layers.0""#, "modelopt"),
        (r#""mlp""#, "modelopt"),
        (r#""*.up_proj""#, "modelopt"),
        (r#""re:.*up_proj""#, "compressed-tensors"),
    ] {
        let found = of(list, method, up).unwrap_or_else(|| panic!("{list} excludes it"));
        assert!(list.contains(&found) || list.contains(&format!("re:{found}")), "{list}: {found}");
    }
    for (list, method) in [
        (r#""model.layers.0.mlp.up""#, "fp8"),
        (r#""model", "up_pro", "", "layers.1""#, "fp8"),
        (r#""*.up_proj""#, "fp8"),
        (r#""*.mlp", "lm_head""#, "modelopt"),
        (r#""re:(?=x)""#, "compressed-tensors"),
    ] {
        assert_eq!(of(list, method, up), None, "{list}");
    }
}

proptest! {
    /// Names and patterns from a few letters give a description or an error, and never a panic.
    #[test]
    fn any_names(
        names in prop::collection::vec("(model|language_model|layers|a|b|0|[.]|[.*+?(|)\\\\])([.](model|a|b|0)){0,3}", 0..5),
        modules in prop::collection::vec("(model|language_model|layers|a|b|0)([.](model|a|b|0)){0,3}", 0..6),
        method in prop::sample::select(vec!["mlx", "gptq", "modelopt", "compressed-tensors"]),
    ) {
        let entries = |value: &str| {
            let entries = names.iter().map(|name| format!("{}: {value}", serde_json::to_string(name).expect("it is text")));
            entries.collect::<Vec<_>>().join(", ")
        };
        let (object, list) = (entries(r#"{"bits": 8, "group_size": 32}"#), serde_json::to_string(&names).expect("they are text"));
        let said = match method {
            "mlx" if object.is_empty() => r#"{"bits": 4}"#.to_owned(),
            "mlx" => format!(r#"{{"bits": 4, {object}}}"#),
            "gptq" => format!(r#"{{"quant_method": "gptq", "bits": 4, "dynamic": {{{object}}}}}"#),
            _ => format!(
                r#"{{"quant_method": "{method}", "ignore": {list}, "config_groups": {{"a": {{"targets": {list}, "weights": {{"num_bits": 4}}}}}}}}"#
            ),
        };
        let said = described(&said);
        if let Ok(named) = NamedModules::new(&said, modules.iter().map(String::as_str)) {
            for module in &modules {
                let _ = named.of(module);
            }
            prop_assert!(named.unmatched().len() + named.idle().len() <= 3 * names.len());
        }
    }
}
