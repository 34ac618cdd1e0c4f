//! Lines for people: each is made of ours and of words that passed the door.

use std::fmt::Write as _;

use anstyle::Style;

use crate::door::{self, LINE, shown};

/// Lines with styles. A line ends where it was ended here, never where a word has a newline.
#[derive(Debug, Default)]
pub(crate) struct Lines(String);

impl Lines {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// One line.
    pub(crate) fn of(text: &str) -> Self {
        let mut lines = Self::new();
        lines.line(text);
        lines
    }

    /// A text of others that has lines of its own and is not read line by line, such as a policy. What is hidden in it is written as in
    /// TOML's strings, so that it stays what it is there.
    pub(crate) fn document(text: &str) -> Self {
        let mut lines = String::with_capacity(text.len());
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let is_end = letter == '\n' || (letter == '\r' && letters.peek() == Some(&'\n'));
            if is_end || letter == '\t' || !door::is_hidden(letter) {
                lines.push(letter);
            } else {
                let _ = write!(lines, "\\U{:08X}", u32::from(letter));
            }
        }
        Self(lines)
    }

    pub(crate) fn line(&mut self, text: &str) {
        self.0.push_str(&shown(text, LINE));
        self.0.push('\n');
    }

    /// A line that begins in a style.
    pub(crate) fn styled(&mut self, style: Style, start: &str, rest: &str) {
        let _ = write!(self.0, "{style}{}{style:#}", shown(start, LINE));
        self.line(rest);
    }

    pub(crate) fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printer::STRONG;

    #[test]
    fn words_neither_end_a_line_nor_bring_a_style() {
        let mut lines = Lines::of("a\nerror: b\u{1b}[31m");
        lines.styled(STRONG, "c\nd", "\u{2028}e");
        assert_eq!(lines.as_str(), "a\\nerror: b\\u{1b}[31m\n\u{1b}[1mc\\nd\u{1b}[0m\\u{2028}e\n");
    }

    #[test]
    fn a_document_keeps_its_lines_and_what_its_strings_say() {
        let text = "# a\u{1b}[2J\r\n\tname = \"b\u{202e}\"\rc\n";
        let found = Lines::document(text);
        assert_eq!(found.as_str(), "# a\\U0000001B[2J\r\n\tname = \"b\\U0000202E\"\\U0000000Dc\n");
    }
}
