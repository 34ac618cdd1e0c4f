//! The files of an export for mlx-lm. `tests/mlx_lm/check.py` checks that mlx-lm loads them.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use longshore_manifest::{Store, document::Role};
use longshore_packer::{ExportError, ExportFormat, ExportOptions, mlx_architectures};
use longshore_st_format::{Dtype, open as open_file};
use serde_json::Value;

use crate::{
    stores::{Plain, export_to, files, import_as, part, read, store, tensors, threads, try_export, try_import},
    support::{Dir, chain, fixture, options},
};

fn mlx() -> ExportOptions {
    ExportOptions { format: ExportFormat::Mlx, ..ExportOptions::default() }
}

/// Imports a directory with a scheme and the policy `policy`, and exports it.
fn exported(dir: &Dir, target: &Dir, scheme: &str, policy: &str) -> Result<(Store, usize), ExportError> {
    let (source, store) = (dir.open().expect("it is a model"), store(target));
    let plan = longshore_packer::Plan::new(source.clone(), &options(scheme, policy)).expect("it can be planned");
    try_import(&store, "m", &plan, &threads(2)).expect("it can be imported");
    let outcome = try_export(&store, "m", &target.join("out"), &mlx())?;
    Ok((store, outcome.left_out))
}

/// The tensors of an export that consists of one file.
fn found(out: &Path) -> BTreeMap<String, Plain> {
    let path = out.join("model.safetensors");
    let file = open_file(&path).expect("it is a safetensors file");
    assert_eq!(file.header().metadata().get("format").map(String::as_str), Some("mlx"));
    let tensor = |tensor: longshore_st_format::TensorView<'_>| {
        (tensor.name.to_owned(), (tensor.dtype, tensor.shape.clone(), tensor.data.to_vec()))
    };
    file.iter().map(tensor).collect()
}

fn config(out: &Path) -> Value {
    serde_json::from_slice(&fs::read(out.join("config.json")).expect("it is written")).expect("it is JSON")
}

/// Compares the names of every tensor before and after, and the members that were added to the configuration.
#[test]
fn names_types_and_configuration_of_every_architecture() {
    let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/packer/export_mlx"));
    for model in ["deepseek-v3", "gemma3-text", "gpt-oss", "llama", "mixtral", "nemotron-h", "qwen3-moe"] {
        let (dir, target) = (fixture(model), Dir::new());
        exported(&dir, &target, "int4", "default").unwrap_or_else(|error| panic!("{model}: {error}"));
        let out = target.join("out");
        let mut text = String::new();
        for (name, (dtype, shape, _)) in found(&out) {
            writeln!(text, "{name} {dtype} {shape}").expect("a string grows");
        }
        let (before, after) = (config(dir.path()), config(&out));
        for (name, value) in after.as_object().expect("it is an object") {
            match before.get(name) {
                Some(same) => assert_eq!(same, value, "{model}: {name}"),
                None => writeln!(text, "config {name} {value}").expect("a string grows"),
            }
        }
        let path = golden.join(format!("{model}.txt"));
        if std::env::var_os("LONGSHORE_GOLDEN").is_some() {
            fs::write(&path, &text).expect("the directory is ours");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
        assert!(text == expected, "{model}: expected\n{expected}\nfound\n{text}");
        for (name, bytes) in files(dir.path()).iter().filter(|(name, _)| name.ends_with("generation_config.json")) {
            assert_eq!(fs::read(out.join(name)).ok().as_ref(), Some(bytes), "{model}: {name}");
        }
    }
}

#[test]
fn a_model_that_mlx_quantized_comes_back() {
    let (dir, target) = (fixture("qwen3-mlx-4bit"), Dir::new());
    let source = dir.open().expect("a fixture is a model");
    let store = store(&target);
    import_as(&store, "m", &source, "none");
    let out = target.join("out");
    export_to(&store, "m", &out, &mlx());
    assert_eq!(found(&out), tensors(&source));
    let bytes = |dir: &Path| fs::read(dir.join("config.json")).expect("it is there");
    assert_eq!(bytes(&out), bytes(dir.path()));
}

#[test]
fn codes_scales_and_biases_are_the_stored_ones() {
    let (dir, target) = (fixture("qwen3-moe"), Dir::new());
    let (store, _) = exported(&dir, &target, "int4", "default").expect("it is known");
    let (stored, out) = (read(&store, "m"), found(&target.join("out")));
    let roles = [(Role::Weight, "weight"), (Role::Scale, "scales"), (Role::Bias, "biases")];
    for (role, suffix) in roles {
        for (ours, theirs) in [
            ("model.layers.1.mlp.experts.up_proj.weight", "model.layers.1.mlp.switch_mlp.up_proj"),
            ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj"),
        ] {
            assert!(out[&format!("{theirs}.{suffix}")].2 == part(&store, &stored, ours, role), "{theirs}.{suffix}");
        }
    }
}

/// Every second row, from row `first` on, of a matrix whose rows have `row` bytes.
fn turns(bytes: &[u8], row: usize, first: usize) -> Vec<u8> {
    bytes.chunks(row).skip(first).step_by(2).flatten().copied().collect()
}

#[test]
fn gpt_oss_takes_turns_between_gate_and_up() {
    let dir = fixture("gpt-oss");
    for (at, scheme) in ["none", "int4"].into_iter().enumerate() {
        let target = Dir::new();
        let (store, _) = exported(&dir, &target, scheme, "default").expect("it is known");
        let (stored, out) = (read(&store, "m"), found(&target.join("out")));
        let experts = "model.layers.1.mlp.experts";
        let parts = [(Role::Weight, "weight"), (Role::Scale, "scales"), (Role::Bias, "biases")];
        for (role, suffix) in parts.into_iter().take(1 + 2 * at) {
            let whole = part(&store, &stored, &format!("{experts}.gate_up_proj"), role);
            for (first, name) in ["gate_proj", "up_proj"].into_iter().enumerate() {
                let (_, shape, bytes) = &out[&format!("{experts}.{name}.{suffix}")];
                assert_eq!(shape.dims()[..2], [4, 256], "{name}.{suffix}");
                assert!(*bytes == turns(&whole, whole.len() / (4 * 512), first), "{name}.{suffix}");
            }
        }
        let bias = part(&store, &stored, &format!("{experts}.gate_up_proj_bias"), Role::Weight);
        assert!(out[&format!("{experts}.up_proj.bias")].2 == turns(&bias, 2, 1));
        assert!(out.contains_key(&format!("{experts}.down_proj.bias")));
    }
}

#[test]
fn fused_experts_come_apart_in_halves() {
    let dir = Dir::new();
    dir.file("config.json", r#"{"architectures": ["Qwen3MoeForCausalLM"], "num_hidden_layers": 1}"#);
    let experts = "model.layers.0.mlp.experts";
    let (fused, down) = (format!("{experts}.gate_up_proj"), format!("{experts}.down_proj"));
    dir.weights("model.safetensors", &[(&fused, &[3, 8, 64]), (&down, &[3, 64, 4])]);
    let target = Dir::new();
    exported(&dir, &target, "none", "default").expect("it is known");
    let out = found(&target.join("out"));
    let source = tensors(&dir.open().expect("it is a model"));
    let switch = "model.layers.0.mlp.switch_mlp";
    let half = 4 * 64 * 2;
    for (first, name) in ["gate_proj", "up_proj"].into_iter().enumerate() {
        let (dtype, shape, bytes) = &out[&format!("{switch}.{name}.weight")];
        assert_eq!((*dtype, shape.dims()), (Dtype::BF16, &[3, 4, 64][..]));
        assert!(*bytes == turns(&source[&fused].2, half, first), "{name}");
    }
    assert_eq!(out[&format!("{switch}.down_proj.weight")], source[&down]);
    let config = config(&target.join("out"));
    assert_eq!((&config["model_type"], config.get("quantization")), (&Value::from("qwen3_moe"), None));
    assert_eq!(config["tie_word_embeddings"], true, "there is no head");
}

#[test]
fn what_mlx_lm_does_without_is_left_out_and_counted() {
    let dir = Dir::new();
    let text =
        r#"{"model_type": "llama", "num_hidden_layers": 1, "tie_word_embeddings": true, "quantization_config": null}"#;
    dir.file("config.json", text);
    dir.file("hf_quant_config.json", "{}");
    dir.weights(
        "model.safetensors",
        &[
            ("lm_head.weight", &[32, 64]),
            ("model.embed_tokens.weight", &[32, 64]),
            ("model.layers.0.self_attn.rotary_emb.inv_freq", &[16]),
            ("model.layers.1.mlp.up_proj.weight", &[32, 64]),
        ],
    );
    let target = Dir::new();
    let (_, left_out) = exported(&dir, &target, "int8", "uniform").expect("it is known");
    assert_eq!(left_out, 3);
    let out = target.join("out");
    let names: Vec<_> = found(&out).into_keys().collect();
    let module = "model.embed_tokens";
    assert_eq!(names, [format!("{module}.biases"), format!("{module}.scales"), format!("{module}.weight")]);
    let expected = serde_json::json!({"group_size": 64, "bits": 8, "mode": "affine"});
    assert_eq!(config(&out)["quantization"], expected);
    assert_eq!(config(&out)["quantization_config"], expected);
    assert!(!out.join("hf_quant_config.json").exists());
}

/// The source's `config.json` may describe another quantization than that of the stored weights.
#[test]
fn another_quantization_than_the_source_describes() {
    for (scheme, group, bits, mode) in
        [("int8-g32", 32, 8, "affine"), ("int4", 64, 4, "affine"), ("mxfp8", 32, 8, "mxfp8")]
    {
        let (dir, target) = (Dir::new(), Dir::new());
        dir.file("config.json", r#"{"model_type": "llama", "quantization": {"group_size": 64, "bits": 8}}"#);
        dir.weights("model.safetensors", &[("model.embed_tokens.weight", &[32, 64])]);
        exported(&dir, &target, scheme, "uniform").expect("it is known");
        let expected = serde_json::json!({"group_size": group, "bits": bits, "mode": mode});
        assert_eq!(config(&target.join("out"))["quantization"], expected, "{scheme}");
    }
}

/// The error that refuses a model of one tensor.
fn refusal(config: &str, tensor: &str, dims: &[u64], scheme: &str) -> ExportError {
    let (dir, target) = (Dir::new(), Dir::new());
    dir.file("config.json", config);
    dir.weights("model.safetensors", &[(tensor, dims)]);
    exported(&dir, &target, scheme, "uniform").expect_err("it is refused")
}

#[test]
fn what_mlx_lm_cannot_load_is_refused() {
    let error = refusal(r#"{"model_type": "qwen3_next"}"#, "model.norm.weight", &[64], "none");
    assert!(matches!(&error, ExportError::MlxArchitecture { found } if found == "qwen3_next"), "{error:?}");
    assert!(mlx_architectures().all(|known| error.to_string().contains(known)), "{error}");
    let error = refusal("{}", "model.norm.weight", &[64], "none");
    assert!(matches!(error, ExportError::MlxArchitecture { .. }), "{error:?}");

    let llama = r#"{"model_type": "llama"}"#;
    let error = refusal(llama, "model.layers.0.mlp.up_proj.extra_gain", &[64], "none");
    assert!(matches!(&error, ExportError::MlxTensor { tensor, .. } if tensor.ends_with("extra_gain")), "{error:?}");
    assert!(error.to_string().contains("llama has no such tensor"), "{error}");

    let latent = "model.layers.0.self_attn.kv_b_proj.weight";
    let error = refusal(r#"{"model_type": "deepseek_v3"}"#, latent, &[64, 64], "int4");
    assert!(matches!(&error, ExportError::MlxQuantized { tensor } if tensor == latent), "{error:?}");

    let (dir, target) = (fixture("llama-modelopt-nvfp4"), Dir::new());
    let error = exported(&dir, &target, "none", "default").expect_err("MLX has no place for the scale");
    assert!(matches!(error, ExportError::MlxGlobalScale { .. }), "{error:?}");
    assert!(!target.join("out").exists());
}

#[test]
fn pipelines_and_single_files_are_refused() {
    let (dir, target) = (fixture("flux"), Dir::new());
    let error = exported(&dir, &target, "none", "default").expect_err("it is a pipeline");
    assert!(matches!(&error, ExportError::NotForMlx { problem } if problem.contains("pipeline")), "{error:?}");
    let (dir, target) = (Dir::new(), Dir::new());
    dir.weights("model.safetensors", &[("model.norm.weight", &[64])]);
    let source = crate::support::open(&dir.join("model.safetensors")).expect("a file is a model");
    let store = store(&target);
    import_as(&store, "m", &source, "none");
    let error = try_export(&store, "m", &target.join("out"), &mlx()).expect_err("it has no configuration");
    assert!(matches!(&error, ExportError::NotForMlx { problem } if problem.contains("config.json")), "{error:?}");
}

/// MLX does not load F64, so an export for it writes F32.
#[test]
fn doubles_are_written_as_floats() {
    let wide: Vec<f64> = (0..4096_u16).map(|at| f64::from(at).cos()).collect();
    let bytes: Vec<u8> = wide.iter().flat_map(|value| value.to_le_bytes()).collect();
    #[expect(clippy::cast_possible_truncation, reason = "rounding to F32 is what is tested")]
    let narrow: Vec<u8> = wide.iter().flat_map(|value| (*value as f32).to_le_bytes()).collect();
    let mut exports = Vec::new();
    for (dtype, bytes, size) in [(Dtype::F64, &bytes, 8), (Dtype::F32, &narrow, 4)] {
        let (dir, target) = (Dir::new(), Dir::new());
        dir.file("config.json", r#"{"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss"}"#);
        let list: [(&str, &[u64]); 4] = [
            ("model.embed_tokens.weight", &[32, 16]),
            ("model.norm.weight", &[16]),
            // Halves of these take turns, row by row.
            ("model.layers.0.mlp.experts.gate_up_proj", &[2, 16, 12]),
            ("model.layers.0.mlp.experts.gate_up_proj_bias", &[2, 12]),
        ];
        let len = |dims: &[u64]| size * usize::try_from(dims.iter().product::<u64>()).expect("it is small");
        dir.bytes("model.safetensors", &list.map(|(name, dims)| (name, dtype, dims, &bytes[..len(dims)])));
        exported(&dir, &target, "none", "default").unwrap_or_else(|error| panic!("{dtype}: {}", chain(&error)));
        let found = found(&target.join("out"));
        assert!(found.len() > 4 && found.values().all(|(dtype, ..)| *dtype == Dtype::F32), "{dtype}");
        exports.push(found);
    }
    assert_eq!(exports[0], exports[1]);
}
