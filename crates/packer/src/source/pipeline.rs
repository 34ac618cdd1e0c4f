//! A pipeline in the layout of diffusers: `model_index.json` and a directory for each component.

use std::{collections::BTreeMap, path::Path};

use longshore_manifest::document::is_component;
use longshore_model::{ChatTemplate, MAX_CONFIG_BYTES, PipelineComponent, PipelineIndex};
use longshore_st_format::Limits;

use super::{
    checkpoint::Source,
    classify::{Evidence, Kind},
    companions,
    config::{disagreements, read_config},
    error::SourceError,
    member::MemberRole,
    read, select,
    walk::Entry,
};
use crate::io::has_suffix;

/// Name of the file that lists the components of a pipeline.
pub(super) const PIPELINE_INDEX: &str = "model_index.json";
/// Endings of the names of classes without weights: schedulers, and processors of text, pictures and sound.
const WITHOUT_WEIGHTS: [&str; 8] = [
    "Scheduler",
    "Tokenizer",
    "TokenizerFast",
    "TokenizersBackend",
    "Processor",
    "ProcessorFast",
    "FeatureExtractor",
    "Guider",
];
/// Libraries whose other classes have weights.
const LIBRARIES: [&str; 2] = ["diffusers", "transformers"];

/// Opens the pipeline in `dir`, whose `model_index.json` is among the entries.
pub(super) fn open(dir: &Path, entries: Vec<Entry>, limits: &Limits) -> Result<Source, SourceError> {
    let index = &dir.join(PIPELINE_INDEX);
    let entry = entries.iter().find(|entry| entry.name == PIPELINE_INDEX);
    let bytes = entry.map_or_else(|| Ok(Vec::new()), |entry| entry.read(MAX_CONFIG_BYTES))?;
    let fail = |source| SourceError::Config { path: index.clone(), source };
    let PipelineIndex { config, components: listed, .. } = PipelineIndex::parse(&bytes).map_err(fail)?;
    let mut source = Source {
        root: dir.to_owned(),
        tensors: Vec::new(),
        shards: Vec::new(),
        companions: Vec::new(),
        members: Vec::new(),
        config: Some(config),
        metadata: BTreeMap::new(),
        kind: Kind::Pipeline,
        evidence: Some(Evidence::Components { names: listed.iter().map(|found| found.name.clone()).collect() }),
        warnings: Vec::new(),
        template: ChatTemplate::default(),
        adapters: Vec::new(),
        rotation: None,
        base: None,
        digest: None,
        changes: None,
    };
    let mut used = Vec::new();
    for component in listed {
        if !is_component(&component.name) {
            return Err(SourceError::ComponentName { index: index.clone(), name: component.name });
        }
        used.extend(add(&mut source, component, &entries, limits)?);
    }
    if source.members.is_empty() {
        return Err(SourceError::NoComponents { index: index.clone() });
    }
    used.extend(source.shards.iter().map(|shard| shard.name.clone()));
    source.companions = companions::collect(dir, entries, &used, &mut source.warnings)?;
    Ok(source)
}

/// Adds the tensors of one component, if it has weights. Returns the name of its shard index, if one was read.
fn add(
    source: &mut Source,
    component: PipelineComponent,
    entries: &[Entry],
    limits: &Limits,
) -> Result<Option<String>, SourceError> {
    let PipelineComponent { name, library, class } = component;
    let dir = source.root.join(&name);
    let prefix = format!("{name}/");
    let own: Vec<Entry> = entries.iter().filter_map(|entry| entry.below(&prefix)).collect();
    let is_weightless = WITHOUT_WEIGHTS.iter().any(|end| has_suffix(&class, end));
    let has_weights = select::has_weights(&own);
    let has_config = own.iter().any(|entry| entry.name == "config.json" && entry.is_file());
    if !has_weights && (is_weightless || !(has_config || LIBRARIES.contains(&library.as_str()))) {
        return Ok(None);
    }
    if own.is_empty() {
        let index = source.root.join(PIPELINE_INDEX);
        return Err(SourceError::MissingComponent { dir, index, class: format!("{library}'s {class}") });
    }
    let config =
        own.iter().find(|entry| entry.name == "config.json").map(|entry| read_config(entry, &own)).transpose()?;
    let mut inventory = read::read_directory(&dir, &own, limits)?;
    inventory.warnings.extend(config.iter().flat_map(|config| disagreements(config, &own)));
    for shard in &mut inventory.shards {
        shard.name.insert_str(0, &prefix);
    }
    let index = inventory.index.take().map(|index| format!("{prefix}{index}"));
    for warning in &mut inventory.warnings {
        warning.insert_str(0, &format!("{name}: "));
    }
    source.add(MemberRole::Component(name), dir, inventory, config, Some(class))?;
    Ok(index)
}
