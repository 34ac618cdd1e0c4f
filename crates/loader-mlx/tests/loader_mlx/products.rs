//! Products with quantized weights, against those with the values that they stand for.

use longshore_loader_mlx::LoadOptions;
use longshore_packer::PlanOptions;
use longshore_quant::{FloatType, Scheme, policy::Policy};
use mlx_rs::{Array, Dtype};

use crate::{
    peer::loaded,
    support::{SCHEMES, Stored},
};

/// `rows × columns` values of either sign, the same each time.
pub(crate) fn input(dims: &[i32]) -> Array {
    let count: i32 = dims.iter().product();
    let values: Vec<f32> =
        (0..count).map(|at| f32::from(i16::try_from(at * 37 % 1001).unwrap() - 500) / 500.0).collect();
    Array::from_slice(&values, dims)
}

pub(crate) fn floats(array: &Array) -> Vec<f32> {
    let array = array.as_dtype(Dtype::Float32).unwrap().contiguous().unwrap();
    array.eval().unwrap();
    array.as_slice::<f32>().to_vec()
}

/// The largest difference, as a share of the largest value.
pub(crate) fn error(found: &Array, expected: &Array) -> f32 {
    assert_eq!(found.shape(), expected.shape());
    let (found, expected) = (floats(found), floats(expected));
    let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert!(largest > 0.0);
    found.iter().zip(&expected).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs())) / largest
}

#[test]
fn products_are_those_of_the_decoded_weights() {
    let stored = Stored::new();
    for (scheme, global) in SCHEMES.map(|scheme| (scheme, false)).into_iter().chain([("nvfp4", true)]) {
        let model = stored.import_with("llama", |_| {
            let scheme: Scheme = scheme.parse().unwrap();
            PlanOptions {
                scheme: Some(scheme),
                policy: Policy::named("uniform").unwrap(),
                global_scale: global,
                ..PlanOptions::default()
            }
        });
        let mut weights = loaded(stored.open(&model));
        let mut checked = 0;
        for in_f32 in [false, true] {
            if in_f32 {
                let options = LoadOptions { dtype: Some(FloatType::F32), ..Default::default() };
                weights.load(&options).unwrap();
            }
            for name in weights.names() {
                let Some(weight) = weights.get(name).unwrap().quantized() else { continue };
                assert_eq!(weight.mode(), if scheme.starts_with("int") { "affine" } else { scheme });
                assert_eq!(weight.global_scale.is_some(), global);
                let dense = weight.dequantize(Some(FloatType::F32)).unwrap();
                let x = input(&[3, dense.shape()[1]]);
                let x = if in_f32 { x } else { x.as_dtype(Dtype::Bfloat16).unwrap() };
                let found = weight.matmul(&x).unwrap();
                assert_eq!(found.dtype(), x.dtype(), "{scheme} {name}");
                let expected = x.as_dtype(Dtype::Float32).unwrap().matmul(dense.t()).unwrap();
                // In BF16 the product itself is rounded to eight bits, and affine values are decoded in eight.
                let tolerance = if in_f32 { 1e-5 } else { 4e-2 };
                let worst = error(&found, &expected);
                assert!(worst < tolerance, "{scheme} {name}: {worst}");
                checked += 1;
            }
        }
        assert!(checked > 0, "{scheme}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let stored = Stored::new();
    let weights = loaded(stored.open(&stored.import("llama", "int4")));
    let name = weights.names().find(|name| weights.quantization_of(name).is_some()).unwrap();
    let weight = weights.get(name).unwrap().quantized().unwrap();
    let error = weight.matmul(&input(&[2, 7])).unwrap_err();
    assert_eq!(error.operation, "multiply by a quantized weight");
    assert!(error.message.contains("quantized_matmul"), "{error}");
    // One error does not become the next one's.
    assert!(weight.dequantize(None).is_ok());
    assert!(weight.expert(0).unwrap_err().message.contains("index"));
    // mlx-rs still sees its own.
    let own = input(&[2, 3]).matmul(input(&[2, 3])).unwrap_err();
    assert!(own.what().contains("matmul"), "{own}");
}
