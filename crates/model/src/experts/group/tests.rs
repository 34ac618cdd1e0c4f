use proptest::prelude::*;

use super::*;

fn tensor(name: &str, dims: &[u64]) -> (String, Shape) {
    (name.to_owned(), Shape::from(dims))
}

fn tensors(list: &[(&str, &[u64])]) -> Vec<(String, Shape)> {
    list.iter().map(|(name, dims)| tensor(name, dims)).collect()
}

fn group(tensors: &[(String, Shape)]) -> Result<Grouping, ExpertError> {
    super::group(tensors.iter().map(|(name, shape)| (name.as_str(), shape)))
}

#[test]
fn experts_are_stacked_in_numeric_order() {
    let names: Vec<String> = (0..12).rev().map(|index| format!("l.mlp.experts.{index}.w.weight")).collect();
    let tensors: Vec<_> = names.iter().map(|name| tensor(name, &[3, 4])).collect();
    let grouping = group(&tensors).expect("they are whole");
    let [stack] = &*grouping.groups["l.mlp.experts"] else { panic!("one projection") };
    assert_eq!((stack.name.as_str(), stack.shape.dims()), ("l.mlp.experts.w.weight", &[12, 3, 4][..]));
    assert_eq!((stack.is_fused, stack.is_matrix), (false, true));
    assert_eq!(stack.tensors, (0..12).rev().collect::<Vec<_>>());
}

#[test]
fn biases_and_fused_tensors_join_the_group() {
    let tensors = tensors(&[
        ("l.experts.0.up.bias", &[6]),
        ("l.experts.0.up.weight", &[6, 4]),
        ("l.experts.1.up.bias", &[6]),
        ("l.experts.1.up.weight", &[6, 4]),
        ("l.experts.down_proj", &[2, 4, 6]),
        ("l.experts.down_proj_bias", &[2, 4]),
        ("l.experts.out_bias", &[2, 1, 4]),
        ("l.experts.scores", &[2]),
        ("l.switch_mlp.up_bias", &[2, 4]),
    ]);
    let grouping = group(&tensors).expect("they are whole");
    let found: Vec<_> = grouping.groups["l.experts"]
        .iter()
        .map(|stack| (stack.name.as_str(), stack.shape.rank(), stack.is_matrix))
        .collect();
    assert_eq!(
        found,
        [
            ("l.experts.down_proj", 3, true),
            ("l.experts.down_proj_bias", 2, false),
            ("l.experts.out_bias", 3, false),
            ("l.experts.up.bias", 2, false),
            ("l.experts.up.weight", 3, true),
        ]
    );
    assert_eq!(grouping.groups.len(), 1, "a bias alone is no group");
    assert_eq!(grouping.plain, [7, 8]);
}

#[test]
fn errors_name_the_tensors() {
    let big = format!("e.experts.{}0.w", u64::MAX);
    let cases: Vec<(Vec<(String, Shape)>, &str)> = vec![
        (
            tensors(&[("e.experts.1.w", &[2, 2])]),
            r#"expert tensor "e.experts.0.w" not found, though "e.experts.1.w" is there"#,
        ),
        (
            tensors(&[("e.experts.0.w", &[2, 2]), ("e.experts.3.w", &[2, 2])]),
            r#"expert tensor "e.experts.1.w" not found, though "e.experts.3.w" is there"#,
        ),
        (
            tensors(&[("e.experts.0.w", &[2, 2]), ("e.experts.007.w", &[2, 2]), ("e.experts.00.w", &[2, 2])]),
            r#"tensors "e.experts.0.w" and "e.experts.00.w" are the same expert's"#,
        ),
        (tensors(&[(&big, &[2, 2])]), "is too large"),
        (
            tensors(&[("e.experts.0.w", &[2, 2]), ("e.experts.1.w", &[2, 3])]),
            r#"expert tensor "e.experts.1.w" has the shape [2, 3]: expected [2, 2], that of "e.experts.0.w""#,
        ),
        (
            tensors(&[("e.experts.0.v", &[2, 2]), ("e.experts.0.w", &[2, 2]), ("e.experts.1.w", &[2, 2])]),
            r#""e.experts.w" has 2 experts: expected 1, as "e.experts.v" has"#,
        ),
        (
            tensors(&[("e.experts.0.v", &[2, 2]), ("e.experts.w", &[2, 2, 2])]),
            r#""e.experts.w" has 2 experts: expected 1, as "e.experts.v" has"#,
        ),
    ];
    for (tensors, expected) in cases {
        let message = group(&tensors).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}\n{expected}");
    }
}

fn prefixes() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "model.", "model.language_model.", "language_model.model.", "backbone.", "mtp."])
}

fn markers() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["mlp", "block_sparse_moe", "feed_forward", "mixer", "moe", "ffn"])
}

proptest! {
    /// The prefix and the order of the tensors do not change the stacks, and each stack is in the order of the experts.
    #[test]
    fn groups_do_not_depend_on_order_or_prefix(
        prefix in prefixes(),
        marker in markers(),
        layers in 1_usize..4,
        experts in 1_u64..14,
        padded in any::<bool>(),
        order in any::<prop::sample::Index>(),
    ) {
        let mut list = Vec::new();
        for layer in 0..layers {
            let base = format!("{prefix}layers.{layer}.{marker}");
            for expert in 0..experts {
                let index = if padded { format!("{expert:03}") } else { expert.to_string() };
                list.push(tensor(&format!("{base}.experts.{index}.w1.weight"), &[8, 4]));
                list.push(tensor(&format!("{base}.experts.{index}.w2.weight"), &[4, 8]));
                list.push(tensor(&format!("{base}.experts.{index}.w2.bias"), &[4]));
            }
            list.push(tensor(&format!("{base}.shared_experts.w1.weight"), &[8, 4]));
            list.push(tensor(&format!("{base}.gate.weight"), &[experts, 4]));
        }
        let len = list.len();
        list.rotate_left(order.index(len));
        if order.index(2) == 1 {
            list.reverse();
        }

        let grouping = group(&list).expect("they are whole");
        prop_assert_eq!(grouping.groups.len(), layers);
        prop_assert_eq!(grouping.plain.len(), 2 * layers);
        let mut used = grouping.plain.clone();
        for (name, stacks) in &grouping.groups {
            let group = format!("{marker}.experts");
            prop_assert!(name.ends_with(&group));
            let names: Vec<_> = stacks.iter().map(|stack| stack.name[name.len()..].to_owned()).collect();
            prop_assert_eq!(names, [".w1.weight", ".w2.bias", ".w2.weight"]);
            for stack in stacks {
                used.extend(&stack.tensors);
                for (expected, at) in (0_u64..).zip(&stack.tensors) {
                    let rest = &list[*at].0[name.len() + 1..];
                    let index: u64 = rest.split('.').next().and_then(|index| index.parse().ok()).expect("a number");
                    prop_assert_eq!(index, expected);
                }
            }
        }
        used.sort_unstable();
        prop_assert_eq!(used, (0..len).collect::<Vec<_>>());
    }

    /// Grouping panics on no name, and uses each accepted tensor exactly once.
    #[test]
    fn any_names(names in prop::collection::btree_set("(experts|switch_mlp|bias|[0-9]{1,3}|w)(\\.(experts|bias|[0-9]{1,2}|w|)){0,4}", 0..12), rank in 0_usize..5) {
        let list: Vec<_> = names.iter().map(|name| tensor(name, &[2, 2, 2, 2][..rank.min(4)])).collect();
        if let Ok(grouping) = group(&list) {
            let stacks = grouping.groups.values().flatten().flat_map(|stack| stack.tensors.iter().copied());
            let mut used: Vec<_> = grouping.plain.iter().copied().chain(stacks).collect();
            used.sort_unstable();
            prop_assert_eq!(used, (0..list.len()).collect::<Vec<_>>());
        }
    }
}
