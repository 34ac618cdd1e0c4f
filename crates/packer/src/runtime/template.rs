//! A model's chat template, as far as it tells what the model can do.

use std::fs;

use serde_json::Value;

use crate::{companions::Companion, config};

/// The longest document that is searched for a template, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// The chat template in its two places. Files that cannot be read, or say nothing, have none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ChatTemplate {
    /// `chat_template` of `tokenizer_config.json`.
    pub(crate) embedded: Option<String>,
    /// `chat_template.jinja`.
    pub(crate) standalone: Option<String>,
}

impl ChatTemplate {
    /// Looks among a model's files.
    pub(crate) fn read(files: &[Companion]) -> Self {
        let bytes = |name: &str| {
            let file = files.iter().find(|file| file.name.as_str() == name && file.size <= MAX_BYTES)?;
            fs::read(&file.path).ok()
        };
        Self {
            embedded: bytes("tokenizer_config.json").and_then(|bytes| embedded(&bytes)),
            standalone: bytes("chat_template.jinja").and_then(|bytes| String::from_utf8(bytes).ok()),
        }
    }

    /// The template that a runtime uses: the embedded one, else the other.
    pub(crate) fn text(&self) -> &str {
        self.embedded.as_ref().or(self.standalone.as_ref()).map_or("", String::as_str)
    }

    /// Whether either place has these words: a tokenizer's configuration may keep an older template, or only name the other.
    pub(crate) fn has(&self, words: &str) -> bool {
        [&self.embedded, &self.standalone].into_iter().flatten().any(|text| text.contains(words))
    }

    /// Whether answers hold thoughts.
    pub(crate) fn thinks(&self) -> bool {
        let text = self.text();
        let has = |words: &str| text.contains(words);
        // Some templates only cut thoughts out of what was said before.
        let cuts = ["content.split('</think>')", "content.split(\"</think>\")"].into_iter().any(has);
        has("<think>") && has("</think>") || cuts && !has("reasoning_content") && !has("<SPECIAL_12>")
    }
}

/// A template of its own, or the default one of several.
fn embedded(bytes: &[u8]) -> Option<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let document = config::parse_object_of(bytes, MAX_BYTES).ok()?;
    match document.get("chat_template")? {
        Value::Array(several) => {
            let default = several.iter().find(|one| one.get("name").and_then(Value::as_str) == Some("default"))?;
            text(default.get("template")?)
        }
        one => text(one),
    }
}
