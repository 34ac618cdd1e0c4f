//! Patterns of names: `*` stands for any run of characters, and every other character for itself.

/// Largest length of a pattern in bytes. Names of tensors are seldom longer than 100 bytes.
pub(super) const MAX_LEN: usize = 256;
/// Characters with a meaning in other pattern languages. No tensor name has one, so patterns with them are refused.
const RESERVED: &[char] = &['?', '[', ']', '{', '}', '!', '\\'];

/// A name to match, prepared once for many patterns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'n> {
    text: &'n str,
    pairs: u128,
}

impl<'n> Name<'n> {
    pub(super) fn new(text: &'n str) -> Self {
        Self { text, pairs: pairs(text) }
    }
}

/// A pattern, split at its stars.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    /// Filter of the pairs of adjacent characters that every matching name has. Most names fail it without a search.
    pairs: u128,
    /// Required prefix of the name; the whole name where `rest` is `None`.
    head: Box<str>,
    rest: Option<Rest>,
}

#[derive(Debug, Clone)]
struct Rest {
    /// Non-empty texts between the stars, in order.
    middle: Box<[Box<str>]>,
    /// Required suffix of the name.
    tail: Box<str>,
}

impl Glob {
    /// Parses a pattern. `Err` describes the patterns that are expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a pattern such as \"*.mlp.gate.weight\"".into());
        }
        if text.len() > MAX_LEN {
            return Err(format!("a pattern of at most {MAX_LEN} bytes"));
        }
        if text.contains(|c: char| c.is_control() || RESERVED.contains(&c)) {
            return Err("a pattern of `*`, which stands for any characters, and characters of names".into());
        }
        let Some((head, rest)) = text.split_once('*') else {
            return Ok(Self { pairs: pairs(text), head: text.into(), rest: None });
        };
        let pairs = text.split('*').fold(0, |all, part| all | pairs(part));
        let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
        let middle = middle.split('*').filter(|part| !part.is_empty()).map(Box::from).collect();
        Ok(Self { pairs, head: head.into(), rest: Some(Rest { middle, tail: tail.into() }) })
    }

    pub(super) fn matches(&self, name: Name<'_>) -> bool {
        if self.pairs & !name.pairs != 0 {
            return false;
        }
        let name = name.text;
        let Some(Rest { middle, tail }) = &self.rest else { return *self.head == *name };
        let Some(inner) = name.strip_prefix(&*self.head).and_then(|name| name.strip_suffix(&**tail)) else {
            return false;
        };
        // Matching each part at its leftmost place leaves the most room for the parts after it.
        let mut left = inner.as_bytes();
        middle.iter().all(|part| match find(left, part.as_bytes()) {
            Some(at) => {
                left = &left[at + part.len()..];
                true
            }
            None => false,
        })
    }
}

/// Filter with one of 128 bits set for each pair of adjacent bytes. Different pairs may share a bit.
fn pairs(text: &str) -> u128 {
    let bit = |pair: &[u8]| 1 << ((31 * u32::from(pair[0]) + u32::from(pair[1])) % u128::BITS);
    text.as_bytes().windows(2).fold(0, |all, pair| all | bit(pair))
}

/// Returns the position of the first `part` in `text`. Both are too short for a prepared searcher to pay off.
fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    let (&first, others) = part.split_first()?;
    let last = text.len().checked_sub(others.len())?;
    (0..last).find(|&at| text[at] == first && text[at + 1..].starts_with(others))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_run() {
        for (pattern, yes, no) in [
            ("a.b", &["a.b"][..], &["a.b.c", "x.a.b", "a", ""][..]),
            ("*", &["", "a", "a.b"], &[]),
            ("**", &["", "a"], &[]),
            ("*.b", &["a.b", ".b"], &["b", "a.b.c"]),
            ("a.*", &["a.", "a.b.c"], &["a", "b.a."]),
            ("*ab*", &["ab", "xab", "aab", "abx"], &["a", "ba", ""]),
            ("a*b*c", &["abc", "a.b.c", "abbcc"], &["acb", "ab", "bc"]),
            // Head, tail and middle parts must not overlap.
            ("ab*ba", &["abba", "ab.ba"], &["aba"]),
            ("*ab*ba*", &["abba", "xab.bay"], &["aba"]),
            ("*experts.*down*", &["experts.down", "a.experts.1.down_proj"], &["experts.up", "down.experts."]),
        ] {
            let glob = Glob::parse(pattern).expect("it is a pattern");
            for name in yes {
                assert!(glob.matches(Name::new(name)), "{pattern} {name}");
            }
            for name in no {
                assert!(!glob.matches(Name::new(name)), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn other_languages_are_refused() {
        for text in ["", "a?", "[ab]", "{a,b}", "!a", "a\\b", "a\n", &"a".repeat(MAX_LEN + 1)] {
            assert!(Glob::parse(text).is_err(), "{text:?}");
        }
    }
}
