//! What a tensor's name says about experts.

/// Modules that hold all experts of a layer, each projection in one tensor.
const FUSED_MODULES: [&str; 3] = ["experts", "switch_mlp", "switch_glu"];
/// The experts of Granite and `JetMoE`, which have no module of their own.
const FUSED_TENSORS: [&str; 2] = [".input_linear.weight", ".output_linear.weight"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role<'a> {
    /// One expert's tensor, `<group>.<index>.<rest>`.
    Expert { group: &'a str, index: &'a str, rest: &'a str },
    /// A tensor of all experts of `group`, if its rank agrees.
    Fused { group: &'a str },
    /// Nothing of either kind. Shared experts, which every token uses, are among these.
    Plain,
}

/// Reads a name. A group's name ends with the segment that holds the experts, whatever stands before it.
pub(super) fn role(name: &str) -> Role<'_> {
    expert(name).or_else(|| fused(name)).unwrap_or(Role::Plain)
}

fn expert(name: &str) -> Option<Role<'_>> {
    modules(name).filter(|(module, ..)| *module == "experts").find_map(|(_, group, rest)| {
        let (index, rest) = rest.split_once('.')?;
        let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && !rest.is_empty()).then_some(Role::Expert { group, index, rest })
    })
}

/// Projections that Step-3 has directly in a module of this name.
const MOE_TENSORS: [&str; 3] = [".moe.gate_proj.weight", ".moe.up_proj.weight", ".moe.down_proj.weight"];

fn fused(name: &str) -> Option<Role<'_>> {
    let in_moe = || {
        let of_layer = MOE_TENSORS.iter().find_map(|suffix| name.strip_suffix(suffix))?;
        Some(&name[..of_layer.len() + ".moe".len()])
    };
    let by_module = modules(name).find(|(module, ..)| FUSED_MODULES.contains(module)).map(|(_, group, _)| group);
    let by_tensor = || FUSED_TENSORS.iter().find_map(|suffix| name.strip_suffix(suffix)).or_else(in_moe);
    Some(Role::Fused { group: by_module.or_else(by_tensor)? })
}

/// Each segment but the last, with the name up to its end and the name after it.
fn modules(name: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    name.match_indices('.').map(|(end, _)| {
        let start = name[..end].rfind('.').map_or(0, |dot| dot + 1);
        (&name[start..end], &name[..end], &name[end + 1..])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_under_every_prefix() {
        for prefix in [
            "model.layers.3.mlp.experts",
            "model.layers.3.block_sparse_moe.experts",
            "model.layers.3.feed_forward.experts",
            "backbone.layers.3.mixer.experts",
            "language_model.model.layers.3.moe.experts",
            "model.language_model.layers.3.ffn.experts",
            "mtp.layers.0.mlp.experts",
            "experts",
            "model.experts.experts",
        ] {
            let name = format!("{prefix}.12.w1.weight");
            assert_eq!(role(&name), Role::Expert { group: prefix, index: "12", rest: "w1.weight" });
        }
        for (name, group) in [
            ("model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts"),
            ("model.layers.0.mlp.switch_mlp.up_proj.weight", "model.layers.0.mlp.switch_mlp"),
            ("layers.0.experts.switch_glu.up_proj.weight", "layers.0.experts"),
            ("model.layers.0.block_sparse_moe.input_linear.weight", "model.layers.0.block_sparse_moe"),
        ] {
            assert_eq!(role(name), Role::Fused { group });
        }
        for name in [
            "model.layers.0.mlp.shared_experts.down_proj.weight",
            "model.layers.0.mlp.shared_expert.down_proj.weight",
            "model.layers.0.mlp.shared_experts.0.down_proj.weight",
            "model.layers.0.mlp.gate.weight",
            "model.layers.0.mlp.experts",
            "my_experts.0.weight",
            "",
            "...",
        ] {
            assert_eq!(role(name), Role::Plain, "{name}");
        }
    }
}
