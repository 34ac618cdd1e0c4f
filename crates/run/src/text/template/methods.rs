//! Methods of Python's values: those of `minijinja-contrib`, and those that it lacks or that would cost more than is paid for.

use minijinja::{
    Error, ErrorKind, State, Value,
    formatting::{FormatStyle, format},
    value::{ValueKind, from_args},
};
use minijinja_contrib::pycompat;

use super::{
    paid::{PaidText, pay},
    python::{text, write_text},
};

/// Largest width that a format may name.
const MAX_WIDTH: usize = 10_000;

/// Calls a method that the engine does not know.
pub(super) fn call(state: &mut State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(own) = value.as_str() else { return pycompat::unknown_method_callback(state, value, method, args) };
    match method {
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            join(state, items, own)
        }
        "format" => Ok(Value::from(formatted(state, FormatStyle::StrFormat, own, args)?)),
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(own.strip_prefix(prefix).unwrap_or(own)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(own.strip_suffix(suffix).unwrap_or(own)))
        }
        _ => pycompat::unknown_method_callback(state, value, method, args),
    }
}

/// All items as text, with a separator between them.
pub(super) fn join(state: &State<'_, '_>, items: &Value, separator: &str) -> Result<Value, Error> {
    let mut out = PaidText::new(state);
    for (at, item) in items.try_iter()?.checked().enumerate() {
        if at > 0 {
            out.push(separator)?;
        }
        write_text(&mut out, &item?)?;
    }
    Ok(Value::from(out.finish()?))
}

/// A format with its arguments, paid for before it is made. Arguments that are no numbers are given as texts.
pub(super) fn formatted(state: &State<'_, '_>, style: FormatStyle, own: &str, args: &[Value]) -> Result<String, Error> {
    let widths = own.split(|letter: char| !letter.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let is_wide = |digits: &str| digits.parse::<usize>().is_ok_and(|width| width > MAX_WIDTH) || digits.len() > 9;
    if widths.into_iter().any(is_wide) {
        let problem = format!("format: expected a width of at most {MAX_WIDTH}");
        return Err(Error::new(ErrorKind::InvalidOperation, problem));
    }
    let mut given = Vec::with_capacity(args.len());
    let mut bytes = 0_usize;
    for arg in args {
        let is_container =
            matches!(arg.kind(), ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) && !arg.is_kwargs();
        let arg = if is_container { Value::from(text(state, arg)?) } else { arg.clone() };
        bytes = bytes.saturating_add(if arg.is_kwargs() {
            text(state, &arg)?.len()
        } else {
            arg.as_str().map_or(64, str::len)
        });
        given.push(arg);
    }
    let sign = if style == FormatStyle::Printf { '%' } else { '{' };
    let fields = own.matches(sign).count();
    pay(state, fields.saturating_mul(bytes.saturating_add(MAX_WIDTH)))?;
    format(style, own, &given)
}
