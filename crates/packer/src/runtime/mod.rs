//! What a runtime has to know of a stored model: ollama's fields of its config document.

mod dialect;
pub(crate) mod known;
mod template;

use longshore_manifest::{Config, document::Draft};

use self::dialect::Dialect;
pub(crate) use self::template::ChatTemplate;
use crate::{classify::Kind, config::ModelConfig, source::Source};

/// The oldest ollama that reads what this writes.
const REQUIRES: &str = "0.19.0";
/// The one pipeline that takes pictures as well as it makes them.
const SEEING_PIPELINE: &str = "Flux2KleinPipeline";

/// Fills in what a runtime goes by.
pub(crate) fn describe(source: &Source, config: &mut Config) {
    let draft = source.members.iter().find(|member| member.is_draft());
    config.draft = draft.map(|draft| Draft::new(draft.architecture().unwrap_or_default()));
    if source.kind == Kind::Pipeline {
        let sees = source.architecture() == Some(SEEING_PIPELINE);
        config.capabilities = ["image"].into_iter().chain(sees.then_some("vision")).map(str::to_owned).collect();
        return;
    }
    let nothing = ModelConfig::default();
    let model = source.config.as_ref().unwrap_or(&nothing);
    let dialect = Dialect::of(&model.identifiers, &source.template);
    config.requires = Some(REQUIRES.to_owned());
    config.capabilities = capabilities(model, dialect.as_ref(), &source.template);
    if let Some(dialect) = dialect {
        config.renderer = Some(dialect.renderer.to_owned());
        config.parser = Some(dialect.parser.to_owned());
    }
}

/// In ollama's order.
fn capabilities(model: &ModelConfig, dialect: Option<&Dialect>, template: &ChatTemplate) -> Vec<String> {
    let is_bert = |name: &str| name.contains("bert") && !name.contains("hubert");
    let is_encoder = |name: &String| is_bert(name) || name.ends_with("encodermodel");
    if model.identifiers.first().is_some_and(|name| is_encoder(name) && !name.ends_with("forcausallm")) {
        // It completes nothing, so that ollama, which would say so, is not followed.
        return vec!["embedding".to_owned()];
    }
    let always_thinks = || model.identifiers.iter().any(|name| dialect::is_qwen3_5(name));
    let thinks = template.thinks() || dialect.is_some_and(|dialect| dialect.thinks) || always_thinks();
    // Every parser reads calls of tools.
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
mod tests;
