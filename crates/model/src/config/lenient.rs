//! The three words that Python's `json` writes and JSON does not allow.

use std::borrow::Cow;

const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];

/// Returns `document` with `NaN`, `Infinity` and `-Infinity` outside of strings replaced by `null`. Takes one pass, and
/// copies only if there is something to replace. Bytes that are not JSON are returned unchanged, and the parser refuses
/// them.
pub(super) fn strict(document: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    let mut in_string = false;
    while at < document.len() {
        match document[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'I' | b'N' if !in_string => {
                if let Some(word) = WORDS.iter().find(|word| document[at..].starts_with(word)) {
                    out.extend_from_slice(&document[copied..at]);
                    out.extend_from_slice(b"null");
                    at += word.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(document);
    }
    out.extend_from_slice(&document[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_words_and_nothing_else() {
        for (document, expected) in [
            (r#"{"a":NaN,"b":[0.0,Infinity],"c":-Infinity}"#, r#"{"a":null,"b":[0.0,null],"c":null}"#),
            (r#"{"NaN":"Infinity -Infinity","b":-1}"#, r#"{"NaN":"Infinity -Infinity","b":-1}"#),
            (r#"{"a":"\"NaN","b":NaN}"#, r#"{"a":"\"NaN","b":null}"#),
            ("NaN", "null"),
            ("", ""),
            ("\"\\", "\"\\"),
            ("-", "-"),
        ] {
            assert_eq!(strict(document.as_bytes()), expected.as_bytes(), "{document}");
        }
    }

    #[test]
    fn copies_nothing_without_need() {
        assert!(matches!(strict(br#"{"a":-1}"#), Cow::Borrowed(_)));
    }
}
