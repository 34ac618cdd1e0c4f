//! The documents of an imported model: its config and the layers of its manifest.

use longshore_manifest::{Config, Descriptor, document::Draft};
use longshore_model::{ModelConfig, Runtime};

use super::{changes, options::ImportOptions, table, write::blob::Done};
use crate::{
    plan::planned::Plan,
    source::{checkpoint::Source, classify::Kind, companions::CompanionKind, member::Member},
};

/// The config document of `plan`. `done` are its finished blobs.
pub(super) fn config(plan: &Plan, done: &[Done], options: &ImportOptions) -> Config {
    let mut config = Config::new(table::table(plan, done, options));
    describe(plan.source(), &mut config);
    (config.base, config.changes) = (changes::base(plan), changes::changes(plan, done, options));
    config
}

/// Sets the fields of the config that a runtime uses.
fn describe(source: &Source, config: &mut Config) {
    let draft = source.members.iter().find(|member| Member::is_draft(member));
    config.draft = draft.map(|draft| Draft::new(draft.architecture().unwrap_or_default()));
    let nothing = ModelConfig::default();
    let runtime = match source.kind {
        Kind::Pipeline => Runtime::of_pipeline(source.architecture()),
        Kind::Gguf => of_gguf(source),
        _ => Runtime::of_model(source.config.as_ref().unwrap_or(&nothing), &source.template),
    };
    config.requires = runtime.requires.map(str::to_owned);
    // An attachment is nothing that runs by itself.
    config.capabilities = if source.base.is_some() { Vec::new() } else { runtime.capabilities };
    config.renderer = runtime.renderer.map(str::to_owned);
    config.parser = runtime.parser.map(str::to_owned);
}

/// The fields of a model in GGUF. No runtime is known to read GGUF tensors from a store.
fn of_gguf(source: &Source) -> Runtime {
    let mut runtime = Runtime::default();
    if let Some(config) = source.config.as_ref().filter(|config| !config.has_vision) {
        runtime.capabilities = Runtime::of_model(config, &source.template).capabilities;
    }
    runtime
}

/// The layers of the manifest: blobs, then files.
pub(super) fn layers(plan: &Plan, done: &[Done]) -> Vec<Descriptor> {
    let (blobs, files) = done.split_at(plan.blobs.len());
    let blobs = plan.blobs.iter().zip(blobs).map(|(blob, done)| Descriptor::tensor(&blob.name, done.added.clone()));
    let files = plan.files.iter().zip(files).map(|(file, done)| match file.kind {
        CompanionKind::Json => Descriptor::json(&file.name, done.added.clone()),
        CompanionKind::Other => Descriptor::file(&file.name, done.added.clone()),
    });
    blobs.chain(files).collect()
}
