//! Every array is what MLX's own loader makes of the same blob, and every quantized tensor decodes to what our decoder gives.

use longshore_loader_mlx::{Memory, MlxWeights, QuantizedTensor, Tensor};
use longshore_manifest::{
    document::{Role, TensorEntry},
    weights::{OpenOptions, Weights, plan::Selection},
};
use longshore_quant::{Decoder, FloatType, Scheme};
use longshore_st_format::{Dtype, fixtures};
use mlx_rs::Array;

use crate::{
    peer::{assert_same, bytes, load, loaded, loaded_into},
    support::{SCHEMES, Stored},
};

/// Checks a third of the models. Some at a time, so that they run beside each other.
fn check_models(third: usize) {
    // One checkpoint cannot be stored: neither we nor MLX have its type.
    let models = fixtures::models().filter(|model| *model != "mistral-fp8-e5m2");
    for model in models.skip(third).step_by(3) {
        let mut quantized = 0;
        for scheme in SCHEMES.into_iter().chain(["none"]) {
            quantized += check(model, scheme);
        }
        assert!(quantized > 0, "{model}: nothing was quantized");
    }
}

#[test]
fn arrays_are_those_of_mlx_1() {
    check_models(0);
}

#[test]
fn arrays_are_those_of_mlx_2() {
    check_models(1);
}

#[test]
fn arrays_are_those_of_mlx_3() {
    check_models(2);
}

/// Checks a model, and returns how many quantized tensors it has.
fn check(model: &str, scheme: &str) -> usize {
    let stored = Stored::new();
    let stored_model = stored.import(model, scheme);
    let table = stored_model.config.longshore.clone().expect("ours has a table");
    let mut components: Vec<_> = table.blobs.iter().map(|blob| blob.component.clone()).collect();
    components.sort_unstable();
    components.dedup();
    let mut quantized = 0;
    for component in components {
        let selection = Selection { component: component.clone(), ..Selection::default() };
        let options = OpenOptions { selection: selection.clone(), ..OpenOptions::default() };
        let open = || MlxWeights::open(&stored.store, &stored_model, &selection).unwrap();
        let weights = loaded_into(open(), Memory::Copied);
        let mapped = loaded_into(open(), Memory::Mapped);
        let host = Weights::open(&stored.store, &stored_model, &options).unwrap();
        assert!(weights.names().eq(host.names()), "{model} {scheme}");
        assert_eq!(weights.bytes(), host.bytes(), "{model} {scheme}");
        for blob in table.blobs.iter().filter(|blob| blob.component == component) {
            let expected = load(&stored.store.blob_path(&blob.digest));
            for entry in &blob.tensors {
                let what = format!("{model} {scheme} {}", entry.name);
                let found = weights.get(&entry.name).unwrap();
                same_parts(found, entry, &expected, &what);
                same_parts(mapped.get(&entry.name).unwrap(), entry, &expected, &what);
                if let Some(parts) = found.quantized() {
                    decodes(parts, host.get(&entry.name).unwrap(), &what);
                    quantized += 1;
                }
            }
        }
    }
    quantized
}

fn same_parts(found: &Tensor, entry: &TensorEntry, expected: &std::collections::HashMap<String, Array>, what: &str) {
    let expected = |role: Role| expected.get(&format!("{}{}", entry.name, role.suffix()));
    assert_same(found.weight(), expected(Role::Weight).unwrap(), what);
    let Some(QuantizedTensor { scale, bias, global_scale, .. }) = found.quantized() else {
        assert!(entry.quantization.is_none(), "{what}");
        return;
    };
    assert_same(scale, expected(Role::Scale).unwrap(), what);
    assert_eq!(bias.is_some(), expected(Role::Bias).is_some(), "{what}");
    if let (Some(bias), Some(expected)) = (bias, expected(Role::Bias)) {
        assert_same(bias, expected, what);
    }
    assert_eq!(global_scale.is_some(), expected(Role::GlobalScale).is_some(), "{what}");
    if let (Some(found), Some(expected)) = (global_scale, expected(Role::GlobalScale)) {
        let expected = expected.multiply(Array::from_f32(2688.0)).unwrap();
        assert_same(found, &expected, what);
    }
}

/// Whether MLX decodes to the bits of our decoder, in every type.
fn decodes(found: &QuantizedTensor, host: longshore_manifest::weights::Tensor<'_>, what: &str) {
    let quantization = host.quantization().unwrap();
    let scheme = Scheme::from_metadata(&quantization.quant_type, quantization.group_size).unwrap();
    assert_eq!(found.scheme, scheme, "{what}");
    let stored = match host.companion(Role::Scale).unwrap().dtype {
        Dtype::F32 => FloatType::F32,
        Dtype::F16 => FloatType::F16,
        _ => FloatType::BF16,
    };
    // MLX decodes an affine tensor in the type of its scales, and one with a global scale in F32.
    let global = host.companion(Role::GlobalScale).map(|array| floats(array.data));
    let outputs: &[FloatType] = match (scheme.is_affine(), &global) {
        (true, _) => &[stored],
        (false, Some(_)) => &[FloatType::F32],
        (false, None) => &FloatType::ALL,
    };
    let [scale, bias] = [Role::Scale, Role::Bias].map(|role| host.companion(role).map_or(&[][..], |array| array.data));
    let weight = host.weight().data;
    for &output in outputs {
        let values = found.dequantize(Some(output)).unwrap();
        let mut expected = vec![0; values.nbytes()];
        let global = global.as_deref().unwrap_or(&[]);
        let pieces = global.len().max(1);
        for piece in 0..pieces {
            let part = |bytes: &'_ [u8]| bytes.len() / pieces * piece..bytes.len() / pieces * (piece + 1);
            let mut decoder = Decoder::new(scheme, stored, output);
            if let Some(multiplier) = global.get(piece) {
                // The multiplier that MLX uses, which differs from the stored one by an ulp at most.
                let back = multiplier * 2688.0 / 2688.0;
                assert!(back.to_bits().abs_diff(multiplier.to_bits()) <= 1, "{what}");
                decoder = decoder.with_global_scale(back);
            }
            let range = part(&expected);
            let (weight, scale, bias) = (&weight[part(weight)], &scale[part(scale)], &bias[part(bias)]);
            decoder.decode(weight, scale, bias, &mut expected[range]).unwrap();
        }
        assert!(bytes(&values) == expected, "{what}: {output:?} decodes to other bits");
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// The whole path with global scales, which no scheme gets by default.
#[test]
fn global_scales_are_those_of_mlx() {
    let stored = Stored::new();
    let model = stored.import_with("qwen3-moe", |policy| longshore_packer::PlanOptions {
        scheme: Some(Scheme::NVFP4),
        policy,
        global_scale: true,
        ..Default::default()
    });
    let weights = loaded(stored.open(&model));
    let host = Weights::open(&stored.store, &model, &OpenOptions::default()).unwrap();
    let mut with_scale = 0;
    for name in weights.names() {
        let Some(parts) = weights.get(name).unwrap().quantized() else { continue };
        with_scale += usize::from(parts.global_scale.is_some());
        decodes(parts, host.get(name).unwrap(), name);
    }
    assert!(with_scale > 0);
}
