//! Modules that the configuration names, whatever the names of tensors are.

use longshore_st_format::Dtype;

use super::{
    checkpoint::Checkpoint,
    integers::Matrix,
    mlx::Affine,
    numbers::{bf16_bytes, bit_stream, f16_bytes, noise, short_floats},
};

const OUT: &str = "language_model.model.layers.0.linear_attn.out_proj";
const IN: &str = "language_model.model.layers.0.linear_attn.in_proj";

/// An MLX configuration of 4 bits in groups of 128, with overrides as `"name": {…}`.
fn mlx(overrides: &str) -> Checkpoint {
    let comma = if overrides.is_empty() { "" } else { ", " };
    Checkpoint::with_config(&format!(
        r#""hidden_size": 128, "quantization": {{"bits": 4, "group_size": 128{comma}{overrides}}}"#
    ))
}

const EIGHT: &str = r#"{"bits": 8, "group_size": 64}"#;
const SIX: &str = r#"{"bits": 6, "group_size": 128}"#;

#[test]
fn wrappers_do_not_matter() {
    let (eight, six) = (Affine::new(1, &[128, 128], 8, 64), Affine::new(2, &[128, 256], 6, 128));
    for name in ["model.language_model.layers.0", "model.layers.0", "layers.0", "text_model.model.layers.0"] {
        let overrides = format!(r#""{name}.linear_attn.out_proj": {EIGHT}, "{name}.linear_attn.in_proj": {SIX}"#);
        let imported = six.add(eight.add(mlx(&overrides), OUT, Dtype::F16), IN, Dtype::F16).import();
        let (out, into) = (format!("{OUT}.weight"), format!("{IN}.weight"));
        assert_eq!((imported.scheme(&out), imported.scheme(&into)), ("int8".into(), "int6-g128".into()));
        imported.has(&out, &[128, 128], &eight.values);
        imported.has(&into, &[128, 256], &six.values);
        assert!(imported.warnings.iter().all(|warning| !warning.contains("config.json")), "{:?}", imported.warnings);
    }
    // 32 words have no whole number of 6-bit codes.
    let refusal =
        eight.add(mlx(&format!(r#""model.layers.0.linear_attn.out_proj": {SIX}"#)), OUT, Dtype::F16).refusal();
    assert!(refusal.contains(OUT) && refusal.contains("6 bits") && refusal.contains("rows of 32 units"), "{refusal}");
}

/// Other segments tell modules apart.
#[test]
fn names_of_other_modules() {
    let four = Affine::new(1, &[128, 256], 4, 128);
    for name in ["vision_tower", "visual", "audio_tower", "mtp", "model.mtp", "layers.1", "my_model"] {
        let overrides = format!(r#""{name}.layers.0.linear_attn.out_proj": {EIGHT}"#);
        let refusal = four.add(mlx(&overrides), OUT, Dtype::F16).refusal();
        let words = ["8 bits in groups of 64", "4 bits in groups of 128", OUT, name];
        assert!(words.iter().all(|words| refusal.contains(words)), "{refusal}");
    }
    // Both are the module, so neither is.
    let twice = four.add(
        four.add(mlx(&format!(r#""layers.0.x": {EIGHT}"#)), "model.layers.0.x", Dtype::F16),
        "layers.0.x",
        Dtype::F16,
    );
    let refusal = twice.refusal();
    assert!(refusal.contains("\"model.layers.0.x\"") && refusal.contains("may be \"layers.0.x\""), "{refusal}");
    // Two names of one module that disagree.
    let overrides = format!(r#""model.layers.0.x": {EIGHT}, "layers.0.x": {SIX}"#);
    let refusal = four.add(mlx(&overrides), "layers.0.x", Dtype::F16).refusal();
    assert!(refusal.contains("twice and not alike"), "{refusal}");
}

/// A name without a module is a warning where no weight can be meant by it.
#[test]
fn names_without_a_module() {
    let four = Affine::new(1, &[128, 256], 4, 128);
    for coding in [r#"{"bits": 4, "group_size": 128}"#, r#"{"bits": 8, "group_size": 128}"#, SIX] {
        let imported = four.add(mlx(&format!(r#""mtp.layers.0.x": {coding}"#)), OUT, Dtype::F16).import();
        assert!(imported.warnings.iter().any(|warning| warning.contains("\"mtp.layers.0.x\"")), "{coding}");
        imported.has(&format!("{OUT}.weight"), &[128, 256], &four.values);
    }
    // The matrix beside it says that its rows have 256 codes, so that 8 bits are not meant.
    let (up, down) = (Affine::new(1, &[128, 256], 4, 128), Affine::new(2, &[256, 128], 4, 128));
    let with_down = down.add(mlx(&format!(r#""mtp.x": {EIGHT}"#)), "layers.0.mlp.down_proj", Dtype::F16);
    let imported = up.add(with_down, "layers.0.mlp.up_proj", Dtype::F16).import();
    assert!(imported.warnings.iter().any(|warning| warning.contains("\"mtp.x\"")), "{:?}", imported.warnings);
    imported.has("layers.0.mlp.up_proj.weight", &[128, 256], &up.values);
}

/// Lists that only exclude modules name what checkpoints leave out: a head that is the embedding, layers for
/// predicting more tokens.
#[test]
fn exclusions_without_a_module() {
    let awq = |list: &str| {
        format!(r#""quantization_config": {{"quant_method": "awq", "bits": 4, "group_size": 64, {list}}}"#)
    };
    let plain =
        |to: Checkpoint| to.add("model.visual.proj.weight", Dtype::BF16, &[2, 64], bf16_bytes(&short_floats(3, 128)));
    for list in [
        r#""modules_to_not_convert": ["lm_head", "visual"]"#,
        r#""ignore": ["re:.*lm_head", "re:.*visual.*"]"#,
        r#""modules_to_save": ["model.visual.proj", "mtp.layers.0"]"#,
        r#""ignore": ["re:(?=lookaround)"]"#,
    ] {
        let matrix = Matrix::in_groups(1, [64, 128], 4, None, 64);
        let imported =
            plain(matrix.awq(Checkpoint::with_config(&awq(list)), "model.layers.0.up", f16_bytes, Dtype::F16)).import();
        imported.has("model.layers.0.up.weight", &[64, 128], &matrix.values());
        assert!(!imported.warnings.iter().any(|warning| warning.contains("config.json")), "{:?}", imported.warnings);
        let [note] = imported.notes() else { panic!("{:?}", imported.notes()) };
        let first = ["lm_head", "mtp.layers.0", "(?=lookaround)"].iter().any(|name| note.contains(name));
        assert!(first && note.contains("fits no module") && !note.contains("visual"), "{note}");
    }
    let modelopt = |list: &str| {
        let config = format!(
            r#""quantization_config": {{"quant_method": "modelopt", "quant_algo": "NVFP4", "exclude_modules": [{list}]}}"#
        );
        let checkpoint = Checkpoint::with_config(&config).zeros("model.layers.0.up.weight", Dtype::U8, &[2, 16]).zeros(
            "model.layers.0.up.weight_scale",
            Dtype::F8E4M3,
            &[2, 2],
        );
        plain(checkpoint).import()
    };
    assert_eq!(modelopt(r#""*.visual.*", "model.visual*""#).notes(), [""; 0]);
    let noted = modelopt(r#""lm_head", "*.visual.*", "mtp*""#);
    assert!(noted.notes()[0].contains("2 names") && noted.notes()[0].contains("lm_head"), "{:?}", noted.notes());
}

/// A configuration that lies about bits and groups alike, so that their product is right.
#[test]
fn sizes_that_speak_against_the_numbers() {
    let eight = Affine::new(1, &[256, 128], 8, 64);
    for (module, words) in [
        ("model.layers.0.self_attn.q_proj", "hidden_size is 128"),
        ("model.layers.0.mlp.gate_proj", "hidden_size is 128"),
        ("lm_head", "hidden_size is 128"),
    ] {
        let refusal = eight.add(mlx(""), module, Dtype::F16).refusal();
        let words = [words, "4 bits in groups of 128", "makes 256 columns", "8 bits in groups of 64"];
        assert!(words.iter().all(|words| refusal.contains(words)), "{refusal}");
    }
    let down = Affine::new(2, &[512, 128], 8, 64);
    let beside = Affine::new(1, &[128, 512], 4, 128).add(mlx(""), "vision_tower.mlp.up_proj", Dtype::F16);
    let refusal = down.add(beside, "vision_tower.mlp.down_proj", Dtype::F16).refusal();
    assert!(refusal.contains("\"vision_tower.mlp.up_proj\" has 128 rows"), "{refusal}");
    // Where no other numbers would fit, the sizes of the configuration may be those of another part.
    let other = Affine::new(1, &[256, 256], 4, 64);
    let config = r#""hidden_size": 96, "quantization": {"bits": 4, "group_size": 64}"#;
    let imported = other.add(Checkpoint::with_config(config), "model.layers.0.self_attn.q_proj", Dtype::F16).import();
    imported.has("model.layers.0.self_attn.q_proj.weight", &[256, 256], &other.values);
}

/// Shared experts are several experts wide, and the matrices beside them say so in every form.
#[test]
fn shared_experts() {
    let sizes = r#""hidden_size": 128, "intermediate_size": 512, "moe_intermediate_size": 128"#;
    let gptq = r#""quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": true}"#;
    let awq = r#""quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}"#;
    let mlp = "model.layers.1.mlp.shared_experts";
    let (up, down) =
        (Matrix::in_groups(1, [256, 128], 4, Some(8), 128), Matrix::in_groups(2, [128, 256], 4, Some(8), 128));
    for count in [r#", "n_shared_experts": 2"#, r#", "shared_expert_intermediate_size": 256"#, ""] {
        let of = |config: &str| Checkpoint::with_config(&format!("{sizes}{count}, {config}"));
        let add = |matrix: &Matrix, to, name: &str, is_awq| {
            let module = format!("{mlp}.{name}");
            if is_awq {
                matrix.awq(to, &module, f16_bytes, Dtype::F16)
            } else {
                matrix.gptq(to, &module, 1, f16_bytes, Dtype::F16)
            }
        };
        for (config, is_awq) in [(gptq, false), (awq, true)] {
            let both = add(&down, add(&up, of(config), "up_proj", is_awq), "down_proj", is_awq).import();
            both.has(&format!("{mlp}.down_proj.weight"), &[128, 256], &down.values());
            both.has(&format!("{mlp}.up_proj.weight"), &[256, 128], &up.values());
            // Without the matrix beside it, a stated size has to allow it. The words of AWQ need none.
            if is_awq || !count.is_empty() {
                let alone = add(&down, of(config), "down_proj", is_awq).import();
                alone.has(&format!("{mlp}.down_proj.weight"), &[128, 256], &down.values());
            }
        }
    }
    // The matrix beside it speaks against the numbers as well.
    let eight = Matrix::in_groups(2, [128, 256], 8, Some(128), 64);
    let config = Checkpoint::with_config(&format!("{sizes}, {gptq}"));
    let beside = up.gptq(config, &format!("{mlp}.up_proj"), 1, f16_bytes, Dtype::F16);
    let lied = eight.gptq(beside, &format!("{mlp}.down_proj"), 1, f16_bytes, Dtype::F16).refusal();
    assert!(lied.contains("qzeros"), "{lied}");
}

/// Matrices of attention, routing and states, whose configuration lies about bits and groups alike.
#[test]
fn sizes_of_every_module() {
    let (wide, narrow) = (Affine::new(1, &[128, 256], 8, 64), Affine::new(2, &[64, 128], 8, 64));
    let four = |rows: u64| Affine::new(3, &[rows, 128], 4, 128);
    let sizes = |more: &str| {
        let config = format!(r#""hidden_size": 128{more}, "quantization": {{"bits": 4, "group_size": 128}}"#);
        Checkpoint::with_config(&config)
    };
    let heads = r#", "num_attention_heads": 4, "head_dim": 64"#;
    let values = r#", "num_attention_heads": 4, "head_dim": 192, "v_head_dim": 64"#;
    let linear = r#", "linear_num_value_heads": 4, "linear_value_head_dim": 64"#;
    let layer = "model.layers.0";
    for (matrix, more, name, words) in [
        (&wide, heads, "self_attn.o_proj", "num_attention_heads times"),
        (&wide, values, "self_attn.o_proj", "num_attention_heads times"),
        (&wide, heads, "self_attn.out_proj", "num_attention_heads times"),
        (&wide, linear, "linear_attn.out_proj", "linear_num_value_heads times"),
        (&narrow, "", "self_attn.qkv_proj", "hidden_size is 128"),
        (&narrow, "", "mlp.gate", "hidden_size is 128"),
        (&narrow, "", "mlp.router", "hidden_size is 128"),
        (&narrow, "", "mlp.shared_expert_gate", "hidden_size is 128"),
        (&narrow, "", "linear_attn.in_proj_qkvz", "hidden_size is 128"),
        (&narrow, "", "mixer.in_proj", "hidden_size is 128"),
    ] {
        let refusal = matrix.add(sizes(more), &format!("{layer}.{name}"), Dtype::F16).refusal();
        assert!(refusal.contains(words) && refusal.contains("8 bits in groups of 64"), "{name}: {refusal}");
    }
    let beside = |to: Checkpoint, list: &[(&str, u64)]| {
        list.iter().fold(to, |to, (name, rows)| four(*rows).add(to, &format!("{layer}.self_attn.{name}"), Dtype::F16))
    };
    let output = format!("{layer}.self_attn.o_proj");
    let refused = wide.add(beside(sizes(""), &[("q_proj", 256), ("v_proj", 64)]), &output, Dtype::F16).refusal();
    assert!(refused.contains("self_attn.q_proj\" has 256 rows"), "{refused}");
    // What the facts leave open is as the configuration says: gates beside queries, longer values, latent attention,
    // heads of more than one size, and numbers of which some are missing.
    let long = Affine::new(1, &[128, 512], 4, 128);
    let global = r#", "num_attention_heads": 4, "head_dim": 64, "global_head_dim": 128"#;
    let gated = r#", "num_attention_heads": 4, "head_dim": 128"#;
    for (more, list) in [
        (gated, &[("q_proj", 1024), ("v_proj", 64)][..]),
        ("", &[("q_proj", 1024), ("v_proj", 64)]),
        ("", &[("q_proj", 256), ("v_proj", 512)]),
        ("", &[("q_proj", 256)]),
        (global, &[("q_proj", 512), ("k_proj", 64), ("v_proj", 64)]),
        (r#", "head_dim": 64"#, &[]),
        (r#", "num_attention_heads": 4"#, &[]),
    ] {
        let imported = long.add(beside(sizes(more), list), &output, Dtype::F16).import();
        imported.has(&format!("{output}.weight"), &[128, 512], &long.values);
    }
}

/// A packed weight says its shape in a tensor of its own.
#[test]
fn stated_shapes() {
    let with = |dtype: Dtype, shape: Vec<u8>| {
        let config = r#""quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 128}}}}"#;
        Checkpoint::with_config(config)
            .zeros("m.o_proj.weight_packed", Dtype::I32, &[4, 64])
            .add("m.o_proj.weight_scale", Dtype::BF16, &[4, 4], bf16_bytes(&short_floats(2, 16)))
            .add("m.o_proj.weight_shape", dtype, &[2], shape)
    };
    let long = |shape: [i64; 2]| shape.iter().flat_map(|each| each.to_le_bytes()).collect::<Vec<u8>>();
    let short = |shape: [i32; 2]| shape.iter().flat_map(|each| each.to_le_bytes()).collect::<Vec<u8>>();
    for right in [with(Dtype::I64, long([4, 512])), with(Dtype::I32, short([4, 512]))] {
        assert_eq!(right.import().scheme("m.o_proj.weight"), "int4-g128");
    }
    for (wrong, words) in [
        (with(Dtype::I64, long([4, 256])), "[4, 256]"),
        (with(Dtype::I32, short([4, 256])), "[4, 256]"),
        (with(Dtype::I64, long([-1, 7])), "[-1, 7]"),
    ] {
        let refusal = wrong.refusal();
        assert!(refusal.contains(words) && refusal.contains("[4, 512]"), "{refusal}");
    }
}

/// Groups of compressed-tensors, chosen by name, by pattern and by class.
#[test]
fn targets() {
    let group = |targets: &str, bits: u8, size: usize| {
        format!(
            r#"{{"targets": [{targets}], "weights": {{"num_bits": {bits}, "type": "int", "symmetric": true, "strategy": "group", "group_size": {size}}}}}"#
        )
    };
    let config = |groups: &[String]| {
        // The order of the document counts, not that of the names.
        let groups: Vec<_> =
            groups.iter().zip(["z", "b", "a"]).map(|(group, name)| format!(r#""{name}": {group}"#)).collect();
        format!(
            r#""quantization_config": {{"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {{{}}}}}"#,
            groups.join(", ")
        )
    };
    let add = |to: Checkpoint, module: &str, bits: u8, size: u64| {
        let codes: Vec<u8> = noise(bits.into(), 4 * 256).into_iter().map(|byte| byte >> (8 - bits)).collect();
        let scales = short_floats(2, 4 * 256 / usize::try_from(size).expect("it is small"));
        to.add(
            &format!("{module}.weight_packed"),
            Dtype::I32,
            &[4, 8 * u64::from(bits)],
            bit_stream(&codes, bits.into()),
        )
        .add(&format!("{module}.weight_scale"), Dtype::BF16, &[4, 256 / size], bf16_bytes(&scales))
    };
    let named = group(r#""model.language_model.layers.0.out""#, 8, 64);
    let pattern = group(r#""re:model[.]layers[.]0.*down_proj$", "re:.*[.]up$""#, 8, 32);
    let class = group(r#""Linear""#, 4, 128);
    let mut checkpoint = Checkpoint::with_config(&config(&[pattern.clone(), class, named.clone()]));
    for (module, bits, size) in [("out", 8, 64), ("down_proj", 8, 32), ("up", 8, 32), ("other", 4, 128)] {
        checkpoint = add(checkpoint, &format!("language_model.model.layers.0.{module}"), bits, size);
    }
    let imported = checkpoint.import();
    for (module, scheme) in [("out", "int8"), ("down_proj", "int8-g32"), ("up", "int8-g32"), ("other", "int4-g128")] {
        assert_eq!(imported.scheme(&format!("language_model.model.layers.0.{module}.weight")), scheme);
    }
    assert!(imported.notes().is_empty() && imported.warnings.iter().all(|warning| !warning.contains("config.json")));
    // The first pattern that matches counts.
    let two = config(&[group(r#""re:.*up""#, 8, 32), group(r#""re:.*""#, 4, 64)]);
    assert_eq!(add(Checkpoint::with_config(&two), "m.up", 8, 32).import().scheme("m.up.weight"), "int8-g32");
    // A weight that is packed, and that none of several groups covers.
    let apart = config(&[group(r#""re:.*up""#, 8, 32), group(r#""re:.*down""#, 4, 64)]);
    let both = add(add(Checkpoint::with_config(&apart), "m.up", 8, 32), "m.down", 4, 64);
    let refusal = add(both, "m.other", 4, 64).refusal();
    assert!(refusal.contains("\"m.other.weight_packed\"") && refusal.contains("not quantized"), "{refusal}");
    // A target that fits no module, and a weight that it may mean.
    let lost = config(&[group(r#""re:.*down""#, 8, 64), group(r#""Linear""#, 4, 128)]);
    let refusal = add(Checkpoint::with_config(&lost), "m.out", 8, 64).refusal();
    assert!(refusal.contains("\".*down\"") && refusal.contains("\"m.out.weight_packed\""), "{refusal}");
    let bad = config(&[group(r#""re:(""#, 8, 64)]);
    assert!(add(Checkpoint::with_config(&bad), "m.out", 8, 64).refusal().contains("the pattern \"(\""));
}
