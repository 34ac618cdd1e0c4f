//! Numbers and tables for people.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

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

/// A time left or an age: `12 s`, `3 min`, `5 h`, `2 days`, rounded down.
pub(crate) fn clock(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..86_400 => format!("{} h", s / 3600),
        s => plural(usize::try_from(s / 86_400).unwrap_or(usize::MAX), "day"),
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

/// Alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a heading, each column as wide as its widest cell, two spaces between.
///
/// Where that passes `room` columns, the widest columns of text give way, and where that is not enough, the last columns.
pub(crate) fn table(columns: &[(&str, Align)], rows: &[Vec<String>], room: Option<usize>) -> String {
    let rows: Vec<Vec<Cow<'_, str>>> = rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let width = |at: usize| {
        rows.iter().map(|row| row[at].chars().count()).chain([columns[at].0.chars().count()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..columns.len()).map(width).collect();
    if let Some(room) = room {
        narrow(columns, &mut widths, room);
        while widths.len() > 1 && line_width(&widths) > room {
            widths.pop();
        }
    }
    let line = |cells: &[&str]| {
        let mut line = String::new();
        for ((cell, (_, align)), &width) in cells.iter().zip(columns).zip(&widths) {
            let cell = elide(cell, width);
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

/// Columns of these widths, with two spaces between.
fn line_width(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
}

/// Takes from the widest columns of text until the line fits, or until none has more than a dozen characters.
fn narrow(columns: &[(&str, Align)], widths: &mut [usize], room: usize) {
    const LEAST: usize = 12;
    while line_width(widths) > room {
        let texts = widths.iter_mut().zip(columns).filter(|(_, (_, align))| matches!(align, Align::Left));
        match texts.map(|(width, _)| width).max() {
            Some(widest) if *widest > LEAST => *widest -= 1,
            _ => return,
        }
    }
}

/// Text of at most `width` characters. Of a name the end is kept, which is where names differ, and of a tensor's name the number of
/// its layer; of a sentence the beginning.
fn elide(text: &str, width: usize) -> Cow<'_, str> {
    let length = text.chars().count();
    if length <= width {
        return Cow::Borrowed(text);
    }
    let kept = width.saturating_sub(1);
    let end = |kept: usize| text.chars().skip(length - kept).collect::<String>();
    Cow::Owned(if text.contains(' ') {
        text.chars().take(kept).chain(['…']).collect()
    } else {
        let numbered = number(text).filter(|(from, _)| text[*from..].chars().count() > kept).map(|(_, number)| {
            let number = format!("…{number}.…");
            let left = width.saturating_sub(number.chars().count());
            number + &end(left)
        });
        // Where there is hardly room for more, a number alone tells nothing.
        numbered.filter(|_| width >= 12).unwrap_or_else(|| format!("…{}", end(kept)))
    })
}

/// The first part of a dotted name that is a number, the layer's, and where it begins, in bytes.
fn number(text: &str) -> Option<(usize, &str)> {
    let mut from = 0;
    text.split('.').find_map(|part| {
        let start = from;
        from += part.len() + 1;
        let is_number = !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some((start, part))
    })
}

/// Lines of a faint key and a value, the values below each other; a value that passes `room` columns goes on in the next line.
pub(crate) fn facts(facts: &[(&str, String)], room: Option<usize>) -> String {
    let width = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let value_room = room.map_or(usize::MAX, |room| room.saturating_sub(width + 4));
    facts.iter().fold(String::new(), |mut text, (key, value)| {
        let mut key = *key;
        for line in wrap(&plain(value), value_room) {
            let _ = writeln!(text, "  {FAINT}{key:<width$}{FAINT:#}  {line}");
            key = "";
        }
        text
    })
}

/// The lines of a text that is broken at spaces; a word that is longer than a line stays whole.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a line from the start");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
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
        for (time, text) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min"), (7200, "2 h"), (86_400, "1 day"), (172_800, "2 days")]
        {
            assert_eq!(clock(Duration::from_secs(time)), text);
        }
    }

    #[test]
    fn what_a_checkpoint_says_stays_on_its_line() {
        assert_eq!(plain("model.layers.0"), "model.layers.0");
        assert_eq!(plain("a\nb\u{1b}[31m\u{202e}c"), "a\\nb\\u{1b}[31m\\u{202e}c");
        let text = table(&[("NAME", Align::Left)], &[vec!["a\nerror: fake".into()]], None);
        assert_eq!(text.lines().count(), 2);
        assert_eq!(facts(&[("key", "a\rb".into())], None).lines().count(), 1);
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "10".into()], vec!["bcd".into(), "1".into()]];
        let text = table(&[("NAME", Align::Left), ("N", Align::Right)], &rows, None);
        assert_eq!(shown(&text), "NAME   N\na     10\nbcd    1\n");
    }

    #[test]
    fn a_table_fits_its_room_where_it_can() {
        let columns = [("TENSOR", Align::Left), ("DTYPE", Align::Left), ("SIZE", Align::Right)];
        let rows = [
            vec!["model.layers.11.mlp.experts.down_proj.weight".into(), "BF16".into(), "1.00 MiB".into()],
            vec!["lm_head.weight".into(), "F32".into(), "10 B".into()],
        ];
        let text = shown(&table(&columns, &rows, Some(40)));
        assert_eq!(
            text,
            "TENSOR                   DTYPE      SIZE\n\
             …11.…s.down_proj.weight  BF16   1.00 MiB\n\
             lm_head.weight           F32        10 B\n"
        );
        assert_eq!(shown(&table(&columns, &rows, Some(200))), shown(&table(&columns, &rows, None)));
        // Numbers are never cut, nor are texts below a dozen characters: the last columns go.
        let narrow = shown(&table(&columns, &rows, Some(29)));
        assert!(narrow.contains("…11.….weight  BF16   1.00 MiB\n"), "{narrow}");
        let narrower = shown(&table(&columns, &rows, Some(28)));
        assert!(narrower.contains("…11.….weight  BF16\n"), "{narrower}");
        let narrowest = shown(&table(&columns, &rows, Some(1)));
        assert!(narrowest.starts_with("TENSOR\n"), "{narrowest}");
    }

    #[test]
    fn a_name_that_is_cut_keeps_its_end_and_the_number_of_its_layer() {
        let name = "model.layers.7.self_attn.k_norm.weight";
        assert_eq!(elide(name, 38), name);
        assert_eq!(elide(name, 37), "…del.layers.7.self_attn.k_norm.weight");
        assert_eq!(elide(name, 26), "…7.self_attn.k_norm.weight");
        assert_eq!(elide(name, 25), "…7.…lf_attn.k_norm.weight");
        assert_eq!(elide("model.layers.0.mlp.experts.7.up_proj.weight", 24), "…0.…rts.7.up_proj.weight");
        assert_eq!(elide("Qwen/Qwen3-30B-A3B-Instruct-2507:int8", 20), "…-Instruct-2507:int8");
        assert_eq!(elide("key or value projection: 8-bit", 12), "key or valu…");
        assert_eq!(elide("1.weight_of_something", 4), "…ing");
    }

    #[test]
    fn long_facts_go_on_below_their_beginning() {
        let lines = [("files", "config.json, tokenizer.json, merges.txt".into()), ("size", "1 B".into())];
        let text = shown(&facts(&lines, Some(32)));
        assert_eq!(text, "  files  config.json,\n         tokenizer.json,\n         merges.txt\n  size   1 B\n");
        assert_eq!(shown(&facts(&lines, None)).lines().count(), 2);
    }

    /// Without colours.
    fn shown(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }
}
