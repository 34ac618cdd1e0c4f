//! A model to open: a stored one, or files outside of a store.

use std::path::{Path, PathBuf};

use longshore_manifest::{ModelName, Store, weights::Source};
use longshore_packer::{OpenPathError, Opened};

use crate::{args::target::Target, format::size, printer::Printer, progress::Bar};

/// A model to open.
pub(super) enum Input {
    Stored { store: Store, name: ModelName },
    Files(Vec<PathBuf>),
}

impl Input {
    /// The model of a name, or of a path. `store` opens the store where one is needed.
    pub(super) fn of(target: &Target, store: impl FnOnce() -> anyhow::Result<Store>) -> anyhow::Result<Self> {
        Ok(match target {
            Target::Name(name) => Self::Stored { store: store()?, name: name.clone() },
            Target::Path(path) => Self::Files(vec![path.clone()]),
        })
    }

    /// Opens the source and does something with it. For a stored model it is tried again where another process has replaced the
    /// model meanwhile.
    pub(super) fn with_source<T>(
        &self,
        printer: &Printer,
        mut work: impl FnMut(&Source) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        match self {
            Self::Stored { store, name } => store.with_model(name, |model| work(&Source::of_model(store, &model)?)),
            Self::Files(paths) => match &paths[..] {
                [path] => work(&open(path, printer)?),
                paths => work(&Source::open_files(paths)?),
            },
        }
    }

    /// The name of the model, or the paths.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stored { name, .. } => name.to_string(),
            Self::Files(paths) => match &paths[..] {
                [] => String::new(),
                [path] => path.display().to_string(),
                [path, rest @ ..] => format!("{} and {} more", path.display(), rest.len()),
            },
        }
    }

    /// Says what was not recognised or had to be made, once.
    pub(super) fn notes(source: &Source, printer: &Printer) {
        for note in source.notes() {
            printer.note(note);
        }
    }
}

/// Opens a directory or a file. Its notes say what an import would warn of, and how much of a GGUF file is no range of it.
fn open(path: &Path, printer: &Printer) -> anyhow::Result<Source> {
    let opened = longshore_packer::open(path, &Bar::new(printer)).map_err(|error| match error {
        OpenPathError::Weights(error) => anyhow::Error::new(error),
        OpenPathError::Source(error) => error.into(),
        OpenPathError::Plan(error) => error.into(),
        error => error.into(),
    });
    let Opened { weights, made_bytes, warnings, .. } = opened?;
    let made = (made_bytes > 0)
        .then(|| format!("{} of tensors are made in memory: the files have them otherwise", size(made_bytes)));
    Ok(warnings.into_iter().chain(made).fold(weights, Source::with_note))
}
