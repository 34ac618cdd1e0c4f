//! Loading as another float type.

use longshore_loader_mlx::{LoadOptions, MlxWeights, Tensor};
use longshore_quant::{FloatType, Scheme, policy::Policy};
use longshore_st_format::Dtype;
use mlx_rs::Dtype as MlxDtype;

use crate::{
    peer::{assert_same, load, loaded},
    support::{Dir, Stored, chain},
};

fn load_as(weights: &mut MlxWeights, dtype: FloatType) {
    let options = LoadOptions { dtype: Some(dtype), ..Default::default() };
    weights.load(&options).unwrap_or_else(|error| panic!("{}", chain(&error)));
}

#[test]
fn floats_are_cast_and_nothing_else() {
    let dir = Dir::new();
    let all: Vec<Dtype> = Dtype::ALL.iter().copied().filter(|dtype| dtype.bits() >= 8).collect();
    let has = |dtype: &Dtype| !matches!(dtype, Dtype::F64 | Dtype::F8E5M2 | Dtype::F8E4M3Fnuz | Dtype::F8E5M2Fnuz);
    let tensors: Vec<(&str, Dtype, &[u64])> =
        all.iter().filter(|dtype| has(dtype)).map(|dtype| (dtype.name(), *dtype, &[3, 5][..])).collect();
    let file = dir.fill("a.safetensors", &tensors);
    let mut weights = MlxWeights::open_files([&file]).unwrap();
    let expected = load(&file);
    for (float, target) in [
        (FloatType::F32, MlxDtype::Float32),
        (FloatType::F16, MlxDtype::Float16),
        (FloatType::BF16, MlxDtype::Bfloat16),
    ] {
        load_as(&mut weights, float);
        for (name, expected) in &expected {
            let is_cast = matches!(name.as_str(), "F32" | "F16" | "BF16");
            let expected = if is_cast { &expected.as_dtype(target).unwrap() } else { expected };
            assert_same(weights.get(name).unwrap().weight(), expected, &format!("{name} as {float}"));
        }
    }
}

#[test]
fn codes_stay_codes() {
    let stored = Stored::new();
    for (scheme, scale) in [("int4", MlxDtype::Float16), ("nvfp4", MlxDtype::Uint8), ("mxfp8", MlxDtype::Uint8)] {
        let model = stored.import_with("qwen3-moe", |_| {
            let scheme: Scheme = scheme.parse().unwrap();
            longshore_packer::PlanOptions {
                scheme: Some(scheme),
                policy: Policy::named("uniform").unwrap(),
                global_scale: scheme == Scheme::NVFP4,
                ..Default::default()
            }
        });
        let same = loaded(stored.open(&model));
        let mut cast = stored.open(&model);
        load_as(&mut cast, FloatType::F16);
        for name in same.names() {
            match (cast.get(name).unwrap(), same.get(name).unwrap()) {
                (Tensor::Plain(found), Tensor::Plain(before)) => {
                    assert_same(found, &before.as_dtype(MlxDtype::Float16).unwrap(), name);
                }
                (Tensor::Quantized(found), Tensor::Quantized(before)) => {
                    assert_same(&found.weight, &before.weight, name);
                    assert_eq!(found.scale.dtype(), scale, "{name}");
                    assert_eq!(
                        found.bias.as_ref().map(mlx_rs::Array::dtype),
                        before.bias.as_ref().map(|_| scale),
                        "{name}"
                    );
                    if let (Some(found), Some(before)) = (&found.global_scale, &before.global_scale) {
                        assert_same(found, before, name);
                    }
                }
                _ => panic!("{name} is quantized in one and not in the other"),
            }
        }
    }
}
