//! Policies that are fitted to statistics.

use longshore_manifest::{Silent, Weights, weights::OpenOptions};
use longshore_packer::{FitError, Fitted, ImportanceFile, Plan, PlanOptions, fit};
use longshore_quant::Scheme;
use longshore_st_format::Dtype;

use crate::{
    stores::{read, store, threads, try_import},
    support::{Dir, chain},
};

const UP: &str = "model.layers.0.mlp.up_proj.weight";
const DOWN: &str = "model.layers.0.mlp.down_proj.weight";
const GATE: &str = "model.layers.0.mlp.gate_proj.weight";

/// Fits a policy to a model of three matrices `[64, 128]` with statistics of some of them, equal for all inputs.
fn fitted(values: &[u8], statistics: &[(&str, f32)], bits: f64) -> Result<Fitted, FitError> {
    let statistics: Vec<_> = statistics.iter().map(|(name, value)| (*name, [*value; 128])).collect();
    fitted_to(&[UP, DOWN, GATE].map(|name| (name, values)), &statistics, bits)
}

/// Fits a policy to a model of matrices `[64, 128]` with statistics of some of them.
fn fitted_to(tensors: &[(&str, &[u8])], statistics: &[(&str, [f32; 128])], bits: f64) -> Result<Fitted, FitError> {
    let (dir, target) = (Dir::new(), Dir::new());
    dir.file("config.json", r#"{"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1}"#);
    let tensors: Vec<_> =
        tensors.iter().map(|(name, values)| (*name, Dtype::BF16, &[64_u64, 128][..], *values)).collect();
    dir.bytes("model.safetensors", &tensors);
    let numbers: Vec<Vec<u8>> =
        statistics.iter().map(|(_, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
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

/// The type that was chosen for a tensor.
fn chosen(fitted: &Fitted, tensor: &str) -> Scheme {
    let found = fitted.chosen.iter().find(|(name, _)| name == tensor).expect("it is quantized");
    found.1.expect("it takes fewer bits than floats")
}

/// Values of which half the groups have one value, which every type holds: all together lose less.
fn half_constant() -> Vec<u8> {
    let mut values = values();
    for row in values.chunks_exact_mut(256) {
        row[..128].copy_from_slice(&[0x00, 0x3F].repeat(64));
    }
    values
}

/// The errors of a head reach every logit whole: it weighs as much as the three kinds of matrices of the layers together. There is
/// room for one matrix of 4 bits beside three of 3, and by itself the head loses least.
#[test]
fn a_head_weighs_as_much_as_the_layers() {
    const HEAD: &str = "lm_head.weight";
    let (usual, less) = (values(), half_constant());
    let tensors = [(HEAD, &less[..]), (UP, &usual), (DOWN, &usual), (GATE, &usual)];
    let statistics = [HEAD, UP, DOWN, GATE].map(|name| (name, [1.0; 128]));
    let found = fitted_to(&tensors, &statistics, 3.76).expect("it is fitted");
    let bits = [HEAD, UP, DOWN, GATE].map(|name| chosen(&found, name).bits());
    assert_eq!(bits, [4, 3, 3, 3], "{:?}", found.chosen);
}

/// A few inputs may be so large that the loss of products says nothing of the others: that of the values counts as much.
#[test]
fn weights_of_small_inputs_count() {
    // The group of the large inputs is the one of one value.
    let (usual, constant) = (values(), half_constant());
    let mut large = [1e-6; 128];
    large[..64].fill(1e6);
    let tensors = [(UP, &constant[..]), (DOWN, &usual), (GATE, &usual)];
    let found = fitted_to(&tensors, &[(UP, large), (DOWN, [1.0; 128]), (GATE, [1.0; 128])], 4.5).expect("it is fitted");
    assert!(chosen(&found, UP).bits() > 2, "{:?}", found.chosen);
}
