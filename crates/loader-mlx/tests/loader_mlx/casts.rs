//! Loading as another float type.

use longshore_loader_mlx::{LoadError, LoadOptions, MlxWeights, Tensor};
use longshore_manifest::weights::{OpenOptions, Weights};
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
    let has = |dtype: &Dtype| {
        !matches!(
            dtype,
            Dtype::F64
                | Dtype::F8E5M2
                | Dtype::F8E4M3Fnuz
                | Dtype::F8E5M2Fnuz
                | Dtype::F8E4M3
                | Dtype::F8E8M0
                | Dtype::C64
        )
    };
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
fn what_cannot_be_cast_is_named() {
    for dtype in [Dtype::F8E4M3, Dtype::F8E8M0, Dtype::C64] {
        let dir = Dir::new();
        let file = dir.fill("a.safetensors", &[("good", Dtype::F32, &[4]), ("odd", dtype, &[4])]);
        let mut weights = MlxWeights::open_files([file]).unwrap();
        let error = weights.load(&LoadOptions { dtype: Some(FloatType::F32), ..Default::default() }).unwrap_err();
        assert!(
            matches!(&error, LoadError::Convert { tensor, found, .. } if tensor == "odd" && *found == dtype),
            "{error}"
        );
        assert!(!weights.is_loaded() && weights.load(&LoadOptions::default()).is_ok());
    }
}

#[test]
fn codes_are_decoded_where_that_is_asked_for() {
    let stored = Stored::new();
    for scheme in crate::support::SCHEMES {
        let model = stored.import("llama", scheme);
        let options = OpenOptions { dtype: Some(Dtype::BF16), decode: true, ..OpenOptions::default() };
        let host = Weights::open(&stored.store, &model, &options).unwrap();
        let mut weights = stored.open(&model);
        let how = LoadOptions { dtype: Some(FloatType::BF16), decode: true, ..Default::default() };
        let said = weights.converted_bytes(&how);
        weights.load(&how).unwrap();
        let mut converted = 0;
        for tensor in host.iter() {
            let found = weights.get(tensor.name()).unwrap().plain().expect("all is decoded");
            assert_eq!(found.dtype(), MlxDtype::Bfloat16);
            // The bits of BF16 as F32, which slices can be had of.
            let found = found.as_dtype(MlxDtype::Float32).unwrap();
            found.eval().unwrap();
            let expected: Vec<f32> = tensor
                .weight()
                .data
                .as_chunks::<2>()
                .0
                .iter()
                .map(|two| f32::from_le_bytes([0, 0, two[0], two[1]]))
                .collect();
            assert_eq!(found.as_slice::<f32>(), expected, "{scheme} {}", tensor.name());
            if weights.quantization_of(tensor.name()).is_some() {
                converted += tensor.weight().data.len() as u64;
            }
        }
        assert_eq!(said, converted, "{scheme}");
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
