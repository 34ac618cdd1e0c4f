//! Tables and facts for people.

use std::{borrow::Cow, fmt::Write as _};

use crate::{
    door::{CELL, LINE, shown},
    lines::Lines,
    printer::{FAINT, STRONG},
};

/// Alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under a heading, each column as wide as its widest cell, two spaces between.
///
/// Where that passes `room` columns, the widest columns of text give way, and where that is not enough, the last columns.
pub(crate) fn table(columns: &[(&str, Align)], rows: &[Vec<String>], room: Option<usize>) -> Lines {
    let rows: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|cell| shown(cell, CELL)).collect()).collect();
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
    let mut lines = Lines::new();
    lines.styled(STRONG, &line(&heading), "");
    for row in &rows {
        let cells: Vec<&str> = row.iter().map(AsRef::as_ref).collect();
        lines.line(&line(&cells));
    }
    lines
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
pub(crate) fn facts(facts: &[(&str, String)], room: Option<usize>) -> Lines {
    let width = facts.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let value_room = room.map_or(usize::MAX, |room| room.saturating_sub(width + 4));
    facts.iter().fold(Lines::new(), |mut lines, (key, value)| {
        let mut key = *key;
        for line in wrap(&shown(value, LINE), value_room) {
            lines.styled(FAINT, &format!("  {key:<width$}  "), &line);
            key = "";
        }
        lines
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
    fn what_a_checkpoint_says_stays_on_its_line() {
        let text = table(&[("NAME", Align::Left)], &[vec!["a\nerror: fake".into()]], None);
        assert_eq!(text.as_str().lines().count(), 2);
        assert_eq!(facts(&[("key", "a\rb".into())], None).as_str().lines().count(), 1);
    }

    #[test]
    fn no_column_is_wider_than_a_cell_may_be() {
        let columns = [("NAME", Align::Left), ("SIZE", Align::Right)];
        let rows = [vec!["n".repeat(70_000), "1 B".into()], vec!["\u{1b}".repeat(70_000), "2 B".into()]];
        for room in [None, Some(100_000)] {
            let text = plain(&table(&columns, &rows, room));
            assert!(text.lines().all(|line| line.chars().count() <= CELL + 2 + 4), "{text}");
            assert!(text.contains("…(70000 characters)…"), "{text}");
        }
        let text = plain(&facts(&[("architecture", "n".repeat(70_000))], None));
        assert!(text.chars().count() < LINE + 20 && text.contains("…(70000 characters)…"), "{text}");
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["a".into(), "10".into()], vec!["bcd".into(), "1".into()]];
        let text = table(&[("NAME", Align::Left), ("N", Align::Right)], &rows, None);
        assert_eq!(plain(&text), "NAME   N\na     10\nbcd    1\n");
    }

    #[test]
    fn a_table_fits_its_room_where_it_can() {
        let columns = [("TENSOR", Align::Left), ("DTYPE", Align::Left), ("SIZE", Align::Right)];
        let rows = [
            vec!["model.layers.11.mlp.experts.down_proj.weight".into(), "BF16".into(), "1.00 MiB".into()],
            vec!["lm_head.weight".into(), "F32".into(), "10 B".into()],
        ];
        let text = plain(&table(&columns, &rows, Some(40)));
        assert_eq!(
            text,
            "TENSOR                   DTYPE      SIZE\n\
             …11.…s.down_proj.weight  BF16   1.00 MiB\n\
             lm_head.weight           F32        10 B\n"
        );
        assert_eq!(plain(&table(&columns, &rows, Some(200))), plain(&table(&columns, &rows, None)));
        // Numbers are never cut, nor are texts below a dozen characters: the last columns go.
        let narrow = plain(&table(&columns, &rows, Some(29)));
        assert!(narrow.contains("…11.….weight  BF16   1.00 MiB\n"), "{narrow}");
        let narrower = plain(&table(&columns, &rows, Some(28)));
        assert!(narrower.contains("…11.….weight  BF16\n"), "{narrower}");
        let narrowest = plain(&table(&columns, &rows, Some(1)));
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
        let text = plain(&facts(&lines, Some(32)));
        assert_eq!(text, "  files  config.json,\n         tokenizer.json,\n         merges.txt\n  size   1 B\n");
        assert_eq!(plain(&facts(&lines, None)).lines().count(), 2);
    }

    /// Without colours.
    fn plain(text: &Lines) -> String {
        anstream::adapter::strip_str(text.as_str()).to_string()
    }
}
