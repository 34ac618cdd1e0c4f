//! Families whose decoder is known, with the switches that their configurations leave unsaid.

use super::{NormNames, QkNorm};

/// A family of models that are run in the same way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family {
    /// Name by which the family is listed, and then the other names of its class, its `model_type` and its GGUF architecture,
    /// reduced as [`plain`] does.
    pub(crate) names: &'static [&'static str],
    pub(crate) norms: NormNames,
    pub(crate) qk_norm: QkNorm,
    /// Whether the configuration's window holds for every layer where it lists no kinds of layers.
    pub(crate) slides: bool,
}

const PRE: NormNames = NormNames {
    attention_in: Some("input_layernorm"),
    attention_out: None,
    ffn_in: Some("post_attention_layernorm"),
    ffn_out: None,
};

const SANDWICH: NormNames = NormNames {
    attention_in: Some("input_layernorm"),
    attention_out: Some("post_attention_layernorm"),
    ffn_in: Some("pre_feedforward_layernorm"),
    ffn_out: Some("post_feedforward_layernorm"),
};

const PLAIN: Family = Family { names: &[], norms: PRE, qk_norm: QkNorm::None, slides: true };

/// The families, each checked against logits of another program.
pub(crate) const FAMILIES: &[Family] = &[Family { names: &["llama", "smollm"], ..PLAIN }];

/// Finds the family of an architecture by any of its names.
pub(crate) fn find(name: &str) -> Option<&'static Family> {
    let name = plain(name);
    FAMILIES.iter().find(|family| family.names.contains(&name.as_str()))
}

/// Reduces the name of a class, of a `model_type` or of a GGUF architecture to lower-case letters and digits, without the
/// words that say for what the class is.
pub(crate) fn plain(name: &str) -> String {
    let name: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase()).collect();
    let ends = ["forcausallm", "lmheadmodel", "model", "text"];
    ends.iter().fold(name, |name, end| name.strip_suffix(end).map_or(name.clone(), str::to_owned))
}
