//! Policies that are fitted to statistics.

use longshore_manifest::{Silent, Weights, weights::OpenOptions};
use longshore_packer::{FitError, Fitted, ImportanceFile, Plan, PlanOptions, fit};
use longshore_st_format::Dtype;

use crate::{
    stores::{read, store, threads, try_import},
    support::{Dir, chain},
};

const UP: &str = "model.layers.0.mlp.up_proj.weight";
const DOWN: &str = "model.layers.0.mlp.down_proj.weight";
const GATE: &str = "model.layers.0.mlp.gate_proj.weight";

/// Fits a policy to a model of three matrices `[64, 128]` with statistics of some of them.
fn fitted(values: &[u8], statistics: &[(&str, f32)], bits: f64) -> Result<Fitted, FitError> {
    let (dir, target) = (Dir::new(), Dir::new());
    dir.file("config.json", r#"{"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1}"#);
    let tensors = [UP, DOWN, GATE].map(|name| (name, Dtype::BF16, &[64_u64, 128][..], values));
    dir.bytes("model.safetensors", &tensors);
    let numbers: Vec<Vec<u8>> = statistics.iter().map(|(_, value)| value.to_le_bytes().repeat(128)).collect();
    let list: Vec<_> = statistics
        .iter()
        .zip(&numbers)
        .map(|((name, _), numbers)| (*name, Dtype::F32, &[128_u64][..], &numbers[..]))
        .collect();
    dir.bytes("statistics/all.safetensors", &list);
    let store = store(&target);
    let plan = Plan::new(dir.open().expect("it is a model"), &PlanOptions::default()).expect("it fits");
    try_import(&store, "m", &plan, &threads(2)).expect("it is imported");
    let model = read(&store, "m");
    let weights = Weights::open(&store, &model, &OpenOptions::default()).expect("it is whole");
    let statistics = ImportanceFile::open(dir.join("statistics/all.safetensors")).expect("it is valid");
    fit(&weights, &model, &statistics, bits, None, &Silent)
}

fn values() -> Vec<u8> {
    let number = |at: u16| (f32::from(at.wrapping_mul(40_503) >> 4) / 2048.0 - 1.0).to_le_bytes();
    (0..64 * 128).flat_map(|at| number(at)[2..].to_vec()).collect()
}

#[test]
fn tensors_without_statistics_are_said_and_are_not_the_cheapest() {
    let all = [(UP, 1.0), (DOWN, 1.0), (GATE, 1.0)];
    let expected = fitted(&values(), &all, 5.0).expect("it is fitted");
    assert!(expected.warnings.is_empty(), "{:?}", expected.warnings);
    let gate = |fitted: &Fitted| fitted.chosen.iter().find(|(name, _)| name == GATE).expect("it is quantized").1;
    for statistics in [&all[..2], &[(UP, 1.0), (DOWN, 1.0), (GATE, 0.0)]] {
        let found = fitted(&values(), statistics, 5.0).expect("it is fitted");
        assert_eq!(gate(&found), gate(&expected), "{statistics:?}");
        assert_ne!(gate(&found), "int2".parse().ok(), "{statistics:?}");
        let one = &*found.warnings;
        assert!(matches!(one, [one] if one.contains("has no statistics") && one.contains(GATE)), "{one:?}");
    }
}

#[test]
fn losses_that_are_no_numbers_choose_nothing() {
    let mut spoilt = values();
    spoilt[..2].copy_from_slice(&[0x80, 0x7F]);
    let error = fitted(&spoilt, &[(UP, 1.0)], 5.0).expect_err("no loss can be measured");
    assert!(matches!(&error, FitError::NonFinite { tensor } if tensor.contains("mlp")), "{}", chain(&error));
}

/// A matrix of zeros loses nothing, and its statistics are no worse for it.
#[test]
fn weights_of_zeros_have_statistics() {
    let found = fitted(&[0; 64 * 128 * 2], &[(UP, 1.0), (DOWN, 1.0), (GATE, 1.0)], 5.0).expect("it is fitted");
    assert_eq!(found.warnings, [""; 0]);
    let found = fitted(&[0; 64 * 128 * 2], &[(UP, 1.0), (DOWN, 1.0)], 5.0).expect("it is fitted");
    assert!(matches!(&*found.warnings, [one] if one.contains(GATE)), "{:?}", found.warnings);
}
