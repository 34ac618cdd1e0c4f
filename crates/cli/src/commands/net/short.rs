//! The file of short names.

use std::{collections::BTreeMap, fs, io};

use anyhow::Context as _;

use super::client::settings;
use crate::{advice::Advice, door};

/// Longest file that is read, in bytes.
const MAX: u64 = 1 << 20;

/// What a short name stands for.
pub(super) fn find(name: &str) -> anyhow::Result<Option<String>> {
    Ok(read()?.remove(name))
}

/// The file.
pub(super) fn path() -> anyhow::Result<std::path::PathBuf> {
    Ok(settings()?.join("aliases.toml"))
}

/// All short names.
pub(super) fn read() -> anyhow::Result<BTreeMap<String, String>> {
    let path = path()?;
    let size = path.metadata().map_or(0, |found| found.len());
    if size > MAX {
        return Err(Advice::input(format!("{} has {size} bytes, expected at most {MAX}", door::path(&path))).into());
    }
    match fs::read_to_string(&path) {
        Ok(text) => {
            toml::from_str(&text).with_context(|| format!("{} is not a list of short names", door::path(&path)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", door::path(&path))),
    }
}

/// Replaces the file.
pub(super) fn write(aliases: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let path = path()?;
    let lines = aliases.iter().map(|(name, reference)| format!("{} = {}\n", quoted(name), quoted(reference)));
    let text = lines.collect::<Vec<_>>().concat();
    let written = fs::create_dir_all(path.parent().unwrap_or(&path)).and_then(|()| {
        let temporary = path.with_extension(format!("toml.{}", std::process::id()));
        fs::write(&temporary, text)?;
        fs::rename(&temporary, &path)
    });
    written.with_context(|| format!("cannot write {}", door::path(&path)))
}

/// A basic string of TOML. Names and references have no control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
