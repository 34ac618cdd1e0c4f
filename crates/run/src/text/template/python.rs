//! Values as Python prints them.

use minijinja::{Error, ErrorKind, State, Value, value::ValueKind};

use super::paid::PaidText;

/// Most lists and mappings within one another that are printed.
pub(super) const DEPTH: usize = 128;

/// A value as `str` gives it: texts as they are, all else like [`repr`].
pub(super) fn text(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut out = PaidText::new(state);
    write_text(&mut out, value)?;
    out.finish()
}

/// Appends a value as `str` gives it.
pub(super) fn write_text(out: &mut PaidText<'_, '_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.push(text),
        None if value.is_undefined() => Ok(()),
        None => repr(out, value, 0),
    }
}

/// Appends a value as `repr` gives it.
fn repr(out: &mut PaidText<'_, '_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::Undefined => out.push("Undefined"),
        ValueKind::String => quoted(out, value.as_str().unwrap_or_default()),
        ValueKind::Number => out.push(&number(value)),
        ValueKind::Seq | ValueKind::Iterable => {
            let (open, close) = if value.is_tuple() { ("(", ")") } else { ("[", "]") };
            out.push(open)?;
            let mut length = 0;
            for (at, item) in value.try_iter()?.checked().enumerate() {
                length = at + 1;
                if at > 0 {
                    out.push(", ")?;
                }
                repr(out, &item?, depth + 1)?;
            }
            out.push(if value.is_tuple() && length == 1 { ",)" } else { close })
        }
        ValueKind::Map => {
            out.push("{")?;
            for (at, key) in value.try_iter()?.checked().enumerate() {
                let key = key?;
                if at > 0 {
                    out.push(", ")?;
                }
                repr(out, &key, depth + 1)?;
                out.push(": ")?;
                repr(out, &value.get_item(&key)?, depth + 1)?;
            }
            out.push("}")
        }
        // True, False, None, and what Python has no word for.
        _ => out.push(&value.to_string()),
    }
}

/// Refuses values that lie too deep in one another.
pub(super) fn check_depth(depth: usize) -> Result<(), Error> {
    if depth < DEPTH {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidOperation,
        format!("expected at most {DEPTH} lists and mappings within one another"),
    ))
}

/// A number as Python prints it.
pub(super) fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(float) if !value.is_integer() => self::float(float),
        _ => value.to_string(),
    }
}

/// A float as Python prints it: the shortest digits that give it back, with an exponent below 1e-4 and from 1e16 on.
fn float(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string().to_lowercase();
    }
    let digits = format!("{value:e}");
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let plain = value.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// A text in Python's quotes.
fn quoted(out: &mut PaidText<'_, '_, '_>, text: &str) -> Result<(), Error> {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push_char(quote)?;
    for letter in text.chars() {
        match letter {
            '\\' => out.push("\\\\")?,
            '\n' => out.push("\\n")?,
            '\r' => out.push("\\r")?,
            '\t' => out.push("\\t")?,
            letter if letter == quote => {
                out.push("\\")?;
                out.push_char(letter)?;
            }
            '\0'..='\x1f' | '\x7f'..='\u{a0}' | '\u{ad}' => out.push(&format!("\\x{:02x}", u32::from(letter)))?,
            letter => out.push_char(letter)?,
        }
    }
    out.push_char(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_pythons() {
        for (value, text) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(value), text);
        }
    }
}
