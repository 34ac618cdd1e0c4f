//! Names of architectures, and how they are compared.

/// Families, by `model_type`, whose checkpoints store fused expert weights as `[experts, in, out]`.
pub(super) const TRANSPOSED_FAMILIES: [&str; 5] =
    ["gpt_oss", "llama4", "llama4_text", "qwen3_vl_moe", "qwen3_vl_moe_text"];
/// Endings that class names append to the name of the architecture.
const ENDINGS: [&str; 4] = ["forcausallm", "forconditionalgeneration", "lmheadmodel", "model"];

/// Reduces a name to lower case without punctuation and ending, so that `Qwen3MoeForCausalLM` equals `qwen3_moe`.
pub(super) fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase());
    let mut plain: String = letters.collect();
    if let Some(ending) = ENDINGS.iter().find(|ending| plain.len() > ending.len() && plain.ends_with(*ending)) {
        plain.truncate(plain.len() - ending.len());
    }
    plain
}
