//! Errors that all devices share, with their hints.

use longshore_manifest::weights::{CorruptError, WeightsError, plan::LoadPlanError};

use super::Input;
use crate::{advice::Advice, args::load::Load};

/// Hint for a glob that does not parse.
const QUOTE: &str = "quote the pattern: --select '*.self_attn.*'";

/// Adds advice to an error of opening weights.
pub(super) fn opening(error: WeightsError, args: &Load, input: &Input) -> anyhow::Error {
    match error {
        WeightsError::Plan(error) => selection(&error, args, input),
        WeightsError::Memory { .. } | WeightsError::Read { .. } => Advice::failure(crate::errors::text(&error)).into(),
        WeightsError::Cancelled => Advice::interrupted(error.to_string()).into(),
        error => error.into(),
    }
}

/// Adds advice to the error of a selection that cannot be met.
pub(super) fn selection(error: &LoadPlanError, args: &Load, input: &Input) -> anyhow::Error {
    match error {
        LoadPlanError::NoMatch { .. } => no_match(error, args, input),
        LoadPlanError::Glob { .. } => Advice::failure(error.to_string()).hint(QUOTE).into(),
        LoadPlanError::Convert { .. } => Advice::input(error.to_string())
            .hint("without --dtype it is loaded as it is; --select chooses the others")
            .into(),
        _ => Advice::input(error.to_string()).into(),
    }
}

/// No tensor was asked for that is there.
fn no_match(error: &LoadPlanError, args: &Load, input: &Input) -> anyhow::Error {
    let advice = Advice::input(format!("{}: {error}", input.name()));
    let advice = match args.select.iter().find_map(|pattern| pattern.split_once('/')) {
        // `show` puts the component before a name.
        Some((component, rest)) => advice.hint(format!(
            "names have no component here: --component {component} --select '{}'",
            if rest.is_empty() { "*" } else { rest }
        )),
        None => advice,
    };
    let list = match input {
        Input::Stored { name, .. } => format!("longshore show {name} --tensors lists the names"),
        Input::Files(paths) => {
            let path = paths.first().map_or_else(|| "PATH".to_owned(), |path| path.display().to_string());
            format!("longshore inspect {path} lists the names")
        }
    };
    advice.hint(list).into()
}

/// A blob is not what its digest says, or a table says something else of it.
pub(super) fn corrupt(error: CorruptError, name: &str) -> anyhow::Error {
    match error {
        CorruptError::Blob { .. } | CorruptError::Table { .. } => Advice::input(error.to_string())
            .hint(format!("longshore verify {name} --repair SOURCE builds it again from what was imported"))
            .into(),
        _ => error.into(),
    }
}
