//! The door: what words of others pass before they are shown, wherever that is.
//!
//! Names, paths, configurations, arguments and the texts of errors may hold anything. Characters that would move the cursor, start a
//! line, change colours or the direction of writing, or that cannot be seen, are shown as their numbers, and a long text without its
//! middle. That is so on a terminal, in a pipe and in a file alike.

use std::{borrow::Cow, env, ffi::OsStr, fmt::Write as _};

/// Characters of a line at most: of a message, a fact, or whatever else is no table.
pub(crate) const LINE: usize = 2000;
/// Characters of a table's cell at most, and of a value that an error about usage names.
pub(crate) const CELL: usize = 200;

/// Whether a character moves something or cannot be seen: controls, directions, separators of lines, and what fonts ignore.
pub(crate) fn is_hidden(letter: char) -> bool {
    if letter < '\u{7f}' {
        return letter < ' ';
    }
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// A text as one line of at most `most` characters. Of a longer one the beginning and the end are left, with the number of its
/// characters between: the end of a path or of an error is what tells.
pub(crate) fn shown(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most && !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    if text.chars().map(width).sum::<usize>() <= most {
        return Cow::Owned(escaped(text));
    }
    let mark = format!("…({} characters)…", text.chars().count());
    let room = most.saturating_sub(mark.chars().count());
    let start = fitting(text.chars(), room / 2);
    let end = fitting(text.chars().rev(), room - room / 2);
    Cow::Owned(escaped(&text[..start]) + &mark + &escaped(&text[text.len() - end..]))
}

/// A text that a model wrote, as a terminal shows it: newlines, tabs and what joins letters stay, and every other control and what
/// changes the direction of writing is shown as its number. Nothing is cut.
#[cfg(feature = "run")]
pub(crate) fn written(text: &str) -> Cow<'_, str> {
    let moves = |letter: char| {
        let is_direction =
            matches!(letter, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        is_direction || letter.is_control() && letter != '\n' && letter != '\t'
    };
    if !text.contains(moves) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().fold(String::with_capacity(text.len()), |mut shown, letter| {
        if moves(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
        shown
    }))
}

/// A path, or an argument, in which bytes that are no UTF-8 are shown as their numbers.
pub(crate) fn path(path: impl AsRef<OsStr>) -> String {
    path.as_ref().as_encoded_bytes().utf8_chunks().fold(String::new(), |mut text, chunk| {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
        text
    })
}

/// A text of an error in which arguments that are no UTF-8 have their bytes again: who made the text had a sign in place of each.
pub(crate) fn with_bytes(text: &str) -> Cow<'_, str> {
    if !text.contains(char::REPLACEMENT_CHARACTER) {
        return Cow::Borrowed(text);
    }
    let args = env::args_os().chain(env::var_os("LONGSHORE_STORE")).filter(|arg| arg.to_str().is_none());
    Cow::Owned(args.fold(text.to_owned(), |text, arg| text.replace(&*arg.to_string_lossy(), &path(&arg))))
}

/// Bytes of the first letters that take at most `room` characters to show.
fn fitting(letters: impl Iterator<Item = char>, mut room: usize) -> usize {
    let fits = |letter: &char| {
        let left = room.checked_sub(width(*letter));
        room = left.unwrap_or_default();
        left.is_some()
    };
    letters.take_while(fits).map(char::len_utf8).sum()
}

/// Characters that it takes to show one.
fn width(letter: char) -> usize {
    if is_hidden(letter) { letter.escape_default().len() } else { 1 }
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, letter| {
        if is_hidden(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_stays_as_it_is() {
        for text in ["", "model.layers.0", "Qwen/Qwen3-4B:int4", "naïve 模型 😀 \\ \u{301}", "a b"] {
            assert!(matches!(shown(text, LINE), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn what_moves_something_or_is_not_seen_becomes_its_number() {
        assert_eq!(shown("a\nb\tc\rd\u{1b}[31m\u{7}\u{7f}", LINE), "a\\nb\\tc\\rd\\u{1b}[31m\\u{7}\\u{7f}");
        let ranges = [
            0..=0x1f,
            0x7f..=0x9f,
            0xad..=0xad,
            0x61c..=0x61c,
            0x180b..=0x180f,
            0x200b..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x206f,
            0xfe00..=0xfe0f,
            0xfeff..=0xfeff,
            0xfff9..=0xfffb,
            0x1d173..=0x1d17a,
            0xe0001..=0xe007f,
            0xe0100..=0xe01ef,
        ];
        for letter in ranges.into_iter().flatten().filter_map(char::from_u32) {
            let text = format!("a{letter}b");
            let found = shown(&text, LINE);
            assert!(found.starts_with("a\\") && found.ends_with('b') && !found.contains(is_hidden), "{found:?}");
        }
    }

    #[test]
    fn a_long_text_keeps_its_ends_and_says_how_long_it_is() {
        let text = format!("{}{}", "a".repeat(35_000), "z".repeat(35_000));
        let found = shown(&text, CELL);
        assert_eq!(found.chars().count(), CELL);
        assert!(
            found.starts_with("aaaa") && found.ends_with("zzzz") && found.contains("a…(70000 characters)…z"),
            "{found}"
        );
        assert_eq!(shown(&found, CELL), found);
        assert_eq!(shown(&"é".repeat(CELL), CELL), "é".repeat(CELL));
    }

    #[test]
    fn a_cut_never_splits_a_number() {
        let text = "\u{1b}é".repeat(1000);
        for most in 60..90 {
            let found = shown(&text, most);
            assert!(found.chars().count() <= most, "{found}");
            let rest = found.replace("\\u{1b}", "").replace('é', "");
            assert_eq!(rest, "…(2000 characters)…", "{found}");
        }
        assert_eq!(shown(&text, 0), "…(2000 characters)…");
    }

    #[cfg(feature = "run")]
    #[test]
    fn a_written_text_keeps_its_lines_and_joiners_and_moves_nothing() {
        for text in ["", "a\n\tb", "👩\u{200d}👧 ⚕\u{fe0f} न\u{200c}", "naïve 模型 \\ \u{301}"] {
            assert!(matches!(written(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(written("a\r\n\u{1b}[2Jb\u{7}\u{9b}"), "a\\r\n\\u{1b}[2Jb\\u{7}\\u{9b}");
        for letter in
            "\0\u{8}\u{b}\u{7f}\u{80}\u{85}\u{9f}\u{61c}\u{200e}\u{200f}\u{202a}\u{202e}\u{2066}\u{2069}".chars()
        {
            assert!(written(&letter.to_string()).starts_with('\\'), "{letter:?}");
        }
        let long = "x".repeat(10_000);
        assert_eq!(written(&long).len(), 10_000);
    }

    #[cfg(unix)]
    #[test]
    fn bytes_of_a_path_that_are_no_text_are_told_apart() {
        use std::os::unix::ffi::OsStrExt as _;

        assert_eq!(path(OsStr::from_bytes(b"a\xff/\xc3\xa9\xc3")), "a\\xff/é\\xc3");
        assert_eq!(path("a/b"), "a/b");
    }
}
