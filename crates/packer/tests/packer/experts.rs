//! Reading one expert of a stored model without the others.

use std::fs;

use longshore_manifest::document::{ExpertGroup, Role, TensorTable, expert_groups};
use longshore_packer::ImportOptions;
use longshore_st_format::{Dtype, fixtures};
use proptest::{prelude::*, sample::select};

use crate::{
    stores::{part, read, store, try_import},
    support::{Dir, FLOAT_MODELS, fixture, plan},
};

/// A checkpoint that holds every expert's tensors twice, the second time under names that are not those of experts.
fn checkpoint(group: &str, experts: u64, dims: [u64; 2], with_bias: bool) -> Dir {
    let dir = Dir::new();
    dir.file("config.json", r#"{"architectures": ["TestForCausalLM"]}"#);
    let [rows, columns] = dims;
    let mut tensors = Vec::new();
    for index in 0..experts {
        for (rest, dims) in
            [("up.weight", vec![rows, columns]), ("down.weight", vec![64, 64 * rows]), ("up.bias", vec![rows])]
        {
            if with_bias || rest != "up.bias" {
                let elements = dims.iter().product();
                let bytes = fixtures::fill(&format!("{index} {rest}"), Dtype::BF16, elements).into_vec();
                tensors.push((format!("{group}.{index}.{rest}"), dims.clone(), bytes.clone()));
                tensors.push((format!("copy.{index}.{rest}"), dims, bytes));
            }
        }
    }
    let list: Vec<_> =
        tensors.iter().map(|(name, dims, bytes)| (name.as_str(), Dtype::BF16, &**dims, &**bytes)).collect();
    dir.bytes("model.safetensors", &list);
    dir
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The ranges of an expert hold the same bytes as the same matrix under a plain name: its values, or its codes and
    /// companions.
    #[test]
    fn ranges_hold_one_expert_and_no_other(
        group in select(vec![
            "model.layers.0.mlp.experts", "layers.3.block_sparse_moe.experts", "backbone.layers.1.mixer.experts",
            "model.language_model.layers.0.feed_forward.experts", "layers.0.moe.experts", "a.ffn.experts", "experts",
        ]),
        experts in 1_u64..13,
        rows in 1_u64..6,
        columns in select(vec![64_u64, 128]),
        with_bias in any::<bool>(),
        scheme in select(vec!["none", "int4", "int3", "int8", "nvfp4", "mxfp4", "mxfp8"]),
        threads in 1_usize..4,
    ) {
        let dir = checkpoint(group, experts, [rows, columns], with_bias);
        let target = Dir::new();
        let store = store(&target);
        let source = dir.open().expect("it is a model");
        let plan = plan(&source, scheme, "uniform");
        let options = crate::stores::threads(threads);
        try_import(&store, "m", &plan, &options).expect("it can be imported");
        let model = read(&store, "m");
        let table = model.config.longshore.as_ref().expect("it was imported");

        let groups = expert_groups(table);
        let [found] = &*groups else { panic!("one layer has experts, found {groups:?}") };
        prop_assert_eq!((found.component, &*found.name, found.experts), (None, group, experts));
        prop_assert_eq!(found.expert(experts), None);
        let mut ranges = Vec::new();
        for index in 0..experts {
            let tensors = found.expert(index).expect("it is one of them");
            prop_assert_eq!(tensors.len(), if with_bias { 3 } else { 2 });
            for expert in &tensors {
                let rest = expert.tensor.name.strip_prefix(group).expect("it is in the group");
                let blob = fs::read(store.blob_path(&expert.blob.digest)).expect("it is stored");
                for found in &expert.parts {
                    let start = usize::try_from(found.offset).expect("it is small");
                    let bytes = &blob[start..start + usize::try_from(found.length).expect("it is small")];
                    let alone = part(&store, &model, &format!("copy.{index}{rest}"), found.role);
                    prop_assert!(bytes == alone, "{} {:?} of expert {}", rest, found.role, index);
                    ranges.push((expert.blob.digest.to_string(), found.offset, found.offset + found.length));
                }
            }
        }
        ranges.sort_unstable();
        prop_assert!(ranges.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].2 <= pair[1].1));
        let stored: u64 = found.tensors.iter().map(|(_, tensor)| tensor.byte_len()).sum();
        prop_assert_eq!(ranges.iter().map(|(_, start, end)| end - start).sum::<u64>(), stored);
    }
}

fn table(dir: &Dir, scheme: &str) -> TensorTable {
    let target = Dir::new();
    let store = store(&target);
    let source = dir.open().expect("it is a model");
    let plan = plan(&source, scheme, "default");
    try_import(&store, "m", &plan, &ImportOptions::default()).expect("it can be imported");
    (**read(&store, "m").config.longshore.as_ref().expect("it was imported")).clone()
}

fn names<'g>(group: &'g ExpertGroup<'_>) -> Vec<&'g str> {
    group
        .tensors
        .iter()
        .map(|(_, tensor)| tensor.name.strip_prefix(&*group.name).expect("it is in the group"))
        .collect()
}

#[test]
fn groups_of_the_models() {
    for model in FLOAT_MODELS {
        let table = table(&fixture(model), "int4");
        let groups = expert_groups(&table);
        let (count, experts, expected): (_, _, &[&str]) = match *model {
            "deepseek-v3" => (1, 4, &[".down_proj.weight", ".gate_proj.weight", ".up_proj.weight"]),
            "gpt-oss" => (2, 4, &[".down_proj", ".down_proj_bias", ".gate_up_proj", ".gate_up_proj_bias"]),
            "mixtral" => (2, 4, &[".w1.weight", ".w2.weight", ".w3.weight"]),
            "nemotron-h" => (1, 4, &[".down_proj.weight", ".up_proj.weight"]),
            "qwen3-moe" => (2, 8, &[".down_proj.weight", ".gate_proj.weight", ".up_proj.weight"]),
            "qwen3-next" => (4, 4, &[".down_proj.weight", ".gate_proj.weight", ".up_proj.weight"]),
            _ => (0, 0, &[]),
        };
        assert_eq!(groups.len(), count, "{model}");
        for group in &groups {
            assert_eq!((group.experts, names(group)), (experts, expected.to_vec()), "{model}");
            let weight =
                |role: Role| group.expert(0).expect("it is there")[0].parts.iter().any(|part| part.role == role);
            assert!(weight(Role::Weight), "{model}");
        }
    }
}

#[test]
fn names_of_experts_that_are_hard_to_read() {
    // A projection with a number for a name, experts within experts, and stacks that the checkpoint already holds.
    let dir = Dir::model(&[
        ("a.experts.0.1.weight", &[16, 64]),
        ("a.experts.1.1.weight", &[16, 64]),
        ("b.experts.experts.0.up.weight", &[16, 64]),
        ("c.experts.down_proj", &[3, 16, 64]),
        ("c.experts.down_proj_bias", &[3, 16]),
        ("c.experts.scores", &[3]),
        ("d.switch_mlp.up_proj.weight", &[2, 16, 64]),
        ("e.block_sparse_moe.input_linear.weight", &[2, 16, 64]),
        ("e.block_sparse_moe.router.layer.weight", &[2, 64]),
        ("f.shared_experts.0.up.weight", &[16, 64]),
        ("g.experts.up_bias", &[2, 64]),
    ]);
    let table = table(&dir, "int4");
    let groups = expert_groups(&table);
    let found: Vec<_> = groups.iter().map(|group| (&*group.name, group.experts, names(group))).collect();
    assert_eq!(
        found,
        [
            ("a.experts", 2, vec![".1.weight"]),
            ("b.experts.experts", 1, vec![".up.weight"]),
            ("c.experts", 3, vec![".down_proj", ".down_proj_bias"]),
            ("d.switch_mlp", 2, vec![".up_proj.weight"]),
            ("e.block_sparse_moe", 2, vec![".input_linear.weight"]),
        ]
    );
}
