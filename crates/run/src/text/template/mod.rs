//! Chat templates: a conversation as the text that a model was trained on.

mod bounded;
mod clock;
mod environment;
mod error;
mod json;
mod methods;
mod paid;
mod python;
mod tags;

use std::{sync::Arc, time::SystemTime};

use longshore_manifest::weights::Source;
use minijinja::{
    Environment, Value,
    value::{DynObject, ValueKind},
};
use serde_json::Value as Json;

pub use error::TemplateError;

use super::documents::{DocumentError, object, special_tokens};

/// Largest template, in bytes. Those of published models have some 30 KB.
const MAX_SOURCE: usize = 4 << 20;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The speaker: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// Makes a turn of any role.
    #[must_use]
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }

    /// Makes a turn that tells the model how to answer.
    #[must_use]
    pub fn system(content: impl Into<String>) -> Self {
        Self::new("system", content)
    }

    /// Makes a turn of the user.
    #[must_use]
    pub fn user(content: impl Into<String>) -> Self {
        Self::new("user", content)
    }

    /// Makes a turn of the model.
    #[must_use]
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new("assistant", content)
    }
}

/// A model's chat template, in the dialect of Jinja that transformers gives to templates.
///
/// `trim_blocks`, `lstrip_blocks`, loop controls, the methods of Python's strings and dictionaries, `raise_exception`, `strftime_now`
/// (in UTC), and `tojson` as there: no character is escaped that JSON can hold, and `indent` is obeyed.
///
/// # Untrusted templates
///
/// A template comes with a model, and may be hostile. It sees nothing but its variables, loads no other template, and has a budget
/// of steps and of bytes for all that it makes; it writes 16 MiB at most. It runs on a thread of its own with a deadline of ten seconds.
/// A template that meets it is left to itself: a program that renders templates of strangers for long should do so in a process of
/// its own.
///
/// ```
/// use longshore_run::text::{ChatTemplate, Message};
///
/// let template = ChatTemplate::new("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}", [])?;
/// assert_eq!(template.render(&[Message::user(" Hello ")], false)?, "<user>Hello");
/// # Ok::<(), longshore_run::text::TemplateError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    /// Special tokens by role, as variables.
    tokens: Vec<(String, String)>,
}

impl ChatTemplate {
    /// Reads the template of a model: `chat_template.jinja`, or else the member `chat_template` of `tokenizer_config.json`, of which
    /// several have the one called `default`. `None` if the model has none.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Document`] for a file that cannot be read, [`TemplateError::Encoding`] for one that is no UTF-8, and
    /// [`TemplateError::Syntax`] for a template that does not parse.
    pub fn open(source: &Source) -> Result<Option<Self>, TemplateError> {
        let standalone = source.companion("chat_template.jinja").map_err(DocumentError::from)?;
        let text = match standalone {
            Some(bytes) => Some(String::from_utf8(bytes).map_err(|_| TemplateError::Encoding)?),
            None => object(source, "tokenizer_config.json")?.and_then(|config| embedded(config.get("chat_template")?)),
        };
        let Some(text) = text else { return Ok(None) };
        let tokens = special_tokens(source)?;
        Self::new(&text, tokens).map(Some)
    }

    /// Makes a template of its text, with the special tokens that it may name, such as `bos_token`.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Syntax`] for a text that does not parse, or is longer than 4 MiB.
    pub fn new(text: &str, tokens: impl IntoIterator<Item = (String, String)>) -> Result<Self, TemplateError> {
        Self::at(text, tokens, None)
    }

    /// Like [`Self::new`], with the time that `strftime_now` tells.
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub fn with_time(
        text: &str,
        tokens: impl IntoIterator<Item = (String, String)>,
        now: SystemTime,
    ) -> Result<Self, TemplateError> {
        Self::at(text, tokens, Some(now))
    }

    fn at(
        text: &str,
        tokens: impl IntoIterator<Item = (String, String)>,
        now: Option<SystemTime>,
    ) -> Result<Self, TemplateError> {
        if text.len() > MAX_SOURCE {
            let problem = format!("it has {} bytes, expected at most {MAX_SOURCE}", text.len());
            return Err(TemplateError::Syntax { line: None, problem });
        }
        let environment = environment::of(text, now)?;
        Ok(Self { environment: Arc::new(environment), tokens: tokens.into_iter().collect() })
    }

    /// Renders a conversation. With `answer` the text ends where the model's answer begins.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Raised`] where the template refuses the conversation, [`TemplateError::Limit`] where it takes more than it may,
    /// [`TemplateError::Render`] where it fails otherwise.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, TemplateError> {
        let text = |text: &str| Value::from(text);
        let turn =
            |message: &Message| Value::from_pairs([("role", text(&message.role)), ("content", text(&message.content))]);
        let messages: Vec<Value> = messages.iter().map(turn).collect();
        let variables =
            [("messages".to_owned(), Value::from(messages)), ("add_generation_prompt".to_owned(), Value::from(answer))];
        self.run(variables)
    }

    /// Renders any variables: the members of a JSON object, such as `messages`, `tools`, `add_generation_prompt` or `enable_thinking`.
    ///
    /// # Errors
    ///
    /// [`TemplateError::Variables`] for what is no JSON object, and the errors of [`Self::render`].
    pub fn render_json(&self, variables: &str) -> Result<String, TemplateError> {
        // Read as the engine's values, which keep the order of members.
        let parsed: Value =
            serde_json::from_str(variables).map_err(|error| TemplateError::Variables { problem: error.to_string() })?;
        let is_object = parsed.kind() == ValueKind::Map;
        let names = parsed.as_object().filter(|_| is_object).and_then(DynObject::try_iter_pairs);
        let names = names.ok_or_else(|| TemplateError::Variables { problem: "expected a JSON object".to_owned() })?;
        self.run(names.map(|(name, value)| (name.to_string(), value)))
    }

    fn run(&self, variables: impl IntoIterator<Item = (String, Value)>) -> Result<String, TemplateError> {
        let null = |name: &str| (name.to_owned(), Value::from(()));
        // Templates ask whether these are none, and not only whether they are defined.
        let defaults = [null("tools"), null("documents"), ("add_generation_prompt".to_owned(), Value::from(false))];
        let tokens = self.tokens.iter().map(|(name, text)| (name.clone(), Value::from(text.as_str())));
        let mut all: Vec<(String, Value)> = defaults.into_iter().chain(tokens).collect();
        for (name, value) in variables {
            all.retain(|(known, _)| *known != name);
            all.push((name, value));
        }
        bounded::render(&self.environment, Value::from_pairs(all))
    }
}

/// The template in a `tokenizer_config.json`: the only one, or the one called `default` of a list.
fn embedded(member: &Json) -> Option<String> {
    let text = match member {
        Json::Array(several) => several.iter().find(|one| one["name"] == "default")?.get("template")?,
        one => one,
    };
    text.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests;
