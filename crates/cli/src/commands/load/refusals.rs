//! Errors that all devices share, with their hints.

use globset::{Glob, GlobSet, GlobSetBuilder};
use longshore_manifest::{ModelName, weights::CorruptError};

use crate::{advice::Advice, args::Load};

/// Hint for a glob that does not parse.
pub(super) const QUOTE: &str = "quote the pattern: --select '*.self_attn.*'";

/// The patterns of `--select`, or which of them is none.
pub(super) fn globs(patterns: &[String]) -> anyhow::Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = Glob::new(pattern).map_err(|error| Advice::failure(error.to_string()).hint(QUOTE))?;
        set.add(glob);
    }
    Ok(set.build()?)
}

/// No tensor was asked for that is there.
pub(super) fn no_match(args: &Load) -> anyhow::Error {
    let advice = Advice::input(format!("no tensor of {} matches", args.name));
    let advice = match args.select.iter().find_map(|pattern| pattern.split_once('/')) {
        // `show` puts the component before a name.
        Some((component, rest)) => advice.hint(format!(
            "names have no component here: --component {component} --select '{}'",
            if rest.is_empty() { "*" } else { rest }
        )),
        None => advice,
    };
    advice.hint(format!("longshore show {} --tensors lists the names", args.name)).into()
}

/// A blob is not what its digest says.
pub(super) fn corrupt(error: CorruptError, name: &ModelName) -> anyhow::Error {
    match error {
        CorruptError::Blob { .. } => Advice::input(error.to_string())
            .hint(format!("longshore verify {name} --repair SOURCE builds it again from what was imported"))
            .into(),
        _ => error.into(),
    }
}
