//! Architectures that something runs.

use crate::config::ModelConfig;

/// One name in a line; the file says where each list comes from.
const KNOWN: &str = include_str!("known.txt");
/// What classes are called after their architecture.
const ENDINGS: [&str; 4] = ["forcausallm", "forconditionalgeneration", "lmheadmodel", "model"];

/// A warning if none of the names by which a runtime may know a model is known. A model without a name gets none.
pub(crate) fn unknown(config: &ModelConfig) -> Option<String> {
    let identifiers = &config.identifiers;
    let name = config.architecture.as_ref().filter(|_| !identifiers.is_empty())?;
    let known = || KNOWN.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(plain);
    let is_known = |name: &String| known().any(|known| known == plain(name));
    (!identifiers.iter().any(is_known)).then(|| {
        format!("no runtime known to read this store runs {name}; an export gives the checkpoint back to what does")
    })
}

/// A name without case, punctuation and ending: `Qwen3MoeForCausalLM` and `qwen3_moe` are one.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric).map(|letter| letter.to_ascii_lowercase());
    let mut plain: String = letters.collect();
    if let Some(ending) = ENDINGS.iter().find(|ending| plain.len() > ending.len() && plain.ends_with(*ending)) {
        plain.truncate(plain.len() - ending.len());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_and_model_types() {
        let warning = |names: &[&str]| {
            let document = serde_json::json!({"architectures": names}).to_string();
            unknown(&ModelConfig::parse(document.as_bytes()).expect("it is an object"))
        };
        for names in [
            &["LlamaForCausalLM"][..],
            &["Qwen3MoeForCausalLM", "qwen3_moe"],
            &["GptOssForCausalLM"],
            &["DeepseekV3ForCausalLM"],
            &["NemotronH_Nano_VL_V2"],
            &["MuseGlimmerForConditionalGeneration"],
            &["GPT2LMHeadModel"],
            &["MiniMaxM2ForCausalLM"],
            &["MistralForCausalLM"],
            &["OwnForCausalLM", "llama"],
            &[],
        ] {
            assert_eq!(warning(names), None, "{names:?}");
        }
        for name in ["BertModel", "WhisperForConditionalGeneration", "NoSuchForCausalLM", "Model"] {
            let warning = warning(&[name]).unwrap_or_else(|| panic!("{name} is unknown"));
            assert!(warning.starts_with(&format!("no runtime known to read this store runs {name}")), "{warning}");
        }
    }
}
