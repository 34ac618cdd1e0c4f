//! A model's chat template, read for the abilities of the model.

use serde_json::Value;

use crate::config::document::parse_object_of;

/// Largest `tokenizer_config.json` that is searched for a template, in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// Chat template of a model, from the two files that can hold one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChatTemplate {
    /// Member `chat_template` of `tokenizer_config.json`.
    pub embedded: Option<String>,
    /// Text of `chat_template.jinja`.
    pub standalone: Option<String>,
}

impl ChatTemplate {
    /// Reads the templates from the bytes of `tokenizer_config.json` and `chat_template.jinja`. A document that does
    /// not parse, or that holds no template, counts as absent.
    #[must_use]
    pub fn read(tokenizer_config: Option<&[u8]>, jinja: Option<Vec<u8>>) -> Self {
        Self {
            embedded: tokenizer_config.and_then(embedded),
            standalone: jinja.and_then(|bytes| String::from_utf8(bytes).ok()),
        }
    }

    /// Returns the template that a runtime uses: the embedded one, or else the standalone one.
    #[must_use]
    pub fn text(&self) -> &str {
        self.embedded.as_ref().or(self.standalone.as_ref()).map_or("", String::as_str)
    }

    /// Whether either template contains `words`. Both are searched because the embedded template may be outdated, or
    /// may only name the standalone one.
    #[must_use]
    pub fn has(&self, words: &str) -> bool {
        [&self.embedded, &self.standalone].into_iter().flatten().any(|text| text.contains(words))
    }

    /// Whether the model's answers contain thoughts.
    #[must_use]
    pub fn thinks(&self) -> bool {
        let text = self.text();
        let has = |words: &str| text.contains(words);
        // Some templates only remove the thoughts of earlier answers from the conversation.
        let cuts = ["content.split('</think>')", "content.split(\"</think>\")"].into_iter().any(has);
        has("<think>") && has("</think>") || cuts && !has("reasoning_content") && !has("<SPECIAL_12>")
    }
}

/// Returns the template in the bytes of `tokenizer_config.json`: the only one, or the one named `default` in a list.
fn embedded(bytes: &[u8]) -> Option<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let document = parse_object_of(bytes, MAX_BYTES).ok()?;
    match document.get("chat_template")? {
        Value::Array(several) => {
            let default = several.iter().find(|one| one.get("name").and_then(Value::as_str) == Some("default"))?;
            text(default.get("template")?)
        }
        one => text(one),
    }
}
