use std::{
    io,
    path::{Path, PathBuf},
};

use longshore_gguf::{HeaderError, MemberError, SplitError};
use longshore_manifest::Digest;
use longshore_model::ConfigError;
use longshore_st_format::{IndexError, OpenError};

use crate::io::{has_suffix, small::SmallFileError};

/// The largest number of paths that a message names one by one.
const LISTED: usize = 6;
/// Hint for a file that is not what the digest in its name says.
pub(crate) const DAMAGED: &str =
    "longshore verify --repair SOURCE --store DIR mends a store; a file of a hub cache has to be fetched again";

/// Reason why a path cannot be read as a source. Every message names the file. [`Self::hint`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// There is nothing at this path.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path is a file that is neither a safetensors file nor a GGUF file.
    #[error("{}: expected a directory, a .safetensors file or a .gguf file", path.display())]
    NotSafetensors {
        /// The path as it was given.
        path: PathBuf,
    },
    /// A file that has to be read is a pipe, a socket, a device or a directory. Such files are never opened.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// Path of the source as it was given, or of the file.
        path: PathBuf,
    },
    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file is longer than the limit for its kind.
    #[error("{} has {found} bytes: expected at most {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Length of the file in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file of the source is a symbolic link to a file that is no part of it.
    #[error("{} is a link out of the source, to {}", link.display(), target.display())]
    Link {
        /// The link.
        link: PathBuf,
        /// The file that it leads to.
        target: PathBuf,
    },
    /// The directory holds more files than the limit.
    #[error("{} holds more than {limit} files", dir.display())]
    TooManyFiles {
        /// The source's directory.
        dir: PathBuf,
        /// The largest number of files that are looked at or taken.
        limit: usize,
    },
    /// An adapter to merge cannot be read or merged.
    #[error("the adapter {} cannot be merged: {problem}", path.display())]
    AdapterFile {
        /// The directory of the adapter, or its GGUF file.
        path: PathBuf,
        /// The error in it.
        problem: String,
        /// Advice to the user.
        hint: Option<&'static str>,
    },
    /// The residual stream of the model cannot be rotated.
    #[error("{} cannot be rotated: {problem}", path.display())]
    Rotation {
        /// The source.
        path: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The directory is empty, apart from entries that are passed over.
    #[error("{} is empty", dir.display())]
    Empty {
        /// The source's directory.
        dir: PathBuf,
    },
    /// The directory has no `config.json`.
    #[error("config.json not found in {}", dir.display())]
    NoConfig {
        /// The source's directory.
        dir: PathBuf,
        /// Directories below `dir` that have a `config.json`, at most a few.
        below: Vec<PathBuf>,
    },
    /// `config.json` or `model_index.json` is not a valid configuration.
    #[error("{} is not a model's configuration", path.display())]
    Config {
        /// The document.
        path: PathBuf,
        /// The error in the document.
        source: ConfigError,
    },
    /// The shard index is not valid.
    #[error("{} is not a shard index", path.display())]
    Index {
        /// The document.
        path: PathBuf,
        /// The error in the document.
        source: IndexError,
    },
    /// A weight file could not be opened, or its header is not valid.
    #[error(transparent)]
    Weights {
        /// The error, which names the file.
        source: OpenError,
    },
    /// A shard that the index names cannot be opened.
    #[error(
        "source model is incomplete: {}, which {} names for tensor {tensor:?}, cannot be opened",
        shard.display(),
        index.display()
    )]
    MissingShard {
        /// The shard.
        shard: PathBuf,
        /// The shard index.
        index: PathBuf,
        /// A tensor that the index places in the shard.
        tensor: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The index names files that are not there, but other weight files of the directory hold all of its tensors.
    #[error(
        "{} belongs to other weight files: it names {}, which is not there, but {} hold every tensor that it lists",
        index.display(),
        missing.display(),
        list(found)
    )]
    StaleIndex {
        /// The shard index.
        index: PathBuf,
        /// The first file that the index names and that is not there.
        missing: PathBuf,
        /// The files that hold every tensor of the index.
        found: Vec<PathBuf>,
        /// The files that the index names and that are there.
        left: Vec<PathBuf>,
    },
    /// One of the numbered files of a checkpoint without an index is missing.
    #[error("source model is incomplete: {} not found, though {} is there", missing.display(), found.display())]
    MissingPart {
        /// The first file that is missing.
        missing: PathBuf,
        /// A numbered file that exists.
        found: PathBuf,
    },
    /// The index places a tensor in a shard that does not hold the tensor.
    #[error("source model is incomplete: tensor {tensor:?} is not in {}{}", shard.display(), elsewhere(found.as_deref()))]
    MissingTensor {
        /// The tensor.
        tensor: String,
        /// The shard in which the index places the tensor.
        shard: PathBuf,
        /// The shard that holds the tensor instead, if there is one.
        found: Option<PathBuf>,
    },
    /// Two files hold a tensor with the same name.
    #[error("duplicate tensor {tensor:?}: {} and {} both have it", first.display(), second.display())]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
        /// The first file.
        first: PathBuf,
        /// The second file.
        second: PathBuf,
    },
    /// The directory holds the weights of several models and no index.
    #[error("ambiguous source: {} and {} are not parts of one model, and no index tells which to take", first.display(), second.display())]
    Ambiguous {
        /// A file of one model.
        first: PathBuf,
        /// A file of another model.
        second: PathBuf,
    },
    /// The directory has a `config.json` but no model weights.
    #[error("no model weights found in {}", dir.display())]
    NoWeights {
        /// The source's directory.
        dir: PathBuf,
        /// `.safetensors` files in the directory whose names are not those of a model's weights, at most a few.
        others: Vec<PathBuf>,
        /// A weight file of another format, if there is one.
        foreign: Option<PathBuf>,
    },
    /// A component that the pipeline lists is missing.
    #[error("source model is incomplete: {} not found, but {} lists it as {class}", dir.display(), index.display())]
    MissingComponent {
        /// The directory where the component should be.
        dir: PathBuf,
        /// The pipeline's `model_index.json`.
        index: PathBuf,
        /// The library and class of the component.
        class: String,
    },
    /// A pipeline lists a component whose name cannot be that of a directory.
    #[error("{} lists a component {name:?}: expected letters, digits, '.', '_' and '-', at most 128, and a name that Windows can hold", index.display())]
    ComponentName {
        /// The pipeline's `model_index.json`.
        index: PathBuf,
        /// Name of the component.
        name: String,
    },
    /// The pipeline has no component with weights.
    #[error("{} lists no component that has weights", index.display())]
    NoComponents {
        /// The pipeline's `model_index.json`.
        index: PathBuf,
    },
    /// A model cannot be the draft model of another.
    #[error("{} cannot be the draft model: {problem}", root.display())]
    Draft {
        /// Directory or file of the draft.
        root: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The weight files declare no tensor.
    #[error("{} holds no tensor", path.display())]
    NoTensors {
        /// A weight file, or the source's directory where there are several.
        path: PathBuf,
    },
    /// The directory is a store, or a directory of manifests in a store, and does not say which model is meant.
    #[error("{} belongs to a store: expected the manifest of one of its models", path.display())]
    Store {
        /// The directory.
        path: PathBuf,
        /// Manifests of models in the directory, at most a few.
        models: Vec<PathBuf>,
    },
    /// A stored model cannot be read.
    #[error("cannot read the stored model {}", path.display())]
    Stored {
        /// The model's manifest.
        path: PathBuf,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A document of a stored model or of a hub cache is not what its digest says.
    #[error("{} is damaged: its digest is {found}, expected {expected}", path.display())]
    Damaged {
        /// The blob.
        path: PathBuf,
        /// The digest of its bytes.
        found: Digest,
        /// The digest that its store or cache promises.
        expected: Digest,
    },
    /// A GGUF file cannot be read, or does not belong to the other files of its set.
    #[error(transparent)]
    Gguf {
        /// The error, which names the file.
        #[from]
        source: SplitError,
    },
    /// A tensor of a GGUF file has a type that cannot be stored.
    #[error("tensor {tensor:?} of {} is {found}, which cannot be stored", path.display())]
    GgmlType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Name of its type.
        found: &'static str,
    },
    /// The weights are an adapter, which changes another model and is no model itself.
    #[error("{} is an adapter, not a model", path.display())]
    Adapter {
        /// The adapter's weights or configuration.
        path: PathBuf,
    },
}

impl SourceError {
    /// Advice to the user, if there is any for this error.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store { models, .. } if models.is_empty() => Some("it has no model".to_owned()),
            Self::Store { models, .. } => Some(format!("name a model by its manifest: {}", list(models))),
            Self::Stored { .. } => Some("longshore verify --store DIR says what is damaged in its store".to_owned()),
            Self::Damaged { .. } => Some(DAMAGED.to_owned()),
            Self::Link { link, .. } => Some(format!(
                "if it belongs to the model, put a copy in place of the link {}, or import with --follow-links",
                link.display()
            )),
            Self::Gguf { source } => of_gguf(source),
            Self::Adapter { path } => {
                let what = if has_suffix(&path.to_string_lossy(), ".gguf") { "FILE" } else { "DIR" };
                Some(format!(
                    "import its base model with --adapter {what}, which merges it; or store it with --adapter-of BASE"
                ))
            }
            Self::AdapterFile { hint, .. } => hint.map(str::to_owned),
            Self::Config { source: ConfigError::Contradiction { .. }, .. } => {
                Some("correct config.json, or leave the member that is wrong out of it".to_owned())
            }
            Self::NoConfig { below, .. } if !below.is_empty() => {
                Some(format!("these directories below it have one: {}", list(below)))
            }
            Self::NoConfig { .. } => Some("a config.json with nothing but \"architectures\" is enough".to_owned()),
            Self::NoWeights { others, .. } if !others.is_empty() => {
                Some(format!("a file can be imported by itself: {}", list(others)))
            }
            Self::NotSafetensors { path } | Self::NoWeights { foreign: Some(path), .. } => Some(conversion(path)),
            Self::StaleIndex { index, left, .. } => {
                let index = std::iter::once(index.clone());
                Some(format!(
                    "remove what belongs to other files: {}",
                    list(&index.chain(left.clone()).collect::<Vec<_>>())
                ))
            }
            Self::MissingShard { shard, source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some(format!("put {} beside the other files of the model", shard.display()))
            }
            Self::MissingPart { missing, .. } => {
                Some(format!("put {} beside the other files of the model", missing.display()))
            }
            Self::MissingComponent { dir, .. } => Some(format!("put the component into {}", dir.display())),
            Self::MissingTensor { .. } => {
                Some("the index and the weight files are not of the same model: take both from one place".to_owned())
            }
            Self::Ambiguous { .. } => Some("keep one of them, or import one file by its own path".to_owned()),
            _ => None,
        }
    }
}

impl SourceError {
    /// Refuses a document that was read from `path` if its digest is not the one that its source promises.
    pub(crate) fn unless_whole(path: &Path, bytes: &[u8], promised: Option<Digest>) -> Result<(), Self> {
        let Some(expected) = promised else { return Ok(()) };
        let found = Digest::of(bytes);
        if found == expected { Ok(()) } else { Err(Self::Damaged { path: path.to_owned(), found, expected }) }
    }

    /// Converts the error of a document at `path`, whose length may be at most `limit` bytes.
    pub(crate) fn of_small_file(error: SmallFileError, path: &Path, limit: u64) -> Self {
        let path = path.to_owned();
        match error {
            SmallFileError::Io(source) => Self::Io { path, source },
            SmallFileError::NotRegular => Self::NotRegular { path },
            SmallFileError::TooLarge { found } => Self::TooLarge { path, found, limit },
        }
    }
}

/// The paths, the middle of a long list left out.
fn list(paths: &[PathBuf]) -> String {
    let all: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    match &*all {
        [first, second, .., last] if all.len() > LISTED => format!("{first}, {second} … {last} ({} in all)", all.len()),
        _ => all.join(", "),
    }
}

fn elsewhere(found: Option<&Path>) -> String {
    found.map(|path| format!(", where the index places it, but in {}", path.display())).unwrap_or_default()
}

/// Hint for a GGUF file, or for one of a set.
fn of_gguf(error: &SplitError) -> Option<String> {
    let hint = match error {
        SplitError::Open(longshore_gguf::OpenError::Open { path, source })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            return Some(format!("put {} beside the other files of the model", path.display()));
        }
        SplitError::Open(longshore_gguf::OpenError::Header { source, .. }) => match source {
            HeaderError::Truncated { .. }
            | HeaderError::CountsBeyondFile { .. }
            | HeaderError::DataBeyondFile { .. }
            | HeaderError::PartialPadding { .. } => {
                "the file ends too early, as after a download that was cut off: download it again"
            }
            HeaderError::UnknownType { .. } => "import the model's safetensors checkpoint",
            _ => return None,
        },
        SplitError::Member { source: MemberError::FileName { .. } | MemberError::Alone { .. }, .. } => {
            "the files of a set are found by the names that they were published under: give them back to them"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Hint for weights in another format.
fn conversion(path: &Path) -> String {
    let name = path.to_string_lossy();
    if has_suffix(&name, ".json") {
        "import the directory that holds it".to_owned()
    } else {
        format!("{} is not read: convert it to safetensors, with save_pretrained for example", path.display())
    }
}
