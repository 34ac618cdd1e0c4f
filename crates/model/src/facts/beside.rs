//! Facts from the files beside `config.json`.

use super::{Facts, read::ids};
use crate::{ChatTemplate, architecture::Architectures, config::document::parse_object, experts::ExpertNaming};

/// Longest chat template that facts hold, in bytes. Published ones are below 64 KiB.
const MAX_TEMPLATE_BYTES: usize = 256 << 10;

impl Facts {
    /// Returns how names of this model's tensors are parsed for experts: as its architecture says in the
    /// [table of this process](Architectures::known), else by [`ExpertName::parse`](crate::experts::ExpertName::parse).
    #[must_use]
    pub fn expert_naming(&self) -> ExpertNaming {
        let names = [&self.architecture, &self.model_type].into_iter().flatten();
        Architectures::known().expert_naming(names.map(String::as_str))
    }

    /// Adds the chat template that a runtime uses, unless it is longer than 256 KiB.
    pub fn add_template(&mut self, template: &ChatTemplate) {
        let text = template.text();
        if !text.is_empty() && text.len() <= MAX_TEMPLATE_BYTES {
            self.chat_template = Some(text.to_owned());
        }
    }

    /// Replaces tokens by those that the bytes of a `generation_config.json` state. A document that does not parse
    /// states none.
    pub fn add_generation(&mut self, bytes: &[u8]) {
        let Ok(document) = parse_object(bytes) else { return };
        let stated = |member: &str| document.get(member).and_then(ids);
        let one = |member: &str| stated(member)?.first().copied();
        let tokens = &mut self.tokens;
        tokens.bos = one("bos_token_id").or(tokens.bos);
        tokens.pad = one("pad_token_id").or(tokens.pad);
        if let Some(eos) = stated("eos_token_id") {
            tokens.eos = eos;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tokens;

    #[test]
    fn generation_settings_replace_what_they_state() {
        let mut facts = Facts { tokens: Tokens { bos: Some(1), eos: vec![2], pad: Some(3) }, ..Facts::default() };
        for nothing in ["", "[]", r#"{"eos_token_id": [], "bos_token_id": null, "pad_token_id": -1}"#] {
            facts.add_generation(nothing.as_bytes());
            assert_eq!(facts.tokens, Tokens { bos: Some(1), eos: vec![2], pad: Some(3) }, "{nothing}");
        }
        facts.add_generation(br#"{"eos_token_id": [128001, 128009], "pad_token_id": 0, "top_p": 0.9}"#);
        assert_eq!(facts.tokens, Tokens { bos: Some(1), eos: vec![128_001, 128_009], pad: Some(0) });
    }

    #[test]
    fn the_template_that_is_used_is_kept() {
        let mut facts = Facts::default();
        facts.add_template(&ChatTemplate::default());
        assert_eq!(facts.chat_template, None);
        let long = "x".repeat(MAX_TEMPLATE_BYTES + 1).into_bytes();
        facts.add_template(&ChatTemplate::read(None, Some(long)));
        assert_eq!(facts.chat_template, None);
        facts.add_template(&ChatTemplate::read(None, Some(b"{{ messages }}".to_vec())));
        assert_eq!(facts.chat_template.as_deref(), Some("{{ messages }}"));
    }
}
