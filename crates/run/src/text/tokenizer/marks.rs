//! Tokens that a tokenizer puts around a text.

use serde_json::{Map, Value};

use super::{error::TokenizerError, guard::guarded};

/// Tokens that a tokenizer puts before and after a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) start: Vec<u32>,
    pub(super) end: Vec<u32>,
}

impl Marks {
    /// Finds the tokens by encoding a letter.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        let fail = |problem| TokenizerError::Parse { problem };
        let plain = guarded(|| tokenizer.encode_fast("a", false)).map_err(fail)?;
        let marked = guarded(|| tokenizer.encode_fast("a", true)).map_err(fail)?;
        let (plain, marked) = (plain.get_ids(), marked.get_ids());
        let added = marked.len().saturating_sub(plain.len());
        let at = (0..=added).find(|at| marked.get(*at..at + plain.len()) == Some(plain));
        let at = at.ok_or_else(|| fail("its post-processor changes the tokens of a text".to_owned()))?;
        Ok(Self { start: marked[..at].to_vec(), end: marked[at + plain.len()..].to_vec() })
    }

    /// Follows `add_bos_token` and `add_eos_token` of a `tokenizer_config.json`, which overrule what the tokenizer does.
    pub(super) fn obey(&mut self, config: &Map<String, Value>, bos: Option<u32>, eos: Option<u32>) {
        let says = |member: &str| config.get(member).and_then(Value::as_bool);
        if let (Some(adds), Some(bos)) = (says("add_bos_token"), bos) {
            match (adds, self.start.first() == Some(&bos)) {
                (true, false) => self.start.insert(0, bos),
                (false, true) => drop(self.start.remove(0)),
                _ => {}
            }
        }
        if let (Some(adds), Some(eos)) = (says("add_eos_token"), eos) {
            match (adds, self.end.last() == Some(&eos)) {
                (true, false) => self.end.push(eos),
                (false, true) => drop(self.end.pop()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_adds_and_removes_marks() {
        let obeyed = |marks: &Marks, config: &Value| {
            let mut marks = marks.clone();
            marks.obey(config.as_object().expect("it is an object"), Some(1), Some(2));
            marks
        };
        let marks = |start: &[u32], end: &[u32]| Marks { start: start.to_vec(), end: end.to_vec() };
        assert_eq!(obeyed(&marks(&[], &[]), &json!({"add_bos_token": true, "add_eos_token": true})), marks(&[1], &[2]));
        assert_eq!(obeyed(&marks(&[1], &[2]), &json!({"add_bos_token": true})), marks(&[1], &[2]));
        assert_eq!(
            obeyed(&marks(&[1], &[2]), &json!({"add_bos_token": false, "add_eos_token": false})),
            marks(&[], &[])
        );
        // BERT's marks are no BOS and EOS.
        assert_eq!(obeyed(&marks(&[7], &[8]), &json!({"add_bos_token": false})), marks(&[7], &[8]));
        assert_eq!(obeyed(&marks(&[7], &[8]), &json!({"add_bos_token": "yes"})), marks(&[7], &[8]));
    }
}
