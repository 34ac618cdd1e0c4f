//! Families whose decoder is known, with the switches that their configurations leave unsaid.

use super::shape::{NormNames, QkNorm};

/// A family of models that are run in the same way.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Family {
    /// Name by which the family is listed, and then the other names of its class, its `model_type` and its GGUF architecture,
    /// reduced as [`plain`] does.
    pub(crate) names: &'static [&'static str],
    pub(crate) norms: NormNames,
    pub(crate) qk_norm: QkNorm,
    /// Whether the configuration's window holds for every layer where it lists no kinds of layers.
    pub(crate) slides: bool,
    /// Whether norms subtract the mean, where the configuration does not say so.
    pub(crate) centres: bool,
    /// Whether neighbouring elements are rotated together, where the configuration does not say so.
    pub(crate) interleaved: bool,
    /// Whether `yarn` rounds the bounds of its blend, where the configuration does not say so.
    pub(crate) truncates: bool,
    /// Whether queries and keys are rotated.
    pub(crate) rotates: bool,
    /// Whether the base of the rotation is 10,000 where the configuration does not say so.
    pub(crate) has_usual_base: bool,
    /// Whether only layers of local attention are rotated.
    pub(crate) rotates_local: bool,
    /// Whether attention and feed-forward block read the same input, and are added together.
    pub(crate) parallel: bool,
    /// Whether the activation of one projection gates another projection.
    pub(crate) gated: bool,
    /// Whether scores of the chosen experts are divided by their sum, where the configuration does not say so.
    pub(crate) normalises: bool,
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

/// Norms after the blocks, before what they give is added.
const POST: NormNames = NormNames {
    attention_in: None,
    attention_out: Some("post_attention_layernorm"),
    ffn_in: None,
    ffn_out: Some("post_feedforward_layernorm"),
};

const GLM: NormNames = NormNames {
    attention_in: Some("input_layernorm"),
    attention_out: Some("post_self_attn_layernorm"),
    ffn_in: Some("post_attention_layernorm"),
    ffn_out: Some("post_mlp_layernorm"),
};

/// One norm for both blocks.
const ONE: NormNames =
    NormNames { attention_in: Some("input_layernorm"), attention_out: None, ffn_in: None, ffn_out: None };

const PLAIN: Family = Family {
    names: &[],
    norms: PRE,
    qk_norm: QkNorm::None,
    slides: true,
    centres: false,
    interleaved: false,
    truncates: true,
    rotates: true,
    has_usual_base: true,
    rotates_local: false,
    parallel: false,
    gated: true,
    normalises: false,
};

/// Encoders like BERT, whose positions are added to the embeddings.
pub(crate) const ENCODER: Family = Family { centres: true, gated: false, rotates: false, ..PLAIN };

/// The families, each checked against logits of another program.
pub(crate) const FAMILIES: &[Family] = &[
    Family { names: &["llama", "smollm"], normalises: true, ..PLAIN },
    Family { names: &["mistral"], ..PLAIN },
    Family { names: &["qwen2"], ..PLAIN },
    Family { names: &["qwen3"], ..PLAIN },
    Family { names: &["qwen3-moe", "qwen3moe"], ..PLAIN },
    Family { names: &["mixtral"], has_usual_base: false, normalises: true, ..PLAIN },
    Family { names: &["gemma2"], norms: SANDWICH, slides: false, ..PLAIN },
    Family { names: &["gemma3"], norms: SANDWICH, slides: false, has_usual_base: false, ..PLAIN },
    Family { names: &["gpt-oss", "gptoss"], slides: false, truncates: false, has_usual_base: false, ..PLAIN },
    Family { names: &["deepseek-v3", "deepseekv3"], ..PLAIN },
    Family { names: &["phi3"], ..PLAIN },
    Family { names: &["granite"], ..PLAIN },
    Family { names: &["granitemoe"], normalises: true, ..PLAIN },
    Family { names: &["olmo2"], norms: POST, qk_norm: QkNorm::Row, ..PLAIN },
    Family { names: &["olmoe"], qk_norm: QkNorm::Row, ..PLAIN },
    Family {
        names: &["cohere2"],
        norms: ONE,
        slides: false,
        centres: true,
        interleaved: true,
        rotates_local: true,
        parallel: true,
        ..PLAIN
    },
    Family { names: &["glm4"], norms: GLM, interleaved: true, has_usual_base: false, ..PLAIN },
    Family { names: &["starcoder2"], centres: true, gated: false, ..PLAIN },
    Family { names: &["smollm3"], slides: false, has_usual_base: false, ..PLAIN },
];

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
