//! `tokenizer_config.json` and `generation_config.json`, made of what GGUF metadata states.

use serde_json::{Map, Value};

use super::vocabulary::{Kind, Vocabulary};

impl Vocabulary {
    /// The members of a `tokenizer_config.json`.
    pub(crate) fn tokenizer_config(&self, context: Option<u64>) -> Map<String, Value> {
        let mut config = Map::new();
        let special = &self.special;
        for (member, id) in [
            ("bos_token", special.bos),
            ("eos_token", special.eos),
            ("unk_token", special.unknown),
            ("sep_token", special.separator),
            ("pad_token", special.padding),
            ("mask_token", special.mask),
        ] {
            if let Some(token) = self.token(id) {
                config.insert(member.to_owned(), token.into());
            }
        }
        if self.kind == Kind::WordPiece
            && let Some(token) = self.token(special.bos)
        {
            config.insert("cls_token".to_owned(), token.into());
        }
        config.insert("add_bos_token".to_owned(), self.adds_bos.into());
        config.insert("add_eos_token".to_owned(), self.adds_eos.into());
        let cleans = match self.kind {
            Kind::ByteLevel => self.split.is_some_and(|split| split.cleans_spaces),
            Kind::WordPiece => true,
            Kind::SentencePiece | Kind::Unigram => false,
        };
        config.insert("clean_up_tokenization_spaces".to_owned(), cleans.into());
        if let Some(context) = context {
            config.insert("model_max_length".to_owned(), context.into());
        }
        config.insert("tokenizer_class".to_owned(), "PreTrainedTokenizerFast".into());
        config
    }

    /// The members of a `generation_config.json`: the tokens that begin, end and fill what a model writes. Empty if no
    /// token ends it.
    pub(crate) fn generation_config(&self) -> Map<String, Value> {
        let special = &self.special;
        let mut ends: Vec<u32> = Vec::new();
        for id in [special.eos, special.eot, special.eom].into_iter().flatten() {
            if !ends.contains(&id) {
                ends.push(id);
            }
        }
        let mut config = Map::new();
        let ends = match *ends {
            [] => return config,
            [one] => one.into(),
            _ => ends.into(),
        };
        config.insert("eos_token_id".to_owned(), ends);
        for (member, id) in [("bos_token_id", special.bos), ("pad_token_id", special.padding)] {
            if let Some(id) = id {
                config.insert(member.to_owned(), id.into());
            }
        }
        config
    }
}
