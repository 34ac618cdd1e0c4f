//! The companion files that the metadata of a GGUF file has in other forms.

use longshore_gguf::{Metadata, Value};
use longshore_manifest::RelativePath;
use longshore_model::GgufConfig;
use serde_json::Map;

use super::tokenizer::vocabulary::Vocabulary;

/// Files made of metadata.
#[derive(Debug, Default)]
pub(crate) struct Rebuilt {
    /// Names and bytes.
    pub(crate) files: Vec<(RelativePath, Vec<u8>)>,
    /// Remarks: files that could not be made, and values that were taken where the metadata leaves something open.
    pub(crate) notes: Vec<String>,
}

/// The files that say what the metadata says: `config.json`, `generation_config.json`, `tokenizer.json`,
/// `tokenizer_config.json` and the chat templates. A file that `is_there` is not made.
pub(crate) fn files(metadata: &Metadata, config: &GgufConfig, is_there: &dyn Fn(&str) -> bool) -> Rebuilt {
    let mut rebuilt = Rebuilt::default();
    if super::facts::model_type(metadata).is_some_and(|kind| kind != "model") || config.model().architecture.is_none() {
        return rebuilt;
    }
    match config.document() {
        Some(document) if !is_there("config.json") => {
            rebuilt.add("config.json", pretty(document));
            rebuilt.notes.extend(config.notes().iter().map(|note| format!("the rebuilt config.json: {note}")));
        }
        Some(_) => {}
        None => {
            let name = config.model().architecture.clone().unwrap_or_default();
            rebuilt.notes.push(format!("config.json is not rebuilt: the architecture {name:?} is not known"));
        }
    }
    rebuilt.tokenizer(metadata, config.model().context_length, is_there);
    rebuilt.templates(metadata, is_there);
    rebuilt
}

impl Rebuilt {
    fn add(&mut self, name: &str, bytes: Vec<u8>) {
        let name = RelativePath::parse(name).expect("a short name of letters");
        self.files.push((name, bytes));
    }

    fn tokenizer(&mut self, metadata: &Metadata, context: Option<u64>, is_there: &dyn Fn(&str) -> bool) {
        const FILE: &str = "tokenizer.json";
        let whole = metadata.get("tokenizer.huggingface.json").and_then(Value::as_str);
        if let Some(whole) = whole.filter(|_| !is_there(FILE)) {
            self.add(FILE, whole.as_bytes().to_vec());
        }
        let vocabulary = match Vocabulary::read(metadata) {
            Ok(Some(vocabulary)) => vocabulary,
            Ok(None) => return,
            Err(problem) => {
                if whole.is_none() && !is_there(FILE) {
                    self.notes.push(format!("tokenizer.json is not rebuilt: {problem}"));
                }
                return;
            }
        };
        if whole.is_none() && !is_there(FILE) {
            self.add(FILE, vocabulary.to_json());
        }
        for (name, members) in [
            ("tokenizer_config.json", vocabulary.tokenizer_config(context)),
            ("generation_config.json", vocabulary.generation_config()),
        ] {
            if !members.is_empty() && !is_there(name) {
                self.add(name, pretty(&members));
            }
        }
    }

    /// The template of a conversation, and those with names.
    fn templates(&mut self, metadata: &Metadata, is_there: &dyn Fn(&str) -> bool) {
        const KEY: &str = "tokenizer.chat_template";
        const FILE: &str = "chat_template.jinja";
        if let Some(template) = metadata.get(KEY).and_then(Value::as_text).filter(|_| !is_there(FILE)) {
            self.add(FILE, template.as_bytes().to_vec());
        }
        let named = metadata
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(KEY)?.strip_prefix('.')?, value.as_text()?)));
        for (name, template) in named {
            match RelativePath::parse(&format!("additional_chat_templates/{name}.jinja")) {
                Ok(path) if !name.contains('/') => {
                    if !is_there(path.as_str()) {
                        self.files.push((path, template.as_bytes().to_vec()));
                    }
                }
                _ => {
                    self.notes
                        .push(format!("the chat template {name:?} is not rebuilt: its name is no name of a file"));
                }
            }
        }
    }
}

fn pretty(members: &Map<String, serde_json::Value>) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(members).expect("its keys are texts");
    bytes.push(b'\n');
    bytes
}
