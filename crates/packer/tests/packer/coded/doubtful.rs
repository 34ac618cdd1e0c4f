//! Checkpoints that are imported with a warning: their names, files and configuration do not go together.

use longshore_st_format::Dtype;

use super::{
    checkpoint::{Checkpoint, Imported},
    integers::Matrix,
    numbers::{bf16_bytes, f16_bytes, short_floats},
};
use crate::support::options;

fn config(method: &str, list: &str) -> Checkpoint {
    Checkpoint::with_config(&format!(r#""quantization_config": {{"quant_method": {method}, {list}}}"#))
}

fn nvfp4(to: Checkpoint, module: &str) -> Checkpoint {
    let weight = to.zeros(&format!("{module}.weight"), Dtype::U8, &[2, 16]);
    weight.zeros(&format!("{module}.weight_scale"), Dtype::F8E4M3, &[2, 2])
}

fn fp8(to: Checkpoint, module: &str) -> Checkpoint {
    let weight = to.zeros(&format!("{module}.weight"), Dtype::F8E4M3, &[2, 16]);
    weight.add(&format!("{module}.weight_scale_inv"), Dtype::BF16, &[1, 1], bf16_bytes(&[1.5]))
}

/// The warnings of the plan, but for the one that no runtime knows the architecture.
fn warnings(imported: &Imported) -> Vec<&str> {
    let of_plan = imported.plan.warnings.iter().map(String::as_str);
    of_plan.filter(|warning| !warning.contains("no runtime")).collect()
}

/// Checks that there is one warning, with these words.
fn only(imported: &Imported, words: &[&str]) {
    let found = warnings(imported);
    assert!(found.len() == 1 && words.iter().all(|word| found[0].contains(word)), "{words:?} in {found:?}");
}

#[test]
fn weights_of_excluded_modules() {
    let (up, down) = ("model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj");
    let modelopt = r#""modelopt", "quant_algo": "NVFP4""#;
    let compressed = r#""compressed-tensors", "format": "nvfp4-pack-quantized""#;
    for (method, key, name) in [
        (modelopt, "ignore", up),
        (modelopt, "exclude_modules", "*.up_proj"),
        (modelopt, "exclude_modules", "language_model.layers.0.mlp.up_proj"),
        (compressed, "ignore", "re:.*up_proj"),
    ] {
        let checkpoint = config(method, &format!(r#""{key}": ["{name}"]"#));
        let imported = nvfp4(nvfp4(checkpoint, up), down).import();
        only(&imported, &["excludes", name, &format!("\"{up}.weight\" is quantized")]);
        assert!(imported.notes().is_empty(), "{:?}", imported.notes());
    }
    for (key, name) in [("modules_to_not_convert", up), ("ignored_layers", "model.layers.0")] {
        let imported = fp8(config(r#""fp8""#, &format!(r#""{key}": ["{name}"]"#)), up).import();
        only(&imported, &["excludes", name, &format!("\"{up}.weight\" is quantized")]);
    }
    let both = fp8(fp8(config(r#""fp8""#, r#""ignored_layers": ["mlp"]"#), up), down).import();
    only(&both, &["excludes", "2 weights", down, "\"mlp\""]);
    // Lists that name what the files do not hold as codes.
    let plain = fp8(config(r#""fp8""#, r#""ignored_layers": ["lm_head", "model.layers.0.mlp.gate"]"#), up)
        .add("lm_head.weight", Dtype::BF16, &[2, 16], bf16_bytes(&short_floats(1, 32)))
        .add("model.layers.0.mlp.gate.weight", Dtype::BF16, &[2, 16], bf16_bytes(&short_floats(1, 32)))
        .import();
    assert_eq!(warnings(&plain), [""; 0]);
    // Other formats refuse the name itself, and say more of one that is known by its end.
    let awq = |name: &str| {
        let list = format!(r#""bits": 4, "group_size": 64, "modules_to_not_convert": ["{name}"]"#);
        Matrix::in_groups(1, [64, 128], 4, None, 64).awq(config(r#""awq""#, &list), up, f16_bytes, Dtype::F16)
    };
    assert!(awq(up).refusal().contains("not quantized"));
    only(&awq("up_proj").import(), &["excludes", "\"up_proj\"", up]);
}

#[test]
fn a_second_description_that_differs() {
    let with = |ours: &str, theirs: &str, below: &str| {
        let config = if ours.is_empty() { String::new() } else { format!(r#""quantization_config": {{{ours}}}"#) };
        let dir = nvfp4(Checkpoint::with_config(&config), "m").write();
        dir.file(&format!("{below}hf_quant_config.json"), theirs);
        let imported = Imported::new(&dir, &options("none", "default"), false);
        warnings(&imported).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let nvfp4 = r#""quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16"#;
    let other = r#"{"quantization": {"quant_algo": "FP8", "group_size": 32}}"#;
    assert_eq!(
        with(nvfp4, other, ""),
        [
            "config.json says algorithm \"nvfp4\", which is used, but hf_quant_config.json says \"fp8\"",
            "config.json says group size 16, which is used, but hf_quant_config.json says 32"
        ]
    );
    let compressed = r#""quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized""#;
    for (ours, theirs) in [
        (nvfp4, r#"{"quantization": {"quant_algo": "NVFP4", "group_size": 16}}"#),
        (nvfp4, r#"{"quantization": {"kv_cache_quant_algo": "FP8"}}"#),
        (nvfp4, "{}"),
        (nvfp4, "[]"),
        (compressed, r#"{"quantization": {"quant_algo": "NVFP4_AWQ", "group_size": 16}}"#),
        ("", other),
    ] {
        assert_eq!(with(ours, theirs, ""), [""; 0], "{ours} {theirs}");
    }
    assert_eq!(with(r#""quant_method": "fp8""#, r#"{"quantization": {"quant_algo": "NVFP4"}}"#, "").len(), 1);
}

#[test]
fn scales_without_a_weight() {
    let f32 = |count: usize| short_floats(1, count).iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    for (name, dtype) in [
        ("x.weight_scale", Dtype::F8E4M3),
        ("x.weight_scale_2", Dtype::F32),
        ("x.weight_scale_inv", Dtype::F32),
        ("experts.up_proj_scale_inv", Dtype::F32),
        ("x.weight_global_scale", Dtype::F32),
        ("x.input_scale", Dtype::F32),
        ("x.scales", Dtype::BF16),
        ("x.biases", Dtype::BF16),
        ("x.qzeros", Dtype::F32),
        ("x.up_scales", Dtype::BF16),
        ("x.scale", Dtype::F8E8M0),
    ] {
        let imported = nvfp4(Checkpoint::new(), "m").zeros(name, dtype, &[4]).import();
        only(&imported, &[&format!("tensor {name:?} belongs to a quantized weight that the files do not have")]);
        assert_eq!(imported.entry(name).dtype, dtype);
    }
    let two = nvfp4(Checkpoint::new(), "m").zeros("a.scales", Dtype::BF16, &[4]).zeros("b.scales", Dtype::BF16, &[4]);
    only(&two.import(), &["2 tensors belong", "\"a.scales\" first"]);
    // A weight that is not quantized has no use for one, and its own parameters may be called alike.
    let plain = |name: &str| {
        let checkpoint =
            Checkpoint::new().add("x.weight", Dtype::F32, &[2, 4], f32(8)).add(name, Dtype::F32, &[2], f32(2));
        warnings(&checkpoint.import()).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(plain("x.weight_scale").len(), 1);
    for name in ["x.scales", "x.biases", "x.input_scale", "x.scale", "y.scales", "logit_scale"] {
        assert_eq!(plain(name), [""; 0], "{name}");
    }
}

#[test]
fn integers_without_scales() {
    let beside = |dtype: Dtype, name: &str| nvfp4(Checkpoint::new(), "m").zeros(name, dtype, &[2, 16]).import();
    for dtype in [Dtype::I8, Dtype::U8, Dtype::I32] {
        let imported = beside(dtype, "n.weight");
        only(&imported, &["tensor \"n.weight\" of integers has no scale"]);
        assert_eq!(imported.scheme("n.weight"), "none");
    }
    assert_eq!(warnings(&beside(Dtype::I64, "position_ids")), [""; 0]);
    let alone = Checkpoint::new().zeros("table.weight", Dtype::U8, &[2, 16]).import();
    assert_eq!(warnings(&alone), [""; 0]);
}
