//! Parses the action of a rule.

use super::super::rule::Action;
use crate::Scheme;

const EXPECTED: &str = "\"keep\", \"request\", \"eight-bit\", or a type: \"int2\" … \"int8\", \"int4-g32\" and so on, \
                        \"nvfp4\", \"mxfp4\", \"mxfp8\"";

/// Parses an action. Aliases of types are refused: `fp8` means int8, and a rule should say int8.
pub(super) fn read(text: &str) -> Result<Action, String> {
    match text {
        "keep" => return Ok(Action::Keep),
        "request" => return Ok(Action::Request),
        "eight-bit" => return Ok(Action::EightBit),
        _ => {}
    }
    let scheme = scheme(text).ok_or(EXPECTED)?;
    // An integer type without a group takes the group of the request.
    let is_bare = scheme.is_affine() && text == scheme.quant_type();
    Ok(if is_bare { Action::Affine(scheme.bits()) } else { Action::Scheme(scheme) })
}

/// Parses a type without a group. It stands for the type in any group.
pub(super) fn request(text: &str) -> Result<Scheme, String> {
    scheme(text)
        .filter(|scheme| text == scheme.quant_type())
        .ok_or_else(|| "a type without a group: \"int2\" … \"int8\", \"nvfp4\", \"mxfp4\" or \"mxfp8\"".into())
}

/// Parses a scheme under its canonical name, with or without a group.
fn scheme(text: &str) -> Option<Scheme> {
    let scheme: Scheme = text.parse().ok()?;
    let rest = text.strip_prefix(scheme.quant_type())?;
    (rest.is_empty() || rest == format!("-g{}", scheme.group_size())).then_some(scheme)
}
