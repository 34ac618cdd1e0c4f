//! Names that the experts' tensors have beyond those of checkpoints: ggml's.

use longshore_model::experts::{ExpertName, ExpertNaming};

/// Prefix of a layer's tensors in ggml's names.
pub(super) const BLOCK: &str = "blk.";
/// Modules that ggml names by an expert's number where experts are not stacked.
const SINGLE: [&str; 3] = ["ffn_gate", "ffn_up", "ffn_down"];
/// Modules of ggml's stacks.
const STACKS: [&str; 4] = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_gate_up_exps"];

/// Parses a name as the model's family says, and else as ggml's.
pub(super) fn parse(naming: ExpertNaming, name: &str) -> ExpertName<'_> {
    match naming(name) {
        ExpertName::Other => ggml(name).unwrap_or(ExpertName::Other),
        found => found,
    }
}

/// Returns the number of the layer in a group's name: the first segment that is a number, and what stands before it.
pub(super) fn layer(group: &str) -> Option<(&str, &str)> {
    let mut start = 0;
    for segment in group.split('.') {
        if is_number(segment) {
            return Some((&group[..start], segment));
        }
        start += segment.len() + 1;
    }
    None
}

fn ggml(name: &str) -> Option<ExpertName<'_>> {
    let rest = name.strip_prefix(BLOCK)?;
    let (number, rest) = rest.split_once('.').filter(|(number, _)| is_number(number))?;
    let group = &name[..BLOCK.len() + number.len()];
    let (module, rest) = rest.split_once('.')?;
    if STACKS.contains(&module) {
        return Some(ExpertName::Fused { group });
    }
    let (index, what) = rest.split_once('.').filter(|(index, _)| is_number(index))?;
    (SINGLE.contains(&module) && what == "weight").then_some(ExpertName::Single { group, index, rest: module })
}

fn is_number(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ggml_names_stacks_and_single_experts() {
        let naming: ExpertNaming = |name| ExpertName::parse(name);
        assert_eq!(parse(naming, "blk.12.ffn_up_exps.weight"), ExpertName::Fused { group: "blk.12" });
        assert_eq!(parse(naming, "blk.12.ffn_gate_up_exps.bias"), ExpertName::Fused { group: "blk.12" });
        let single = ExpertName::Single { group: "blk.0", index: "7", rest: "ffn_gate" };
        assert_eq!(parse(naming, "blk.0.ffn_gate.7.weight"), single);
        for name in [
            "blk.0.ffn_gate_inp.weight",
            "blk.0.ffn_up_shexp.weight",
            "blk.x.ffn_up_exps.weight",
            "blk.0.ffn_up.weight",
        ] {
            assert_eq!(parse(naming, name), ExpertName::Other, "{name}");
        }
        let checkpoint = ExpertName::Fused { group: "model.layers.0.mlp.experts" };
        assert_eq!(parse(naming, "model.layers.0.mlp.experts.down_proj"), checkpoint);
    }

    #[test]
    fn a_layer_is_the_first_number() {
        assert_eq!(layer("model.layers.12.mlp.experts"), Some(("model.layers.", "12")));
        assert_eq!(layer("blk.3"), Some(("blk.", "3")));
        assert_eq!(layer("3.experts"), Some(("", "3")));
        assert_eq!(layer("mlp.experts"), None);
    }
}
