//! A model's chat template, as far as it tells what the model can do.

use serde_json::Value;

use crate::config;

/// The longest `tokenizer_config.json` that is searched for a template, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// The chat template of a model, from the two places where it can stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChatTemplate {
    /// `chat_template` of `tokenizer_config.json`.
    pub embedded: Option<String>,
    /// The text of `chat_template.jinja`.
    pub standalone: Option<String>,
}

impl ChatTemplate {
    /// Reads both places from the bytes of `tokenizer_config.json` and `chat_template.jinja`. A document that cannot be read, or holds
    /// no template, counts as absent.
    #[must_use]
    pub fn read(tokenizer_config: Option<&[u8]>, jinja: Option<Vec<u8>>) -> Self {
        Self {
            embedded: tokenizer_config.and_then(embedded),
            standalone: jinja.and_then(|bytes| String::from_utf8(bytes).ok()),
        }
    }

    /// The template that a runtime uses: the embedded one, else the other.
    #[must_use]
    pub fn text(&self) -> &str {
        self.embedded.as_ref().or(self.standalone.as_ref()).map_or("", String::as_str)
    }

    /// Whether either place has these words: a tokenizer's configuration may keep an older template, or only name the other.
    #[must_use]
    pub fn has(&self, words: &str) -> bool {
        [&self.embedded, &self.standalone].into_iter().flatten().any(|text| text.contains(words))
    }

    /// Whether answers hold thoughts.
    #[must_use]
    pub fn thinks(&self) -> bool {
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
