//! The environment of chat templates, as transformers sets it up.

use std::time::SystemTime;

use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value,
    formatting::FormatStyle,
    syntax::SyntaxConfig,
    value::{Kwargs, Rest, ValueKind},
};

use super::{
    clock::strftime,
    error::{Raised, TemplateError},
    json, methods,
    paid::pay,
    python, tags,
};

/// Name of the only template.
pub(super) const NAME: &str = "chat";
/// The engine's unit is a step or 64 bytes, so that a template makes 128 MiB at most in all.
const FUEL: u64 = 2_000_000;
/// Longest format of a time, in bytes.
const MAX_FORMAT: usize = 1024;

/// Parses a template. `now` is the time that it sees, or else that of its rendering.
pub(super) fn of(text: &str, now: Option<SystemTime>) -> Result<Environment<'static>, TemplateError> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(|error| TemplateError::syntax(&error))?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(print);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("string", |state: &mut State<'_, '_>, value: &Value| python::text(state, value));
    environment.add_filter("join", join);
    environment.add_filter("format", format);
    environment.add_test("iterable", is_iterable);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", move |state: &mut State<'_, '_>, format: &str| {
        if format.len() > MAX_FORMAT {
            let problem = format!("strftime_now: expected a format of at most {MAX_FORMAT} bytes");
            return Err(Error::new(ErrorKind::InvalidOperation, problem));
        }
        pay(state, format.len() * 16)?;
        Ok(strftime(format, now.unwrap_or_else(SystemTime::now)))
    });
    environment.remove_global("debug");
    environment
        .add_template_owned(NAME, tags::plain(text).into_owned())
        .map_err(|error| TemplateError::syntax(&error))?;
    Ok(environment)
}

/// Prints a value as Python does.
fn print(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.write_str(text)?,
        None => out.write_str(&python::text(state, value)?)?,
    }
    Ok(())
}

/// Does what Jinja's filter does, with every item paid for.
#[expect(clippy::needless_pass_by_value, reason = "the engine gives named arguments by value")]
fn join(
    state: &mut State<'_, '_>,
    items: &Value,
    separator: Option<Value>,
    attribute: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let separator = match options.get::<Option<Value>>("d")? {
        Some(named) => Some(named),
        None => separator,
    };
    let attribute = match options.get::<Option<Value>>("attribute")? {
        Some(named) => Some(named),
        None => attribute,
    };
    options.assert_all_used()?;
    let separator = separator.map(|separator| python::text(state, &separator)).transpose()?.unwrap_or_default();
    let Some(attribute) = attribute else { return methods::join(state, items, &separator) };
    let mut found = Vec::new();
    for item in items.try_iter()?.checked() {
        pay(state, 64)?;
        found.push(item?.get_item(&attribute)?);
    }
    methods::join(state, &Value::from(found), &separator)
}

/// Does what Jinja's filter does: printf.
#[expect(clippy::needless_pass_by_value, reason = "the engine gives arguments by value")]
fn format(state: &mut State<'_, '_>, text: &str, args: Rest<Value>) -> Result<String, Error> {
    methods::formatted(state, FormatStyle::Printf, text, &args)
}

/// Whether Python iterates over a value: the engine counts None, too.
fn is_iterable(value: &Value) -> bool {
    !matches!(value.kind(), ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::Plain)
}

fn raise_exception(state: &mut State<'_, '_>, message: &Value) -> Result<Value, Error> {
    let message = python::text(state, message)?;
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}
