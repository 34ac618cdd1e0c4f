//! Where products go, beyond what the merges of `longshore-packer` are compared with.

use longshore_transform::adapter::ProductUpdate;

use super::{MLX, PEFT, fit};

fn places(updates: &[ProductUpdate]) -> Vec<(usize, u64, u64, u64, u64)> {
    updates
        .iter()
        .map(|update| (update.base, update.matrix, update.rows.start, update.rows.end, update.left.start))
        .collect()
}

#[test]
fn a_joined_adapter_goes_to_its_parts() {
    let tensors: [(&str, &[u64]); 2] = [("l.qkv_proj.lora_A.weight", &[2, 8]), ("l.qkv_proj.lora_B.weight", &[14, 2])];
    let base: [(&str, &[u64]); 3] =
        [("l.q_proj.weight", &[6, 8]), ("l.k_proj.weight", &[4, 8]), ("l.v_proj.weight", &[4, 8])];
    let found = fit(PEFT, &tensors, &base, false).expect("it fits");
    assert_eq!(places(&found.products), [(0, 0, 0, 6, 0), (1, 0, 0, 4, 12), (2, 0, 0, 4, 20)]);
    let short: [(&str, &[u64]); 2] = [tensors[0], ("l.qkv_proj.lora_B.weight", &[13, 2])];
    assert!(fit(PEFT, &short, &base, false).expect_err("a row is missing").to_string().contains("14 outputs"));
}

#[test]
fn experts_by_name_go_into_a_stack() {
    let name = |factor: &str| format!("base_model.model.l.experts.2.up_proj.lora_{factor}.weight");
    let (a, b) = (name("A"), name("B"));
    let tensors: [(&str, &[u64]); 2] = [(&a, &[2, 8]), (&b, &[6, 2])];
    let joined = fit(PEFT, &tensors, &[("l.experts.gate_up_proj", &[4, 12, 8])], false).expect("it fits");
    assert_eq!(places(&joined.products), [(0, 2, 6, 12, 0)]);
    let alone = fit(PEFT, &tensors, &[("l.experts.up_proj", &[4, 6, 8])], false).expect("it fits");
    assert_eq!(places(&alone.products), [(0, 2, 0, 6, 0)]);
    assert!(fit(PEFT, &tensors, &[("l.experts.up_proj", &[2, 6, 8])], false).is_err());
}

#[test]
fn stacks_of_mlx_go_to_experts() {
    let tensors: [(&str, &[u64]); 2] =
        [("l.switch_mlp.up_proj.lora_a", &[2, 2, 8]), ("l.switch_mlp.up_proj.lora_b", &[2, 6, 2])];
    let base: [(&str, &[u64]); 2] = [("l.experts.0.up_proj.weight", &[6, 8]), ("l.experts.1.up_proj.weight", &[6, 8])];
    let found = fit(MLX, &tensors, &base, false).expect("it fits");
    assert_eq!(places(&found.products), [(0, 0, 0, 6, 0), (1, 0, 0, 6, 12)]);
    let third = [base[0], base[1], ("l.experts.2.up_proj.weight", &[6, 8][..])];
    assert!(fit(MLX, &tensors, &third, false).is_err());
}

#[test]
fn wrappers_do_not_matter() {
    let tensors: [(&str, &[u64]); 2] = [
        ("base_model.model.model.layers.0.q.lora_A.weight", &[2, 8]),
        ("base_model.model.model.layers.0.q.lora_B.weight", &[6, 2]),
    ];
    let found = fit(PEFT, &tensors, &[("language_model.model.layers.0.q.weight", &[6, 8])], false).expect("it fits");
    assert_eq!(found.products.len(), 1);
}

#[test]
fn the_embedding_of_mlx_is_across() {
    let tensors: [(&str, &[u64]); 2] =
        [("model.embed_tokens.lora_a", &[10, 2]), ("model.embed_tokens.lora_b", &[2, 4])];
    let found = fit(MLX, &tensors, &[("model.embed_tokens.weight", &[10, 4])], false).expect("it fits");
    let update = &found.products[0];
    assert_eq!((update.left.along, update.left.rank, update.right.along, update.right.rank), (2, 1, 1, 4));
}
