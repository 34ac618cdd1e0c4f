//! The headers of the GGUF files that a source consists of.

use longshore_gguf::{Header, Limits};

use crate::{
    gguf::headers,
    source::{
        checkpoint::Source,
        companions::{Companion, MAX_COMPANION_BYTES},
    },
};

impl Source {
    /// The headers of the GGUF files that the source consists of, or came from, in their order. Empty for any other source.
    #[must_use]
    pub fn gguf_headers(&self) -> Vec<Header> {
        self.companions.iter().filter(|file| headers::is_header(file.name.as_str())).filter_map(parse).collect()
    }

    /// The names of the companion files that are made of what the weight files say, such as the `tokenizer.json` of a GGUF
    /// file.
    pub fn derived(&self) -> impl Iterator<Item = &str> {
        self.companions.iter().filter(|file| file.is_derived).map(|file| file.name.as_str())
    }
}

/// The header that a companion file holds. `None` if it cannot be read.
pub(in crate::source) fn parse(file: &Companion) -> Option<Header> {
    Header::parse_with_end(&file.bytes(MAX_COMPANION_BYTES)?, &Limits::default()).ok()
}
