//! The `model_index.json` of a diffusers pipeline.

use serde_json::{Map, Value};

use super::{
    document::{ConfigError, parse_object},
    model::ModelConfig,
};
use crate::architecture::Architectures;

/// A diffusers pipeline, read from its `model_index.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipelineIndex {
    /// Description of the pipeline as a whole.
    pub config: ModelConfig,
    /// Components, in byte order of their names.
    pub components: Vec<PipelineComponent>,
}

/// One component of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineComponent {
    /// Name of the component and of its directory, such as `text_encoder_2`. The text comes from the document
    /// unchecked.
    pub name: String,
    /// Library that defines the component's class, such as `diffusers`.
    pub library: String,
    /// Class of the component, such as `FluxTransformer2DModel`.
    pub class: String,
}

impl PipelineIndex {
    /// Parses the bytes of a `model_index.json`.
    ///
    /// A member whose value is a pair of strings is a component. Other members are settings, or absent components.
    ///
    /// # Errors
    ///
    /// The errors of [`ModelConfig::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let document = parse_object(bytes)?;
        Ok(Self {
            config: ModelConfig::from_object(&document, Architectures::known()),
            components: components(&document),
        })
    }
}

fn components(document: &Map<String, Value>) -> Vec<PipelineComponent> {
    let pair = |(name, value): (&String, &Value)| {
        let [library, class] = value.as_array()?.as_slice() else { return None };
        Some(PipelineComponent {
            name: name.clone(),
            library: library.as_str()?.to_owned(),
            class: class.as_str()?.to_owned(),
        })
    };
    let mut found: Vec<_> = document.iter().filter_map(pair).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_pairs() {
        let index = br#"{"_class_name":"P","vae":["diffusers","A"],"unet":["diffusers","U"],"x":[null,null],"n":4,
            "y":["diffusers",null],"z":["a","b","c"]}"#;
        let index = PipelineIndex::parse(index).expect("it is an object");
        let names: Vec<_> = index.components.iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["unet", "vae"]);
        assert_eq!(index.config.architecture.as_deref(), Some("P"));
    }
}
