//! The filter `tojson`, as transformers has it: Python's `json.dumps` without ASCII escapes.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, ValueKind},
};

use super::{
    paid::PaidText,
    python::{check_depth, number},
};

/// Most spaces or letters of an indentation.
const MAX_INDENT: usize = 64;

/// Layout of a document.
struct Style {
    ensure_ascii: bool,
    /// Text of one step of indentation; `None` writes one line.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
}

/// The filter. Options are `ensure_ascii`, `indent`, `separators` and `sort_keys`; the first two may stand without a name.
#[expect(clippy::needless_pass_by_value, reason = "the engine gives named arguments by value")]
pub(super) fn tojson(
    state: &mut State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<Value>,
    indent: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named = |name: &str| options.get::<Option<Value>>(name);
    let ensure_ascii = match named("ensure_ascii")? {
        Some(named) => Some(named),
        None => ensure_ascii,
    };
    let indent = match named("indent")? {
        Some(named) => Some(named),
        None => indent,
    };
    let indent = indent.filter(|indent| !indent.is_none()).map(|indent| step(&indent)).transpose()?;
    let separators = named("separators")?.filter(|both| !both.is_none());
    let (item_separator, key_separator) = match separators {
        Some(both) => (both.get_item_by_index(0)?.to_string(), both.get_item_by_index(1)?.to_string()),
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let sort_keys = named("sort_keys")?.is_some_and(|sort| sort.is_true());
    options.assert_all_used()?;
    let ensure_ascii = ensure_ascii.is_some_and(|ensure| ensure.is_true());
    let style = Style { ensure_ascii, indent, item_separator, key_separator, sort_keys };
    let mut out = PaidText::new(state);
    write(&mut out, &style, value, 0)?;
    Ok(Value::from(out.finish()?))
}

fn step(indent: &Value) -> Result<String, Error> {
    let text = match indent.as_str() {
        Some(text) => Some(text.to_owned()).filter(|text| text.len() <= MAX_INDENT),
        None => i64::try_from(indent.clone())
            .ok()
            .map(|spaces| usize::try_from(spaces.max(0)).unwrap_or(usize::MAX))
            .filter(|&spaces| spaces <= MAX_INDENT)
            .map(|spaces| " ".repeat(spaces)),
    };
    text.ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, format!("tojson: expected an indent of at most {MAX_INDENT}"))
    })
}

fn write(out: &mut PaidText<'_, '_, '_>, style: &Style, value: &Value, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::None => out.push("null"),
        ValueKind::Bool => out.push(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push(&json_number(value)),
        ValueKind::String => string(out, style, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push("[")?;
            let mut is_empty = true;
            for item in value.try_iter()?.checked() {
                separate(out, style, depth, &mut is_empty)?;
                write(out, style, &item?, depth + 1)?;
            }
            close(out, style, depth, is_empty, "]")
        }
        ValueKind::Map => {
            let mut keys = Vec::new();
            for key in value.try_iter()?.checked() {
                out.pay(64)?;
                keys.push(key?);
            }
            if style.sort_keys {
                keys.sort();
            }
            out.push("{")?;
            let mut is_empty = true;
            for key in keys {
                separate(out, style, depth, &mut is_empty)?;
                string(out, style, &name(&key)?)?;
                out.push(&style.key_separator)?;
                write(out, style, &value.get_item(&key)?, depth + 1)?;
            }
            close(out, style, depth, is_empty, "}")
        }
        kind => Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: an object of kind {kind} is no JSON"))),
    }
}

/// A number as JSON of Python has it.
fn json_number(value: &Value) -> String {
    match number(value) {
        text if text == "inf" => "Infinity".to_owned(),
        text if text == "-inf" => "-Infinity".to_owned(),
        text if text == "nan" => "NaN".to_owned(),
        text => text,
    }
}

/// The name of a member: Python takes texts, numbers, booleans and None.
fn name(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number => Ok(json_number(key)),
        kind => Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: a key of kind {kind} is no JSON"))),
    }
}

/// Before an item: the separator but for the first, and a line of its own where there is an indentation.
fn separate(out: &mut PaidText<'_, '_, '_>, style: &Style, depth: usize, is_first: &mut bool) -> Result<(), Error> {
    if !std::mem::take(is_first) {
        out.push(&style.item_separator)?;
    }
    line(out, style, depth + 1)
}

fn close(
    out: &mut PaidText<'_, '_, '_>,
    style: &Style,
    depth: usize,
    is_empty: bool,
    bracket: &str,
) -> Result<(), Error> {
    if !is_empty {
        line(out, style, depth)?;
    }
    out.push(bracket)
}

fn line(out: &mut PaidText<'_, '_, '_>, style: &Style, depth: usize) -> Result<(), Error> {
    let Some(indent) = &style.indent else { return Ok(()) };
    out.push("\n")?;
    (0..depth).try_for_each(|_| out.push(indent))
}

fn string(out: &mut PaidText<'_, '_, '_>, style: &Style, text: &str) -> Result<(), Error> {
    out.push("\"")?;
    let mut plain = 0;
    for (at, letter) in text.char_indices() {
        let escape = match letter {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            '\u{8}' => "\\b".to_owned(),
            '\u{c}' => "\\f".to_owned(),
            '\0'..='\x1f' => format!("\\u{:04x}", u32::from(letter)),
            letter if style.ensure_ascii && (!letter.is_ascii() || letter == '\x7f') => letter
                .encode_utf16(&mut [0; 2])
                .iter()
                .fold(String::new(), |text, unit| text + &format!("\\u{unit:04x}")),
            _ => continue,
        };
        out.push(&text[plain..at])?;
        out.push(&escape)?;
        plain = at + letter.len_utf8();
    }
    out.push(&text[plain..])?;
    out.push("\"")
}
