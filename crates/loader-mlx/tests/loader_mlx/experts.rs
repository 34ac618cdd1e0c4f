//! Stacks of experts: picked by index in one operation, and one by one.

use longshore_packer::PlanOptions;
use longshore_quant::{FloatType, Scheme, policy::Policy};
use mlx_rs::Array;

use crate::{
    peer::{assert_same, loaded},
    products::{error, input},
    support::{SCHEMES, Stored},
};

#[test]
fn experts_are_picked() {
    let stored = Stored::new();
    for (scheme, global) in SCHEMES.map(|scheme| (scheme, false)).into_iter().chain([("nvfp4", true)]) {
        let model = stored.import_with("qwen3-moe", |_| {
            let scheme: Scheme = scheme.parse().unwrap();
            PlanOptions {
                scheme: Some(scheme),
                policy: Policy::named("uniform").unwrap(),
                global_scale: global,
                ..PlanOptions::default()
            }
        });
        let weights = loaded(stored.open(&model));
        let mut stacks = 0;
        for name in weights.names() {
            let weight = weights.get(name).unwrap();
            let Some(stack) = weight.quantized().filter(|stack| stack.weight.ndim() == 3) else { continue };
            stacks += 1;
            let values = stack.dequantize(Some(FloatType::F32)).unwrap();
            let (experts, columns) = (values.shape()[0], values.shape()[2]);
            let picked = [experts - 1, 0, 1, 0].map(|expert| u32::try_from(expert).unwrap());
            let indices = Array::from_slice(&picked, &[4]);
            let x = input(&[4, 2, columns]);
            let found = stack.gather_matmul(&x, None, &indices, false).unwrap();
            let dense = values.take_axis(&indices, 0).unwrap();
            let expected = x.matmul(dense.swap_axes(1, 2).unwrap()).unwrap();
            let worst = error(&found, &expected);
            // Affine codes are decoded in the eight bits of their scales' type in one of the two.
            let tolerance = if scheme.starts_with("int") { 2e-2 } else { 1e-5 };
            assert!(worst < tolerance, "{scheme} {name}: {worst}");

            let last = usize::try_from(experts - 1).unwrap();
            let one = stack.expert(last).unwrap();
            assert_eq!(one.weight.shape(), &stack.weight.shape()[1..]);
            let decoded = one.dequantize(Some(FloatType::F32)).unwrap();
            let expected = values.take_axis(Array::from_slice(&[picked[0]], &[1]), 0).unwrap();
            assert_same(&decoded, &expected.squeeze_axes(&[0]).unwrap(), name);
            assert!(stack.expert(last + 1).is_err());
        }
        assert!(stacks > 0, "{scheme}");
    }
}
