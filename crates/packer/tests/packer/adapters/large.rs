//! Adapters of tensors that are read in several pieces and tiles.

use std::collections::BTreeMap;

use longshore_manifest::Store;
use longshore_packer::PlanOptions;
use longshore_st_format::Dtype;
use serde_json::{Value, json};

use super::{
    cases::{Case, Tensor},
    exported, floats, import, with_adapter,
};
use crate::support::{Dir, options};

/// Numbers of few bits from −1 to 1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from(u8::try_from(state >> 24).expect("eight bits")) / 128.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn tensor(name: &str, shape: &[u64], seed: u32) -> Tensor {
    let count = usize::try_from(shape.iter().product::<u64>()).expect("a test is small");
    Tensor { name: name.into(), shape: shape.into(), values: numbers(count, seed) }
}

/// Product of row `row` of B `[rows, rank]` with column `column` of A `[rank, columns]`, by the places of their numbers.
fn product(rank: usize, b: &dyn Fn(usize) -> f32, a: &dyn Fn(usize) -> f32) -> f64 {
    (0..rank).map(|k| f64::from(b(k)) * f64::from(a(k))).sum()
}

const MATRIX: [usize; 2] = [700, 384];
const RANK: usize = 37;

/// W + alpha / r · B · A of a matrix of five pieces that end within rows; with magnitudes, as `DoRA` defines it.
fn matrix(is_dora: bool) -> Case {
    let [rows, columns] = MATRIX.map(|extent| extent as u64);
    let (module, rank) = ("l.0.q_proj", RANK as u64);
    let base = tensor(&format!("{module}.weight"), &[rows, columns], 1);
    let name = |end: &str| format!("base_model.model.{module}.{end}");
    let a = tensor(&name("lora_A.weight"), &[rank, columns], 2);
    let b = tensor(&name("lora_B.weight"), &[rows, rank], 3);
    let mut m = tensor(&name("lora_magnitude_vector"), &[rows], 4);
    m.values.iter_mut().for_each(|value| *value = value.abs() + 0.5);
    let mut sum: Vec<f64> = (0..MATRIX[0] * MATRIX[1])
        .map(|at| {
            let (row, column) = (at / MATRIX[1], at % MATRIX[1]);
            let added = product(RANK, &|k| b.values[row * RANK + k], &|k| a.values[k * MATRIX[1] + column]);
            f64::from(base.values[at]) + 8.0 / 37.0 * added
        })
        .collect();
    if is_dora {
        for (row, magnitude) in sum.chunks_exact_mut(MATRIX[1]).zip(&m.values) {
            let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            for value in row {
                *value *= f64::from(*magnitude) / norm;
            }
        }
    }
    let config = json!({"peft_type": "LORA", "r": RANK, "lora_alpha": 8, "use_dora": is_dora});
    let expected = BTreeMap::from([(base.name.clone(), sum)]);
    let adapter = if is_dora { vec![a, b, m] } else { vec![a, b] };
    Case { name: format!("matrix, {is_dora}"), model: Value::Null, config, base: vec![base], adapter, expected }
}

/// W + s · A · B for each expert of a stack that the checkpoint has with its inputs as rows: several tiles of each.
fn stack() -> Case {
    const EXTENTS: [usize; 4] = [2, 1300, 900, 3];
    let [count, height, width, terms] = EXTENTS;
    let [experts, inputs, outputs, rank] = EXTENTS.map(|extent| extent as u64);
    let name = "model.layers.0.mlp.experts";
    let base = tensor(&format!("{name}.gate_up_proj"), &[experts, inputs, outputs], 5);
    let a = tensor(&format!("base_model.model.{name}.lora_A.weight"), &[rank * experts, inputs], 6);
    let b = tensor(&format!("base_model.model.{name}.lora_B.weight"), &[outputs, rank * experts], 7);
    let sum = (0..count * height * width).map(|at| {
        let (expert, input, output) = (at / (height * width), at / width % height, at % width);
        let of_a = |k: usize| a.values[(expert * terms + k) * height + input];
        let of_b = |k: usize| b.values[output * terms * count + k * count + expert];
        f64::from(base.values[at]) + 2.0 * product(terms, &of_b, &of_a)
    });
    let expected = BTreeMap::from([(base.name.clone(), sum.collect())]);
    let config =
        json!({"peft_type": "LORA", "r": rank, "lora_alpha": 6, "target_parameters": ["mlp.experts.gate_up_proj"]});
    let model = json!({"architectures": ["GptOssForCausalLM"]});
    Case { name: "stack".into(), model, config, base: vec![base], adapter: vec![a, b], expected }
}

#[test]
fn pieces_and_tiles_are_merged_as_the_whole() {
    for case in [matrix(false), matrix(true), stack()] {
        let (dir, [base, adapter]) = (Dir::new(), case.write(Dtype::F32));
        let store = Store::open(dir.join("store")).expect("the directory is ours");
        let merge =
            |threads| import(&store, "merged", with_adapter(&base, &adapter, 1.0), &PlanOptions::default(), threads);
        assert_eq!(merge(1).digest, merge(3).digest, "{}", case.name);
        let (name, expected) = case.expected.first_key_value().expect("the case has one");
        let found = floats(&exported(&store, "merged", &dir)[name]);
        let most = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        assert_eq!(found.len(), expected.len(), "{}", case.name);
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() <= 1e-6 * most, "{}: {at}: {found}, expected {expected}", case.name);
        }
        // The codes are those of the sum.
        let scheme = options("int4-g32", "uniform");
        let source = crate::support::open(&dir.join("merged")).expect("it was exported");
        if case.name != "stack" {
            import(&store, "of-merged", source, &scheme, 1);
            import(&store, "at-once", with_adapter(&base, &adapter, 1.0), &scheme, 3);
            let blob = |name: &str| {
                let model = store.model(&name.parse().expect("it is a name")).expect("it was imported");
                model.manifest.layers.iter().find(|layer| layer.is_tensor()).expect("it has one").digest
            };
            assert_eq!(blob("at-once"), blob("of-merged"), "{}", case.name);
        }
    }
}
