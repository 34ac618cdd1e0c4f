//! Names of expert tensors: parsing a name into layer, expert and projection.

/// Names of modules that hold one fused tensor per projection, for all experts of a layer.
const FUSED_MODULES: [&str; 3] = ["experts", "switch_mlp", "switch_glu"];
/// Name endings of Granite's and `JetMoE`'s tensors that hold all experts without a module of their own.
const FUSED_TENSORS: [&str; 2] = [".input_linear.weight", ".output_linear.weight"];
/// Name endings of Step-3's tensors that hold all experts directly in a module called `moe`.
const MOE_TENSORS: [&str; 3] = [".moe.gate_proj.weight", ".moe.up_proj.weight", ".moe.down_proj.weight"];

/// Role of a tensor among the experts of a layer, determined from its name alone.
///
/// The name of a group ends with the segment that holds the experts. Any prefix may stand before it.
///
/// ```
/// use longshore_model::experts::ExpertName;
///
/// assert_eq!(
///     ExpertName::parse("model.layers.3.mlp.experts.12.up_proj.weight"),
///     ExpertName::Single { group: "model.layers.3.mlp.experts", index: "12", rest: "up_proj.weight" },
/// );
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertName<'a> {
    /// A tensor of one expert, named `<group>.<index>.<rest>`.
    Single {
        /// Prefix that all experts of the layer share.
        group: &'a str,
        /// Number of the expert, in the decimal digits of the name.
        index: &'a str,
        /// Rest of the name: the projection, such as `up_proj.weight`.
        rest: &'a str,
    },
    /// A tensor of all experts of a layer, provided that its rank agrees.
    Fused {
        /// Prefix that all projections of the layer share.
        group: &'a str,
    },
    /// Any other tensor, including those of shared experts, which every token uses.
    Other,
}

/// Function that parses the name of a tensor, such as [`ExpertName::parse`].
pub type ExpertNaming = for<'a> fn(&'a str) -> ExpertName<'a>;

impl<'a> ExpertName<'a> {
    /// Parses the name of a tensor.
    #[must_use]
    pub fn parse(name: &'a str) -> Self {
        single(name).or_else(|| fused(name)).unwrap_or(Self::Other)
    }
}

/// Whether `name` is that of a bias.
#[must_use]
pub fn is_bias(name: &str) -> bool {
    name.strip_suffix("bias").is_some()
}

/// Whether `name` is one that gpt-oss and Llama 4 give to a fused weight. MLX writes these architectures with `.weight`
/// at the end of the name, and already as `[experts, out, in]`.
#[must_use]
pub fn may_be_transposed(name: &str) -> bool {
    [".experts.gate_up_proj", ".experts.down_proj"].iter().any(|end| name.ends_with(end))
}

fn single(name: &str) -> Option<ExpertName<'_>> {
    modules(name).filter(|(module, ..)| *module == "experts").find_map(|(_, group, rest)| {
        let (index, rest) = rest.split_once('.')?;
        let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && !rest.is_empty()).then_some(ExpertName::Single { group, index, rest })
    })
}

fn fused(name: &str) -> Option<ExpertName<'_>> {
    let in_moe = || {
        let of_layer = MOE_TENSORS.iter().find_map(|suffix| name.strip_suffix(suffix))?;
        Some(&name[..of_layer.len() + ".moe".len()])
    };
    let by_module = modules(name).find(|(module, ..)| FUSED_MODULES.contains(module)).map(|(_, group, _)| group);
    let by_tensor = || FUSED_TENSORS.iter().find_map(|suffix| name.strip_suffix(suffix)).or_else(in_moe);
    Some(ExpertName::Fused { group: by_module.or_else(by_tensor)? })
}

/// Iterates over all segments except the last. Each item is the segment, the name up to its end, and the name after it.
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
            assert_eq!(ExpertName::parse(&name), ExpertName::Single { group: prefix, index: "12", rest: "w1.weight" });
        }
        for (name, group) in [
            ("model.layers.0.mlp.experts.gate_up_proj", "model.layers.0.mlp.experts"),
            ("model.layers.0.mlp.switch_mlp.up_proj.weight", "model.layers.0.mlp.switch_mlp"),
            ("layers.0.experts.switch_glu.up_proj.weight", "layers.0.experts"),
            ("model.layers.0.block_sparse_moe.input_linear.weight", "model.layers.0.block_sparse_moe"),
        ] {
            assert_eq!(ExpertName::parse(name), ExpertName::Fused { group });
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
            assert_eq!(ExpertName::parse(name), ExpertName::Other, "{name}");
        }
    }
}
