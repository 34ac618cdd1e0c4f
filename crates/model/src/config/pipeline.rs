//! The `model_index.json` of a diffusers pipeline.

use serde_json::{Map, Value};

use super::{ConfigError, ModelConfig, parse_object};

/// A pipeline as its `model_index.json` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PipelineIndex {
    /// What the document says of the pipeline as a whole.
    pub config: ModelConfig,
    /// The components, in byte order of their names.
    pub components: Vec<PipelineComponent>,
}

/// One component of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PipelineComponent {
    /// Its name, which is that of its directory too, such as `text_encoder_2`. The document's own text: not checked.
    pub name: String,
    /// The library that has its class, such as `diffusers`.
    pub library: String,
    /// Its class, such as `FluxTransformer2DModel`.
    pub class: String,
}

impl PipelineIndex {
    /// Reads the document's bytes.
    ///
    /// A member that is a pair of texts is a component. Other members are settings, or components that are absent.
    ///
    /// # Errors
    ///
    /// As [`ModelConfig::parse`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let document = parse_object(bytes)?;
        Ok(Self { config: ModelConfig::from_object(&document), components: components(&document) })
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
