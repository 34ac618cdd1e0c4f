//! JSON documents that are safe to look at: what is hidden is escaped, and says the same.

use std::io;

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::door::is_hidden;

/// A document in one line.
pub(crate) fn line(document: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = Vec::new();
    document.serialize(&mut Serializer::with_formatter(&mut line, Visible))?;
    line.push(b'\n');
    Ok(line)
}

/// Compact, and without characters in strings that cannot be seen or that move something.
struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut left = fragment;
        while let Some(at) = left.find(is_hidden) {
            writer.write_all(&left.as_bytes()[..at])?;
            let letter = left[at..].chars().next().expect("one was found there");
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            left = &left[at + letter.len_utf8()..];
        }
        writer.write_all(left.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_document_says_the_same_in_characters_that_are_seen() {
        let hidden = "\0\n\u{1b}\u{7f}\u{9b}\u{ad}\u{202e}\u{2028}\u{200b}\u{feff}\u{e0041}";
        let document = BTreeMap::from([(format!("k{hidden}\"\\é😀"), format!("{hidden}{hidden}v"))]);
        let bytes = line(&document).expect("it is written to memory");
        let text = String::from_utf8(bytes).expect("it is text");
        assert!(!text.trim_end_matches('\n').contains(is_hidden), "{text:?}");
        assert!(text.contains("\\u007f\\u009b\\u00ad\\u202e\\u2028\\u200b\\ufeff\\udb40\\udc41"), "{text}");
        assert!(text.contains("é😀"), "{text}");
        assert_eq!(serde_json::from_str::<BTreeMap<String, String>>(&text).expect("it is JSON"), document);
    }

    #[test]
    fn a_plain_document_is_as_it_always_was() {
        let document = serde_json::json!({"a": [1, 2.5, null, true], "b": {"c": "d"}});
        let expected = serde_json::to_string(&document).expect("it is written to memory") + "\n";
        assert_eq!(line(&document).expect("it is written to memory"), expected.as_bytes());
    }
}
