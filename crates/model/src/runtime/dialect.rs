//! Choice of ollama's renderer and parser for a model.

use super::template::ChatTemplate;

/// Renderer and parser of a model. The renderer turns messages into a prompt; the parser reads the model's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) renderer: &'static str,
    pub(super) parser: &'static str,
    /// Whether the parser separates thoughts from answers.
    pub(super) thinks: bool,
}

impl Dialect {
    /// Returns the dialect of the first identifier that has one. `identifiers` are in lower case.
    pub(super) fn of(identifiers: &[String], template: &ChatTemplate) -> Option<Self> {
        identifiers.iter().find_map(|name| Self::of_name(name, template))
    }

    fn of_name(name: &str, template: &ChatTemplate) -> Option<Self> {
        let has = |part: &str| name.contains(part);
        let same = |name| Some(Self { renderer: name, parser: name, thinks: true });
        // Names of Qwen 3.5 also contain `qwen3`, so Qwen 3.5 is tested first.
        if name.starts_with("museglimmer") || name == "muse_glimmer" {
            same("glimmer")
        } else if has("laguna") {
            same(if template.has("laguna_glm_thinking_v8") { "poolside-v1" } else { "laguna" })
        } else if has("cohere2moe") || has("cohere2_moe") {
            same("cohere")
        } else if has("glm4") || has("glm-4") {
            same("glm-4.7")
        } else if has("deepseek") {
            same("deepseek3")
        } else if has("gemma4") {
            same("gemma4")
        } else if is_qwen3_5(name) {
            let text = template.text();
            let is_newer = text.contains("resolved_reasoning_effort") && text.contains("preserve_thinking");
            Some(Self { renderer: if is_newer { "qwen3.8" } else { "qwen3.5" }, parser: "qwen3.5", thinks: true })
        } else if has("qwen3") {
            // Only some Qwen 3 models think. The template shows which ones do.
            Some(Self { renderer: "qwen3-coder", parser: "qwen3", thinks: false })
        } else if has("nemotronh") || has("nemotron_h") {
            let is_newer = template.has("{reasoning effort: efficient}");
            same(if is_newer { "nemotron-3.5-nano" } else { "nemotron-3-nano" })
        } else {
            None
        }
    }
}

/// Whether `name`, in lower case, is that of a Qwen 3.5 or Qwen 3 Next model.
pub(super) fn is_qwen3_5(name: &str) -> bool {
    name.contains("qwen3_5") || name.contains("qwen3next")
}
