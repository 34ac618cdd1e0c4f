//! Facts that a runtime needs to run a model: ollama's fields of a config document.

use super::{
    dialect::{self, Dialect},
    template::ChatTemplate,
};
use crate::config::model::ModelConfig;

/// Oldest ollama version that reads the stores that this project writes.
const REQUIRES: &str = "0.19.0";
/// Class of the only pipeline that takes pictures as input as well as making them.
const SEEING_PIPELINE: &str = "Flux2KleinPipeline";

/// Facts that a runtime needs to run a model. Each field has the name and meaning of ollama's field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Runtime {
    /// Oldest runtime version that can run the model; `None` for a pipeline.
    pub requires: Option<&'static str>,
    /// Abilities of the model in ollama's order, `completion` first.
    pub capabilities: Vec<String>,
    /// Name of the renderer that turns messages into a prompt.
    pub renderer: Option<&'static str>,
    /// Name of the parser that reads the model's answers.
    pub parser: Option<&'static str>,
}

impl Runtime {
    /// Returns the fields of a model with this configuration and chat template.
    #[must_use]
    pub fn of_model(config: &ModelConfig, template: &ChatTemplate) -> Self {
        let dialect = Dialect::of(&config.identifiers, template);
        Self {
            requires: Some(REQUIRES),
            capabilities: capabilities(config, dialect.as_ref(), template),
            renderer: dialect.map(|dialect| dialect.renderer),
            parser: dialect.map(|dialect| dialect.parser),
        }
    }

    /// Returns the fields of a diffusion pipeline whose class is `class`.
    #[must_use]
    pub fn of_pipeline(class: Option<&str>) -> Self {
        let sees = class == Some(SEEING_PIPELINE);
        let capabilities = ["image"].into_iter().chain(sees.then_some("vision")).map(str::to_owned).collect();
        Self { capabilities, ..Self::default() }
    }
}

/// Returns the abilities of a model, in ollama's order.
fn capabilities(model: &ModelConfig, dialect: Option<&Dialect>, template: &ChatTemplate) -> Vec<String> {
    let is_bert = |name: &str| name.contains("bert") && !name.contains("hubert");
    let is_encoder = |name: &String| is_bert(name) || name.ends_with("encodermodel");
    if model.identifiers.first().is_some_and(|name| is_encoder(name) && !name.ends_with("forcausallm")) {
        // An embedding model completes nothing. ollama would list `completion`; this function does not.
        return vec!["embedding".to_owned()];
    }
    let always_thinks = || model.identifiers.iter().any(|name| dialect::is_qwen3_5(name));
    let thinks = template.thinks() || dialect.is_some_and(|dialect| dialect.thinks) || always_thinks();
    // Every parser reads tool calls.
    let found = [
        ("completion", true),
        ("vision", model.has_vision),
        ("audio", model.has_audio),
        ("tools", dialect.is_some()),
        ("thinking", thinks),
    ];
    found.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
