//! Stop strings: texts that end a generation where they appear, whatever the tokens that make them.

/// Watches a text that arrives in pieces for strings that end it.
///
/// The end of the text is held back as long as it may be the beginning of a stop string.
///
/// ```
/// use longshore_run::text::StopStrings;
///
/// let mut stop = StopStrings::new(["\n\n".to_owned()]);
/// assert_eq!(stop.push("one\n").text, "one");
/// assert_eq!(stop.push("two\n").text, "\ntwo");
/// let last = stop.push("\nthree");
/// assert!(last.text.is_empty() && last.stopped);
/// ```
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    strings: Vec<String>,
    held: String,
}

/// Text that [`StopStrings`] lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// Text before any stop string.
    pub text: String,
    /// Whether a stop string was found. The string and what follows it are dropped.
    pub stopped: bool,
}

impl StopStrings {
    /// Watches for any of the `strings`. Empty strings are ignored.
    #[must_use]
    pub fn new(strings: impl IntoIterator<Item = String>) -> Self {
        let strings = strings.into_iter().filter(|string| !string.is_empty()).collect();
        Self { strings, held: String::new() }
    }

    /// Adds a piece of text and returns what can no longer be part of a stop string. Of several stop strings the one that begins
    /// first counts.
    pub fn push(&mut self, piece: &str) -> Released {
        self.held.push_str(piece);
        let found = self.strings.iter().filter_map(|string| self.held.find(string.as_str())).min();
        if let Some(at) = found {
            let mut text = std::mem::take(&mut self.held);
            text.truncate(at);
            return Released { text, stopped: true };
        }
        let rest = self.held.split_off(self.free());
        Released { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }

    /// Returns the text that was held back, at the end of the generation.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the start of the held text that no stop string can reach.
    fn free(&self) -> usize {
        let longest = self.strings.iter().map(String::len).max().unwrap_or_default();
        let first = self.held.len().saturating_sub(longest.saturating_sub(1));
        let may_begin = |at: &usize| {
            let end = &self.held.as_bytes()[*at..];
            self.strings.iter().any(|string| string.as_bytes().starts_with(end))
        };
        let at = (first..self.held.len()).find(may_begin);
        // A byte inside of a character begins no string.
        at.unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(strings: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stop = StopStrings::new(strings.iter().map(|&string| string.to_owned()));
        let mut text = String::new();
        for piece in pieces {
            let released = stop.push(piece);
            text.push_str(&released.text);
            if released.stopped {
                return (text, true);
            }
        }
        (text + &stop.finish(), false)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces() {
        assert_eq!(run(&["</s>"], &["ab<", "/", "s", ">cd"]), ("ab".into(), true));
        assert_eq!(run(&["</s>"], &["ab<", "/", "t>"]), ("ab</t>".into(), false));
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), ("a".into(), true));
        assert_eq!(run(&["é!"], &["né", "e é", "!"]), ("née ".into(), true));
        assert_eq!(run(&["", "b"], &["abc"]), ("a".into(), true));
        assert_eq!(run(&[], &["a", "b"]), ("ab".into(), false));
    }

    #[test]
    fn the_string_that_begins_first_counts() {
        assert_eq!(run(&["cd", "bcde"], &["abcde"]), ("a".into(), true));
    }

    #[test]
    fn nothing_is_held_that_can_begin_no_stop_string() {
        let mut stop = StopStrings::new(["xyz".to_owned()]);
        assert_eq!(stop.push("abxy").text, "ab");
        assert_eq!(stop.push("a").text, "xya");
    }

    proptest! {
        #[test]
        fn pieces_give_what_the_whole_text_gives(
            text in "[abé]{0,24}", string in "[abé]{1,4}", other in "[abé]{1,4}", cut in 1..6_usize,
        ) {
            let letters: Vec<char> = text.chars().collect();
            let pieces: Vec<String> = letters.chunks(cut).map(|piece| piece.iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (found, stopped) = run(&[&string, &other], &pieces);
            let at = [text.find(&string), text.find(&other)].into_iter().flatten().min();
            prop_assert_eq!(stopped, at.is_some());
            if stopped {
                // In pieces a shorter string may be seen before a longer one that began earlier was complete.
                prop_assert!(text.starts_with(&found));
                let rest = &text[found.len()..];
                prop_assert!(rest.starts_with(&string) || rest.starts_with(&other));
            } else {
                prop_assert_eq!(found, text);
            }
        }
    }
}
