//! The metadata of a new GGUF file, made of facts and of a model's companion files.

use longshore_gguf::{Metadata, MetadataError};
use longshore_model::{ChatTemplate, Facts, GgufValue, KeysError, keys_of};
use serde_json::{Map, Value};

use super::tokenizer::{parse::Documents, vocabulary::Vocabulary};

/// Why a model has no metadata.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufMetadataError {
    /// The configuration has no keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A document of the tokenizer does not parse.
    #[error("{file} is no JSON object")]
    Document {
        /// Name of the file.
        file: &'static str,
        /// The error of the parser. `None` if the file is JSON of another kind.
        source: Option<serde_json::Error>,
    },
    /// GGUF has no place for the tokenizer.
    #[error("the tokenizer has no form in GGUF: {problem}")]
    Tokenizer {
        /// The part that has no place.
        problem: String,
    },
    /// A text or a list is longer than metadata may be.
    #[error(transparent)]
    Pair(#[from] MetadataError),
}

/// The files beside the weights that metadata is made of, each by its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct GgufFiles<'f> {
    /// `tokenizer.json`.
    pub tokenizer: Option<&'f [u8]>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<&'f [u8]>,
    /// `chat_template.jinja`.
    pub template: Option<&'f [u8]>,
}

/// Metadata, and what is to be said of it.
#[derive(Debug)]
pub struct GgufMetadata {
    /// The pairs, `general.architecture` first. `general.file_type`, `general.quantization_version` and
    /// `general.alignment` are for whoever knows the tensors.
    pub metadata: Metadata,
    /// Parts that are left out, one sentence each.
    pub notes: Vec<String>,
}

/// Makes the metadata of a model. The facts hold the tokens of `generation_config.json`
/// ([`Facts::add_generation`]). `name` becomes `general.name`. Without `with_tokenizer`, and for a model without a
/// `tokenizer.json`, the tokenizer is `none`.
///
/// # Errors
///
/// [`GgufMetadataError`]: the configuration or the tokenizer has no form in GGUF, or a file is damaged.
pub fn gguf_metadata(
    facts: &Facts,
    name: Option<&str>,
    files: &GgufFiles<'_>,
    with_tokenizer: bool,
) -> Result<GgufMetadata, GgufMetadataError> {
    let mut made = GgufMetadata { metadata: Metadata::new(), notes: Vec::new() };
    let mut keys = keys_of(facts)?.into_iter();
    if let Some((key, value)) = keys.next() {
        push(&mut made.metadata, &key, value)?;
    }
    made.metadata.push("general.type", "model")?;
    if let Some(name) = name {
        made.metadata.push("general.name", name)?;
    }
    for (key, value) in keys {
        push(&mut made.metadata, &key, value)?;
    }
    let Some(tokenizer) = files.tokenizer.filter(|_| with_tokenizer) else {
        if with_tokenizer {
            made.notes.push("the model has no tokenizer.json, so that the file has no tokenizer".to_owned());
        }
        // llama.cpp loads no model without these keys.
        made.metadata.push("tokenizer.ggml.model", "none")?;
        let architecture =
            made.metadata.get("general.architecture").and_then(longshore_gguf::Value::as_str).unwrap_or_default();
        let key = format!("{architecture}.vocab_size");
        if let (Some(rows), None) = (facts.vocabulary, made.metadata.get(&key)) {
            made.metadata.push(&key, u32::try_from(rows).unwrap_or(u32::MAX))?;
        }
        return Ok(made);
    };
    let tokenizer: Value = serde_json::from_slice(tokenizer)
        .map_err(|source| GgufMetadataError::Document { file: "tokenizer.json", source: Some(source) })?;
    let config = match files.tokenizer_config {
        Some(bytes) => object(bytes, "tokenizer_config.json")?,
        None => Map::new(),
    };
    let documents = Documents {
        tokenizer: &tokenizer,
        config: &config,
        bos: facts.tokens.bos,
        eos: facts.tokens.eos.first().copied(),
        padding: facts.tokens.pad,
        rows: facts.vocabulary,
    };
    let vocabulary = Vocabulary::from_json(&documents).map_err(|problem| GgufMetadataError::Tokenizer { problem })?;
    vocabulary.write(&mut made.metadata)?;
    let template = ChatTemplate::read(files.tokenizer_config, files.template.map(<[u8]>::to_vec));
    if !template.text().is_empty() {
        made.metadata.push("tokenizer.chat_template", template.text())?;
    }
    Ok(made)
}

fn object(bytes: &[u8], file: &'static str) -> Result<Map<String, Value>, GgufMetadataError> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(GgufMetadataError::Document { file, source: None }),
        Err(source) => Err(GgufMetadataError::Document { file, source: Some(source) }),
    }
}

fn push(metadata: &mut Metadata, key: &str, value: GgufValue) -> Result<(), MetadataError> {
    match value {
        GgufValue::U32(number) => metadata.push(key, number),
        GgufValue::F32(number) => metadata.push(key, number),
        GgufValue::Bool(flag) => metadata.push(key, flag),
        GgufValue::Text(text) => metadata.push(key, &*text),
        GgufValue::Numbers(numbers) => metadata.push_array(key, numbers),
        GgufValue::Flags(flags) => metadata.push_array(key, flags),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use longshore_gguf::Gguf;
    use longshore_model::ModelConfig;

    use super::*;
    use crate::gguf::{facts, rebuild};

    /// Checkpoints, the GGUF files of the same models, and the facts that the files do not state, or state otherwise.
    const FAMILIES: &[(&str, &str, &[&str])] = &[
        ("llama", "llama-f32.gguf", &[]),
        (
            "qwen3-moe",
            "qwen3-moe-bf16.gguf",
            &[".dense_layers: null here, [] there", ".router.normalises: true here, false there"],
        ),
        ("gemma3-text", "gemma3-text-bf16.gguf", &[".attention.query_scale: 32 here, 256 there"]),
        ("gpt-oss", "gpt-oss-mxfp4.gguf", &[".rope.truncate: null here, false there"]),
        (
            "deepseek-v3",
            "deepseek-v3-bf16.gguf",
            &[
                ".draft_layers: null here, 1 there",
                ".head_dim: null here, 16 there",
                ".router.every: 1 here, null there",
                ".router.method: \"noaux_tc\" here, null there",
            ],
        ),
        (
            "nemotron-h",
            "nemotron-h-bf16.gguf",
            &[
                ".draft_layers: null here, 0 there",
                ".layer_types: [\"mamba\",\"attention\",\"mlp\",\"moe\"] here, \
                 [\"linear_attention\",\"full_attention\",\"mlp\",\"moe\"] there",
                ".state_space.chunk: null here, 128 there",
                ".state_space.step_floor: null here, 0.0001 there",
                ".state_space.step_max: null here, 0.1 there",
                ".state_space.step_min: null here, 0.001 there",
            ],
        ),
    ];

    fn shared() -> Option<std::path::PathBuf> {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
        shared.join("gguf").is_dir().then_some(shared)
    }

    #[test]
    fn keys_are_those_of_the_converter() {
        let Some(shared) = shared() else { return };
        for (checkpoint, file, _) in FAMILIES {
            let config =
                std::fs::read(shared.join("models").join(checkpoint).join("config.json")).expect("it is there");
            let config = ModelConfig::parse(&config).expect("it is a configuration");
            let made = gguf_metadata(&config.facts(), None, &GgufFiles::default(), false).expect("the family is known");
            let file: Gguf<_> = longshore_gguf::open(shared.join("gguf").join(file)).expect("it is a GGUF file");
            let found = file.header().metadata();
            let is_ours = |key: &str| !key.starts_with("general.") && !key.starts_with("tokenizer.");
            let lines = |metadata: &Metadata| -> Vec<String> {
                let pairs = metadata.iter().filter(|(key, _)| is_ours(key));
                let mut lines: Vec<_> = pairs.map(|(key, value)| format!("{key} = {value:?}")).collect();
                lines.sort();
                lines
            };
            let (ours, theirs) = (lines(&made.metadata), lines(found));
            let only = |a: &[String], b: &[String]| -> Vec<String> {
                a.iter().filter(|line| !b.contains(line)).cloned().collect()
            };
            let mut apart = only(&ours, &theirs);
            // Files without a tokenizer say how many tokens there are.
            apart.retain(|line| !line.contains(".vocab_size = "));
            apart.extend(only(&theirs, &ours).into_iter().map(|line| format!("theirs: {line}")));
            assert!(apart.is_empty(), "{checkpoint}: {apart:#?}");
            assert_eq!(made.metadata.get("general.architecture"), found.get("general.architecture"));
        }
    }

    #[test]
    fn facts_are_those_of_the_checkpoint() {
        let Some(shared) = shared() else { return };
        for (checkpoint, file, differ) in FAMILIES {
            let config =
                std::fs::read(shared.join("models").join(checkpoint).join("config.json")).expect("it is there");
            let theirs = ModelConfig::parse(&config).expect("it is a configuration").facts();
            let file: Gguf<_> = longshore_gguf::open(shared.join("gguf").join(file)).expect("it is a GGUF file");
            let has_tensor = |name: &str| file.tensor(name).is_some();
            let found = facts::config(file.header().metadata(), &has_tensor);
            let rebuilt = rebuild::files(file.header().metadata(), &found, &|_| false);
            let bytes = rebuilt.files.iter().find(|(name, _)| name.as_str() == "config.json").expect("it is rebuilt");
            let parsed = ModelConfig::parse(&bytes.1).expect("it is a configuration");
            assert_eq!(parsed.check(), Ok(()), "{checkpoint}");
            let ours = parsed.facts();
            let json = |facts: &Facts| serde_json::to_value(facts).expect("it is plain");
            let (ours, theirs) = (json(&ours), json(&theirs));
            let mut apart = Vec::new();
            differences("", &ours, &theirs, &mut apart);
            // The tokenizers of these files are made up.
            apart.retain(|line| !line.starts_with(".tokens"));
            assert_eq!(apart, *differ, "{checkpoint}");
        }
    }

    fn differences(place: &str, ours: &Value, theirs: &Value, apart: &mut Vec<String>) {
        match (ours, theirs) {
            (Value::Object(ours), Value::Object(theirs)) => {
                let names: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
                for name in names {
                    let get = |map: &Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                    differences(&format!("{place}.{name}"), &get(ours), &get(theirs), apart);
                }
            }
            _ if ours == theirs || ours.as_f64().is_some() && ours.as_f64() == theirs.as_f64() => {}
            _ => apart.push(format!("{place}: {ours} here, {theirs} there")),
        }
    }
}
