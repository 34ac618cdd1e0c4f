//! The families whose keys are known, and their names in both worlds.

use super::names::NameMap;
use crate::facts::Facts;

/// A family of models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// `general.architecture`.
    pub(super) gguf: &'static str,
    /// `model_type` and class, the usual ones.
    pub(super) model_type: &'static str,
    pub(super) class: &'static str,
    /// The activation, and the member that names it.
    pub(super) activation: (&'static str, &'static str),
}

const SILU: (&str, &str) = ("hidden_act", "silu");
const GELU_TANH: (&str, &str) = ("hidden_activation", "gelu_pytorch_tanh");

const fn family(gguf: &'static str, model_type: &'static str, class: &'static str) -> Family {
    Family { gguf, model_type, class, activation: SILU }
}

impl Family {
    const fn activated(mut self, activation: (&'static str, &'static str)) -> Self {
        self.activation = activation;
        self
    }

    /// The family of a file's `general.architecture`, by its model type if several have the same.
    pub(super) fn of_gguf(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.gguf == name)
    }

    /// The family of a `model_type`.
    pub(super) fn of_model_type(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.model_type == name)
    }

    /// The family of a class.
    pub(super) fn of_class(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.class == name)
    }
}

/// The names that a GGUF file of a model may have in `general.architecture`. Empty where the family is not known, or is none that
/// files are made of.
///
/// ```
/// use longshore_model::{Facts, gguf::architectures};
///
/// let facts = Facts { architecture: Some("MistralForCausalLM".to_owned()), ..Facts::default() };
/// assert_eq!(architectures(&facts), ["llama"]);
/// ```
#[must_use]
pub fn architectures(facts: &Facts) -> Vec<&'static str> {
    let (class, model_type) = (facts.architecture.as_deref(), facts.model_type.as_deref());
    let is_of = |family: &&Family| Some(family.class) == class || Some(family.model_type) == model_type;
    let of_checkpoints = FAMILIES.iter().filter(is_of).map(|family| family.gguf);
    // The facts of a GGUF file have its own name.
    let of_files = NameMap::architectures().filter(|name| Some(*name) == class);
    let mut found: Vec<&str> = of_checkpoints.chain(of_files).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Mixtral, whose files say that they are Llama's.
pub(super) const MIXTRAL: Family = family("llama", "mixtral", "MixtralForCausalLM");
/// The third generation of `DeepSeek`, whose files differ from the second's in the router.
pub(super) const DEEPSEEK_V3: Family = family("deepseek2", "deepseek_v3", "DeepseekV3ForCausalLM");

/// Of families with one architecture in GGUF, the first is the one that a file is taken for.
pub(super) const FAMILIES: &[Family] = &[
    family("llama", "llama", "LlamaForCausalLM"),
    family("llama", "mistral", "MistralForCausalLM"),
    MIXTRAL,
    family("mistral3", "ministral3", "Ministral3ForCausalLM"),
    family("qwen2", "qwen2", "Qwen2ForCausalLM"),
    family("qwen2moe", "qwen2_moe", "Qwen2MoeForCausalLM"),
    family("qwen3", "qwen3", "Qwen3ForCausalLM"),
    family("qwen3moe", "qwen3_moe", "Qwen3MoeForCausalLM"),
    family("qwen3next", "qwen3_next", "Qwen3NextForCausalLM"),
    family("gemma", "gemma", "GemmaForCausalLM").activated(GELU_TANH),
    family("gemma2", "gemma2", "Gemma2ForCausalLM").activated(GELU_TANH),
    family("gemma3", "gemma3_text", "Gemma3ForCausalLM").activated(GELU_TANH),
    family("phi3", "phi3", "Phi3ForCausalLM"),
    family("deepseek2", "deepseek_v2", "DeepseekV2ForCausalLM"),
    DEEPSEEK_V3,
    family("gpt-oss", "gpt_oss", "GptOssForCausalLM"),
    family("granite", "granite", "GraniteForCausalLM"),
    family("granitemoe", "granitemoe", "GraniteMoeForCausalLM"),
    family("granitehybrid", "granitemoehybrid", "GraniteMoeHybridForCausalLM"),
    family("nemotron_h", "nemotron_h", "NemotronHForCausalLM").activated(("mlp_hidden_act", "relu2")),
    family("nemotron_h_moe", "nemotron_h", "NemotronHForCausalLM").activated(("mlp_hidden_act", "relu2")),
    family("mamba", "mamba", "MambaForCausalLM"),
    family("mamba2", "mamba2", "Mamba2ForCausalLM"),
    family("command-r", "cohere", "CohereForCausalLM"),
    family("cohere2", "cohere2", "Cohere2ForCausalLM"),
    family("olmo2", "olmo2", "Olmo2ForCausalLM"),
    family("smollm3", "smollm3", "SmolLM3ForCausalLM"),
    family("starcoder2", "starcoder2", "Starcoder2ForCausalLM").activated(("hidden_act", "gelu_pytorch_tanh")),
    family("bert", "bert", "BertModel").activated(("hidden_act", "gelu")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_for_the_first_family_of_their_architecture() {
        assert_eq!(Family::of_gguf("llama").map(|family| family.model_type), Some("llama"));
        assert_eq!(Family::of_gguf("deepseek2").map(|family| family.model_type), Some("deepseek_v2"));
        assert_eq!(Family::of_gguf("rwkv7"), None);
        assert_eq!(Family::of_model_type("mixtral"), Some(&MIXTRAL));
        assert_eq!(Family::of_class("DeepseekV3ForCausalLM"), Some(&DEEPSEEK_V3));
    }

    #[test]
    fn models_have_the_names_of_their_files() {
        let of = |class: &str, model_type: Option<&str>| {
            let model_type = model_type.map(str::to_owned);
            architectures(&Facts { architecture: Some(class.to_owned()), model_type, ..Facts::default() })
        };
        assert_eq!(of("MixtralForCausalLM", Some("mixtral")), ["llama"]);
        assert_eq!(of("NemotronHForCausalLM", None), ["nemotron_h", "nemotron_h_moe"]);
        assert_eq!(of("Custom", Some("qwen3")), ["qwen3"]);
        assert_eq!(of("llama", None), ["llama"]);
        assert_eq!(of("lfm2", None), ["lfm2"]);
        assert!(of("Custom", None).is_empty() && architectures(&Facts::default()).is_empty());
    }
}
