//! Absurd names, types and shapes: they give a plan or an error, never a panic, and a plan can be executed.

use longshore_packer::{ImportOptions, Plan, PlanOptions};
use longshore_st_format::Dtype;
use proptest::prelude::*;

use super::{checkpoint::Checkpoint, numbers::noise};
use crate::{
    stores::{dequantize, is_clean, read, store, try_export, try_import},
    support::{Dir, chain, options},
};

const SUFFIXES: &[&str] = &[
    "weight",
    "weight_scale",
    "weight_scale_inv",
    "weight_scale_2",
    "weight_packed",
    "weight_global_scale",
    "scales",
    "biases",
    "scale",
    "qweight",
    "qzeros",
    "g_idx",
    "input_scale",
    "weight_shape",
    "up_proj_blocks",
    "up_proj_scales",
    "weight.absmax",
    "SCB",
];
const MODULES: &[&str] =
    &["m", "l.mlp.experts.0.w1", "l.mlp.experts.1.w1", "l.mlp.experts", "l.mlp.switch_mlp.up_proj"];
const TYPES: &[Dtype] = &[
    Dtype::F8E4M3,
    Dtype::U8,
    Dtype::U32,
    Dtype::I32,
    Dtype::F32,
    Dtype::F16,
    Dtype::BF16,
    Dtype::F8E8M0,
    Dtype::F8E5M2,
    Dtype::I8,
];
const CONFIGS: &[&str] = &[
    "",
    r#""quantization": {"bits": 4, "group_size": 32}"#,
    r#""quantization": {"bits": 8, "group_size": 32, "mode": "mxfp8"}"#,
    r#""quantization_config": {"quant_method": "gptq", "bits": 4}"#,
    r#""quantization_config": {"quant_method": "awq", "bits": 4}"#,
    r#""quantization_config": {"quant_method": "fp8", "weight_block_size": [32, 64]}"#,
    r#""quantization_config": {"quant_method": "fp8", "weight_block_size": [18446744073709551615, 18446744073709551615]}"#,
    r#""quantization_config": {"config_groups": {"a": {"weights": {"num_bits": 4}}}}"#,
];

fn run(checkpoint: &Checkpoint, scheme: &str, floats: bool, requantize: bool) {
    let dir = checkpoint.write();
    let Ok(source) = dir.open() else { return };
    let asked = PlanOptions { floats, requantize, ..options(scheme, "uniform") };
    let plan = match Plan::new(source.clone(), &asked) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(!chain(&error).contains("BUG"), "{}", chain(&error));
            return;
        }
    };
    let target = Dir::new();
    let store = store(&target);
    let options = ImportOptions { allow_non_finite: true, ..ImportOptions::default() };
    if try_import(&store, "m", &plan, &options).is_ok() {
        let _ = read(&store, "m");
        let float = longshore_quant::FloatType::F32;
        try_export(&store, "m", &target.join("out"), &dequantize(float))
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
    }
    is_clean(&store);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn never_a_panic(
        tensors in prop::collection::btree_map(
            (prop::sample::select(MODULES), prop::sample::select(SUFFIXES)),
            (prop::sample::select(TYPES), prop::collection::vec(prop::sample::select(vec![0_u64, 1, 2, 4, 8, 16, 32, 64]), 0..4), any::<u64>()),
            1..7,
        ),
        config in prop::sample::select(CONFIGS),
        scheme in prop::sample::select(vec!["none", "int4", "nvfp4", "mxfp8"]),
        (floats, requantize) in any::<(bool, bool)>(),
    ) {
        let mut checkpoint = Checkpoint::with_config(config);
        for ((module, suffix), (dtype, dims, seed)) in tensors {
            let len = dims.iter().product::<u64>() * u64::from(dtype.bits()) / 8;
            checkpoint = checkpoint.add(&format!("{module}.{suffix}"), dtype, &dims, noise(seed, usize::try_from(len).expect("small")));
        }
        run(&checkpoint, scheme, floats, requantize);
    }

    /// Complete weights with one extent or type changed.
    #[test]
    fn almost_right(
        kind in 0..6_usize,
        changed in 0..4_usize,
        axis in 0..3_usize,
        extent in prop::sample::select(vec![0_u64, 1, 3, 31, 33, 64, 128]),
        dtype in prop::option::of(prop::sample::select(TYPES)),
        module in prop::sample::select(MODULES),
        scheme in prop::sample::select(vec!["none", "int4", "mxfp8"]),
        (floats, requantize) in any::<(bool, bool)>(),
    ) {
        type Parts = &'static [(&'static str, Dtype, &'static [u64])];
        const KINDS: [(&str, Parts); 6] = [
            ("", &[("weight", Dtype::F8E4M3, &[64, 64]), ("weight_scale", Dtype::F32, &[64, 1])]),
            ("", &[("weight", Dtype::U8, &[64, 32]), ("weight_scale", Dtype::F8E4M3, &[64, 4]), ("weight_scale_2", Dtype::F32, &[])]),
            ("", &[("weight_packed", Dtype::U8, &[64, 32]), ("weight_scale", Dtype::F8E4M3, &[64, 4]), ("weight_global_scale", Dtype::F32, &[1])]),
            (r#""quantization": {"bits": 4, "group_size": 32}"#, &[("weight", Dtype::U32, &[64, 8]), ("scales", Dtype::BF16, &[64, 2]), ("biases", Dtype::BF16, &[64, 2])]),
            ("", &[("qweight", Dtype::I32, &[8, 64]), ("qzeros", Dtype::I32, &[2, 8]), ("scales", Dtype::F16, &[2, 64]), ("g_idx", Dtype::I32, &[64])]),
            ("", &[("up_proj_blocks", Dtype::U8, &[2, 64, 2, 16]), ("up_proj_scales", Dtype::U8, &[2, 64, 2])]),
        ];
        let (config, parts) = KINDS[kind];
        let mut checkpoint = Checkpoint::with_config(config);
        for (at, (suffix, own, dims)) in parts.iter().enumerate() {
            let (mut own, mut dims) = (*own, dims.to_vec());
            if at == changed {
                own = dtype.unwrap_or(own);
                if let Some(dim) = dims.get_mut(axis) {
                    *dim = extent;
                }
            }
            let len = dims.iter().product::<u64>() * u64::from(own.bits()) / 8;
            checkpoint = checkpoint.add(&format!("{module}.{suffix}"), own, &dims, noise(at as u64, usize::try_from(len).expect("small")));
        }
        run(&checkpoint, scheme, floats, requantize);
    }
}

/// Extents that exceed any memory, beside an extent of zero.
#[test]
fn huge_extents_of_nothing() {
    const HUGE: u64 = 1 << 62;
    let add = |to: Checkpoint, name: &str, dtype, dims: &[u64]| to.add(name, dtype, dims, Vec::new());
    for dims in [&[0, HUGE][..], &[HUGE, 0], &[0, HUGE, HUGE], &[2, 0, HUGE], &[1 << 30, 1 << 30, 0], &[0, 0, 0]] {
        for module in MODULES {
            for (suffix, dtype, scale, of_scale) in [
                ("weight", Dtype::F8E4M3, "weight_scale", Dtype::F32),
                ("weight", Dtype::U8, "weight_scale", Dtype::F8E4M3),
                ("weight", Dtype::U32, "scales", Dtype::U8),
                ("up_proj_blocks", Dtype::U8, "up_proj_scales", Dtype::U8),
            ] {
                for of in [dims, &[0, HUGE / 32], &[HUGE, 0], &[0]] {
                    let checkpoint = add(Checkpoint::new(), &format!("{module}.{suffix}"), dtype, dims);
                    let checkpoint = add(checkpoint, &format!("{module}.{scale}"), of_scale, of);
                    for (scheme, floats) in [("none", false), ("none", true), ("int4", true)] {
                        run(&checkpoint, scheme, floats, true);
                    }
                }
            }
        }
    }
}

/// Files that are truncated after the plan was made.
#[test]
fn sources_that_change() {
    let weight = Checkpoint::new().zeros("a.weight", Dtype::F8E4M3, &[64, 64]);
    let dir = weight.zeros("a.weight_scale", Dtype::F32, &[64, 1]).write();
    let source = dir.open().expect("it is a model");
    let plan = Plan::new(source.clone(), &PlanOptions { floats: true, ..options("none", "default") }).expect("it fits");
    let target = Dir::new();
    let store = store(&target);
    let path = dir.join("model.safetensors");
    let bytes = std::fs::read(&path).expect("it is ours");
    std::fs::write(&path, &bytes[..bytes.len() - 10]).expect("it is ours");
    let error = try_import(&store, "m", &plan, &ImportOptions::default()).expect_err("it is cut off");
    assert!(chain(&error).contains("expected the"), "{}", chain(&error));
    is_clean(&store);
}
