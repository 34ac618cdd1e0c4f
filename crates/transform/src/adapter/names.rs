//! Names of an adapter's tensors.

use super::format::Format;

/// The part that a tensor has in an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The factor on the side of the inputs.
    A,
    /// The factor on the side of the outputs.
    B,
    EmbeddingA,
    EmbeddingB,
    /// The magnitude of each output.
    Magnitude,
    /// A bias of a factor.
    Bias,
    /// A tensor that replaces the base's of this name.
    Whole,
}

/// Names by their ends, for PEFT. Some versions keep the adapter's name, which is `default` unless it was given.
const PEFT: [(&str, Part); 14] = [
    (".lora_A.weight", Part::A),
    (".lora_B.weight", Part::B),
    (".lora_A.default.weight", Part::A),
    (".lora_B.default.weight", Part::B),
    (".lora_embedding_A", Part::EmbeddingA),
    (".lora_embedding_B", Part::EmbeddingB),
    (".lora_embedding_A.default", Part::EmbeddingA),
    (".lora_embedding_B.default", Part::EmbeddingB),
    (".lora_magnitude_vector", Part::Magnitude),
    (".lora_magnitude_vector.weight", Part::Magnitude),
    (".lora_magnitude_vector.default.weight", Part::Magnitude),
    (".lora_A.bias", Part::Bias),
    (".lora_B.bias", Part::Bias),
    (".lora_B.default.bias", Part::Bias),
];
const MLX: [(&str, Part); 3] = [(".lora_a", Part::A), (".lora_b", Part::B), (".m", Part::Magnitude)];

/// A name that was taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// Path of the module; for a tensor that replaces another, the name of that.
    pub(super) module: String,
    pub(super) part: Part,
    /// How many adapters of one module this one is inside of: several parameters of one module nest.
    pub(super) depth: usize,
}

impl Name {
    pub(super) fn parse(format: Format, name: &str) -> Self {
        let (ends, path) = match format {
            Format::Peft => (&PEFT[..], name.strip_prefix("base_model.model.").unwrap_or(name)),
            Format::Mlx => (&MLX[..], name),
            // The last is none of llama.cpp's.
            Format::Gguf => (&MLX[..2], name),
        };
        let found = ends.iter().find_map(|(end, part)| Some((path.strip_suffix(end)?, *part)));
        let (path, part) = found.unwrap_or((path, Part::Whole));
        let depth = path.split('.').filter(|segment| *segment == "base_layer").count();
        let is_own = |segment: &&str| *segment != "base_layer";
        let mut module = path.split('.').filter(is_own).collect::<Vec<_>>().join(".");
        if part == Part::Whole {
            module = module.replace(".modules_to_save.default.", ".").replace(".modules_to_save.", ".");
        }
        Self { module, part, depth }
    }
}

/// The name of the other factor of a pair.
pub(super) fn counterpart(name: &str) -> String {
    for (one, other) in [("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B"), ("lora_a", "lora_b")] {
        if name.contains(one) {
            return name.replace(one, other);
        }
        if name.contains(other) {
            return name.replace(other, one);
        }
    }
    format!("{name} of a pair")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_peft() {
        for (name, module, part, depth) in [
            ("base_model.model.model.layers.0.q_proj.lora_A.weight", "model.layers.0.q_proj", Part::A, 0),
            ("base_model.model.q.lora_B.default.weight", "q", Part::B, 0),
            ("base_model.model.embed_tokens.lora_embedding_A", "embed_tokens", Part::EmbeddingA, 0),
            ("base_model.model.e.experts.base_layer.lora_B.weight", "e.experts", Part::B, 1),
            ("base_model.model.q.lora_magnitude_vector", "q", Part::Magnitude, 0),
            ("base_model.model.q.lora_B.bias", "q", Part::Bias, 0),
            ("base_model.model.lm_head.modules_to_save.weight", "lm_head.weight", Part::Whole, 0),
            ("base_model.model.lm_head.weight", "lm_head.weight", Part::Whole, 0),
            ("base_model.model.model.embed_tokens.base_layer.weight", "model.embed_tokens.weight", Part::Whole, 1),
        ] {
            let expected = Name { module: module.into(), part, depth };
            assert_eq!(Name::parse(Format::Peft, name), expected, "{name}");
        }
    }

    #[test]
    fn names_of_mlx() {
        let parse = |name| Name::parse(Format::Mlx, name);
        assert_eq!(
            parse("model.layers.0.q_proj.lora_a"),
            Name { module: "model.layers.0.q_proj".into(), part: Part::A, depth: 0 }
        );
        assert_eq!(parse("q.m").part, Part::Magnitude);
        assert_eq!(counterpart("q.lora_a"), "q.lora_b");
        assert_eq!(counterpart("q.lora_B.weight"), "q.lora_A.weight");
        assert_eq!(counterpart("e.lora_embedding_B"), "e.lora_embedding_A");
    }
}
