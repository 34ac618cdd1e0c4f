//! The input of a load: a stored model, or files outside of a store.

use std::path::{Path, PathBuf};

use longshore_manifest::{ModelName, Store, weights::Source};
use longshore_packer::{OpenPathError, Opened};

use crate::{
    advice::Advice,
    args::{Load, Target},
    door,
    format::size,
    printer::Printer,
    progress::Bar,
};

/// The input of a load.
pub(super) enum Input {
    Stored { store: Store, name: ModelName },
    Files(Vec<PathBuf>),
}

impl Input {
    /// The only name, or the paths. `store` opens the store where one is needed.
    pub(super) fn open(args: &Load, store: impl FnOnce() -> anyhow::Result<Store>) -> anyhow::Result<Self> {
        let mut paths = Vec::new();
        for target in &args.target {
            match target {
                Target::Name(name) if args.target.len() == 1 => {
                    return Ok(Self::Stored { store: store()?, name: name.clone() });
                }
                Target::Name(name) => {
                    return Err(Advice::failure(format!("{name} is a name in a store: only one model can be loaded"))
                        .hint("several arguments are safetensors files of one model; ./ before a name makes it a path")
                        .into());
                }
                Target::Path(path) => paths.push(path.clone()),
            }
        }
        let gguf = paths.iter().find(|path| path.extension().is_some_and(|end| end == "gguf"));
        if let (Some(gguf), true) = (gguf, paths.len() > 1) {
            return Err(Advice::failure(format!("{} is a GGUF file: expected it alone", door::path(gguf)))
                .hint("any file of a split set opens all of it")
                .into());
        }
        if let (Some(dir), true) = (paths.iter().find(|path| path.is_dir()), paths.len() > 1) {
            return Err(
                Advice::failure(format!("{} is a directory: expected it alone, or files", dir.display())).into()
            );
        }
        if args.verify {
            return Err(Advice::failure("--verify compares with digests, and files outside of a store have none")
                .hint("longshore import stores them, and checks what it writes")
                .into());
        }
        Ok(Self::Files(paths))
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
