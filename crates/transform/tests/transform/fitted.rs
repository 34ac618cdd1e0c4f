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

/// GPT-2 has inputs as rows, and mlx-lm's adapters do not. A square matrix tells nothing of it, and another does.
#[test]
fn square_matrices_of_mlx_are_turned_as_others_are() {
    let attention = ["h.0.attn.c_proj.lora_a", "h.0.attn.c_proj.lora_b"];
    let square: [(&str, &[u64]); 2] = [(attention[0], &[8, 2]), (attention[1], &[2, 8])];
    let lines = |base: &[(&str, &[u64])]| {
        let update = fit(MLX, &square, base, false).expect("it fits").products.swap_remove(0);
        [update.left.tensor, update.right.tensor]
    };
    let projection: (&str, &[u64]) = ("h.0.attn.c_proj.weight", &[8, 8]);
    // The factor along the rows is that of the inputs in GPT-2, and that of the outputs elsewhere.
    assert_eq!(lines(&[("h.0.attn.c_attn.weight", &[8, 24]), projection]), [0, 1]);
    assert_eq!(lines(&[("h.0.attn.c_attn.weight", &[24, 8]), projection]), [1, 0]);
    assert_eq!(lines(&[projection]), [1, 0]);
    let dora = r#"{"fine_tune_type": "dora", "lora_parameters": {"rank": 2, "scale": 20.0}}"#;
    let joined = ["a", "b", "m"].map(|part| match part {
        "m" => "h.0.attn.c_attn.m".to_owned(),
        part => format!("h.0.attn.c_attn.lora_{part}"),
    });
    let tensors: [(&str, &[u64]); 3] = [(&joined[0], &[8, 2]), (&joined[1], &[2, 24]), (&joined[2], &[24])];
    let found = fit(dora, &tensors, &[("h.0.attn.c_attn.weight", &[8, 24])], false).expect("it fits");
    assert!(found.products[0].magnitude.is_some_and(|magnitude| magnitude.is_of_columns));
    let short: [(&str, &[u64]); 2] = [(attention[0], &[6, 2]), (attention[1], &[2, 8])];
    let error = fit(MLX, &short, &[("h.0.attn.c_attn.weight", &[8, 24]), projection], false).expect_err("it is short");
    assert!(error.to_string().contains("8 inputs"), "{error}");
}

#[test]
fn patterns_of_stacks_are_those_of_their_parameters() {
    let config = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_parameters": ["mlp.experts.gate_up_proj",
        "mlp.experts.down_proj"], "alpha_pattern": {"mlp\\.experts\\.down_proj": 12, "experts": 40}}"#;
    let name = |nested: &str, factor: &str| format!("base_model.model.l.mlp.experts.{nested}lora_{factor}.weight");
    let [a, b, inner_a, inner_b] = [name("", "A"), name("", "B"), name("base_layer.", "A"), name("base_layer.", "B")];
    let tensors: [(&str, &[u64]); 4] = [(&a, &[6, 8]), (&b, &[4, 6]), (&inner_a, &[6, 5]), (&inner_b, &[9, 6])];
    let base: [(&str, &[u64]); 2] =
        [("l.mlp.experts.gate_up_proj", &[3, 9, 5]), ("l.mlp.experts.down_proj", &[3, 4, 8])];
    let found = fit(config, &tensors, &base, false).expect("it fits");
    let scales = |base: usize| {
        found.products.iter().filter(move |update| update.base == base).map(|update| update.scale).collect::<Vec<_>>()
    };
    assert_eq!((scales(0), scales(1)), (vec![2.0; 3], vec![6.0; 3]));
    // The lines of A go by experts, the columns of B by ranks.
    let starts = |update: &ProductUpdate| (update.left.start, update.right.start);
    let of_second: Vec<_> = found.products.iter().filter(|update| update.base == 1).map(starts).collect();
    assert_eq!(of_second, [(0, 0), (1, 16), (2, 32)]);
}
