//! Numbers and tables for people.

use std::{borrow::Cow, fmt::Write as _};

use crate::printer::{FAINT, STRONG};

/// A size with three digits and a binary unit: `4.05 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = to_f64(bytes) / 1024.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A count with three digits and a letter: `7.24 B`.
pub(crate) fn count(number: u64) -> String {
    const UNITS: [&str; 4] = ["k", "M", "B", "T"];
    if number < 1000 {
        return number.to_string();
    }
    let mut value = to_f64(number) / 1000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", three_digits(value), UNITS[unit])
}

/// A time: `1.24 s`, `36.1 ms`, `820 µs`.
pub(crate) fn seconds(value: f64) -> String {
    match value {
        v if v >= 0.9995 => format!("{} s", three_digits(v)),
        v if v >= 0.000_999_5 => format!("{} ms", three_digits(v * 1e3)),
        v => format!("{} µs", three_digits(v * 1e6)),
    }
}

pub(crate) fn three_digits(value: f64) -> String {
    match value {
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A count as a float: exact to 2^53, near enough for people above.
#[expect(clippy::cast_precision_loss, reason = "what is printed has three digits")]
pub(crate) fn to_f64(number: u64) -> f64 {
    number as f64
}

/// `1 tensor`, `2 tensors`.
pub(crate) fn plural(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Text from a checkpoint as it can be shown: what would move the cursor, start a line, change colours or the direction of
/// writing is escaped.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if hidden(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a heading, each column as wide as its widest cell, two spaces between.
pub(crate) fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let width = |at: usize| {
        rows.iter().map(|row| row[at].chars().count()).chain([columns[at].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let mut line = String::new();
        for ((cell, (_, align)), width) in cells.iter().zip(columns).zip(&widths) {
            let _ = match align {
                Align::Left => write!(line, "{cell:<width$}  "),
                Align::Right => write!(line, "{cell:>width$}  "),
            };
        }
        line.trim_end().to_owned()
    };
    let heading: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let mut text = format!("{STRONG}{}{STRONG:#}\n", line(&heading));
    for row in &rows {
        let cells: Vec<&str> = row.iter().map(AsRef::as_ref).collect();
        text.push_str(&line(&cells));
        text.push('\n');
    }
    text
}

/// Lines of a faint key and a value, the values below each other.
pub(crate) fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    facts.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "  {FAINT}{key:<width$}{FAINT:#}  {}", plain(value));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1_023_488, "0.98 MiB"),
            (4_348_654_387, "4.05 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (number, text) in [(999, "999"), (1000, "1.00 k"), (7_241_732_096, "7.24 B"), (999_600, "1.00 M")] {
            assert_eq!(count(number), text);
        }
        for (value, text) in [(1.0, "1.00 s"), (0.0361, "36.1 ms"), (0.00082, "820 µs"), (62.0, "62.0 s")] {
            assert_eq!(seconds(value), text);
        }
    }

    #[test]
    fn what_a_checkpoint_says_stays_on_its_line() {
        assert_eq!(plain("model.layers.0"), "model.layers.0");
        assert_eq!(plain("a\nb\u{1b}[31m\u{202e}c"), "a\\nb\\u{1b}[31m\\u{202e}c");
        let text = table(&[("NAME", Align::Left)], &[vec!["a\nerror: fake".into()]]);
        assert_eq!(text.lines().count(), 2);
        assert_eq!(facts(&[("key", "a\rb".into())]).lines().count(), 1);
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "10".into()], vec!["bcd".into(), "1".into()]];
        let text = table(&[("NAME", Align::Left), ("N", Align::Right)], &rows);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert_eq!(plain, "NAME   N\na     10\nbcd    1\n");
    }
}
