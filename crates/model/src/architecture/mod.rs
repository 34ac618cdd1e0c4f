//! Table of the architectures that some runtime runs, and peculiarities of model families.

mod families;
mod names;
pub(crate) mod row;
mod table;

use names::plain;
pub use row::{Architecture, FactsReader};
pub use table::Architectures;

pub use crate::config::reader::ConfigReader;

/// Prefixes of the class names of [`names::TRANSPOSED_FAMILIES`].
const TRANSPOSED_CLASSES: [&str; 3] = ["GptOss", "Llama4", "Qwen3VLMoe"];
/// Families whose layers all have the sizes that the common members state. Others may state sizes of single layers, or of
/// parts of a head, under names of their own.
const UNIFORM: [&str; 26] = [
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen2_moe",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3",
    "qwen3_moe",
    "qwen3_next",
    "qwen3_vl",
    "qwen3_vl_moe",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "gpt_oss",
    "granite",
    "granitemoe",
    "olmo",
    "olmo2",
    "cohere",
    "starcoder2",
    "smollm3",
    "deepseek_v2",
    "deepseek_v3",
];
/// Architecture whose layer 0 is dense unless its configuration says otherwise.
const LAGUNA: &str = "LagunaForCausalLM";

/// Whether some runtime that reads a store runs the model: one of its identifiers, such as
/// [`ModelConfig::identifiers`](crate::ModelConfig::identifiers), is in the table. A model without a name counts as known.
#[must_use]
pub fn is_known(identifiers: &[String]) -> bool {
    let runs = |row: &Architecture| !row.runtimes().is_empty();
    let is_known = |name: &String| Architectures::known().find(name).is_some_and(runs);
    identifiers.is_empty() || identifiers.iter().any(is_known)
}

/// Whether the layers of a class, or of a `model_type`, are projections of the sizes that the common members state.
pub(crate) fn is_uniform(name: &str) -> bool {
    UNIFORM.iter().any(|uniform| plain(uniform) == plain(name))
}

/// Whether checkpoints of this class store fused expert weights as `[experts, in, out]`.
pub(crate) fn is_transposed_class(class: &str) -> bool {
    TRANSPOSED_CLASSES.iter().any(|prefix| class.starts_with(prefix))
}

/// Returns the dense layers of an architecture whose configuration does not name them.
pub(crate) fn dense_layers(architecture: &str) -> Option<Vec<u64>> {
    (architecture == LAGUNA).then(|| vec![0])
}

/// Returns the role of a diffusers class in a pipeline.
pub(crate) fn component_of_class(class: &str) -> &'static str {
    if class.contains("Autoencoder") || class.contains("VAE") || class.starts_with("VQ") {
        "vae"
    } else if class.starts_with("UNet") {
        "unet"
    } else {
        "transformer"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_and_model_types() {
        let is_known = |names: &[&str]| is_known(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
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
            assert!(is_known(names), "{names:?}");
        }
        for name in ["BertModel", "WhisperForConditionalGeneration", "NoSuchForCausalLM", "Model"] {
            assert!(!is_known(&[name]), "{name}");
        }
    }
}
