//! Where a model's tensors lie: in a store, in the directory of a checkpoint, or in safetensors files.

mod codes;
mod error;
mod file;
mod files;
mod memory;
mod parts;
mod select;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use error::SourceError;
pub use file::Checked;
pub use memory::MemoryFile;
pub use parts::SourceFile;

use crate::{
    Digest, RelativePath, Store,
    document::{Changes, Rotated, TensorTable},
    fs::{all_entries, read_at_most},
    store::{Model, TableError},
};

/// Largest companion file that [`Source::companion`] reads, in bytes.
const MAX_COMPANION_BYTES: u64 = 1 << 30;

/// A model that can be opened: the places of its tensors, and its companion files. Making one reads headers only.
///
/// [`Source::of_model`] takes a stored model, [`Source::open_dir`] the directory of a checkpoint, [`Source::open_files`] some
/// safetensors files. Loaders take all three in the same way.
///
/// # Plain files
///
/// A directory's index decides which files hold the weights; without one their names do. Weights that MLX quantized are
/// tensors with scales and biases, as an import recognises them: by `config.json` and the shapes. Blobs of a store
/// are recognised by their metadata. Tensors of other codings are plain tensors, as they are stored, which [`Self::notes`] says.
///
/// Plain files have no digest. In the table, each has a stand-in made of its path, length, inode and times, so that a file that
/// changes gets another. Opening the tensors fails if a file is no longer the one whose header was read. Nobody may truncate or
/// change the files later: see the [risk of a mapped array](super::Weights#risk-of-a-mapped-array).
///
/// ```no_run
/// use longshore_manifest::{Weights, weights::{OpenOptions, Source}};
///
/// let source = Source::open("./Qwen3-4B")?;
/// let config = source.companion("config.json")?.ok_or("it has no configuration")?;
/// let weights = Weights::open_source(&source, &OpenOptions::default())?;
/// println!("{} tensors, {} bytes of configuration", weights.len(), config.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Source {
    name: String,
    table: Arc<TensorTable>,
    place: Place,
    notes: Vec<String>,
    changes: Option<Arc<Changes>>,
}

#[derive(Debug, Clone)]
enum Place {
    Store {
        blobs: PathBuf,
        files: BTreeMap<String, PathBuf>,
        /// Whether the table is the model's own, and not made from the headers.
        has_own_table: bool,
    },
    Files {
        files: Arc<BTreeMap<Digest, file::PlainFile>>,
        root: Option<PathBuf>,
    },
    Parts {
        files: Arc<BTreeMap<Digest, file::PlainFile>>,
        companions: Arc<BTreeMap<String, Vec<u8>>>,
    },
}

impl Source {
    /// Makes the source of a stored model.
    ///
    /// # Errors
    ///
    /// [`TableError`] for a model whose tensors cannot be read.
    pub fn of_model(store: &Store, model: &Model) -> Result<Self, TableError> {
        let files = model.manifest.files();
        let files = files.map(|(name, layer)| (name.as_str().to_owned(), store.blob_path(&layer.digest)));
        let has_own_table = model.config.longshore.is_some();
        let place = Place::Store { blobs: store.blobs(), files: files.collect(), has_own_table };
        let changes = model.config.changes.clone().map(Arc::new);
        Ok(Self { name: model.name.to_string(), table: store.table(model)?, place, notes: Vec::new(), changes })
    }

    /// Opens a path: a directory like [`Self::open_dir`], anything else like [`Self::open_files`].
    ///
    /// # Errors
    ///
    /// The errors of these functions.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SourceError> {
        let path = path.as_ref();
        if path.is_dir() { Self::open_dir(path) } else { Self::open_files([path]) }
    }

    /// Opens the directory of a checkpoint: the files of its index, or else those whose names are those of weights. In the
    /// directory of a diffusers pipeline, each component with weights is opened.
    ///
    /// # Errors
    ///
    /// [`SourceError`]: [`NoWeights`](SourceError::NoWeights) for a directory without weights,
    /// [`MissingShard`](SourceError::MissingShard) for an index or a set of numbered files of which one is missing,
    /// [`WrongShard`](SourceError::WrongShard) for a file that does not hold what the index says,
    /// [`Duplicate`](SourceError::Duplicate) for a tensor in two files, [`Contradiction`](SourceError::Contradiction) for a
    /// `config.json` that contradicts itself or the weights, and what is wrong with a file or a tensor.
    pub fn open_dir(dir: impl AsRef<Path>) -> Result<Self, SourceError> {
        files::open_dir(dir.as_ref())
    }

    /// Opens safetensors files, which hold the tensors of one model. No other file is read: codes of MLX are plain tensors here if only a
    /// `config.json` could tell what they are.
    ///
    /// # Errors
    ///
    /// [`SourceError`]: [`Duplicate`](SourceError::Duplicate) for a tensor in two files, and what is wrong with a file or a
    /// tensor.
    pub fn open_files<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Result<Self, SourceError> {
        let paths: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        files::open_files(&paths)
    }

    /// Makes a source of parts: its table, the files that the table names by [`SourceFile::digest`], and its companion files by name.
    /// The files may be of any format, and need not lie on a disk: see [`MemoryFile`]. Nobody compares the table with them, so
    /// each array of it has to be the range of the file that it says.
    #[must_use]
    pub fn of_parts(
        name: impl Into<String>,
        table: TensorTable,
        files: impl IntoIterator<Item = SourceFile>,
        companions: BTreeMap<String, Vec<u8>>,
    ) -> Self {
        let files = files.into_iter().map(|file| (file.digest(), file.file)).collect();
        let place = Place::Parts { files: Arc::new(files), companions: Arc::new(companions) };
        Self { name: name.into(), table: Arc::new(table), place, notes: Vec::new(), changes: None }
    }

    /// Adds a remark about the tensors, for [`Self::notes`].
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Returns the name of the model, or the path.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the table of all tensors.
    #[must_use]
    pub fn table(&self) -> &Arc<TensorTable> {
        &self.table
    }

    /// Whether the files are blobs of a store, whose digests are those of their bytes.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        matches!(self.place, Place::Store { .. })
    }

    /// Whether the headers of the files should be compared with the table, because the table was not made from them just now. The
    /// files are safetensors files then.
    #[must_use]
    pub fn is_unchecked(&self) -> bool {
        !matches!(self.place, Place::Store { has_own_table: false, .. } | Place::Parts { .. })
    }

    /// Returns remarks about the tensors: codings that were not recognised.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns what the import of a stored model did to its values. `None` if it did nothing, and for files outside of a store, which
    /// do not say.
    #[must_use]
    pub fn changes(&self) -> Option<&Changes> {
        self.changes.as_deref()
    }

    /// Returns the rotation that the import of a stored model gave its residual stream.
    #[must_use]
    pub fn rotation(&self) -> Option<Rotated> {
        self.changes()?.rotation
    }

    /// Returns the path of the file that the table calls `digest`.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        match &self.place {
            Place::Store { blobs, .. } => blobs.join(digest.file_name()),
            Place::Files { files, .. } | Place::Parts { files, .. } => {
                files.get(digest).map_or_else(PathBuf::new, |file| file.path.clone())
            }
        }
    }

    /// Returns the identity of a plain file when its header was read, to compare it with that of an open file. `None` for blobs of a
    /// store.
    #[must_use]
    pub fn checked(&self, digest: &Digest) -> Option<Checked> {
        match &self.place {
            Place::Store { .. } => None,
            Place::Files { files, .. } | Place::Parts { files, .. } => {
                files.get(digest).map(|file| Checked(file.identity))
            }
        }
    }

    /// Directory that is opened to open the files by name, or by path.
    pub(super) fn dir(&self) -> PathBuf {
        match &self.place {
            Place::Store { blobs, .. } => blobs.clone(),
            Place::Files { root, .. } => root.clone().unwrap_or_else(|| PathBuf::from("/")),
            Place::Parts { .. } => PathBuf::from("/"),
        }
    }

    /// Lists the names of the companion files, such as `config.json` and `tokenizer.json`, sorted. In a directory, these are all
    /// files at the top but the weights.
    ///
    /// # Errors
    ///
    /// [`SourceError::Read`] if the directory cannot be listed.
    pub fn companions(&self) -> Result<Vec<String>, SourceError> {
        match &self.place {
            Place::Store { files, .. } => Ok(files.keys().cloned().collect()),
            Place::Files { root: None, .. } => Ok(Vec::new()),
            Place::Parts { companions, .. } => Ok(companions.keys().cloned().collect()),
            Place::Files { root: Some(root), .. } => {
                let entries = all_entries(root)?.into_iter().filter(|(_, kind)| kind.is_file());
                let names = entries.filter_map(|(name, _)| name.into_string().ok());
                let is_weights = |name: &String| name.ends_with(".safetensors") || name.contains(".safetensors.index.");
                Ok(names.filter(|name| !is_weights(name)).collect())
            }
        }
    }

    /// Reads a companion file, such as `config.json` or `1_Pooling/config.json`. `None` if there is none of this name.
    ///
    /// # Errors
    ///
    /// [`SourceError::Read`] if it cannot be read, [`SourceError::Document`] if it has more than 1 GiB.
    pub fn companion(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        let path = match &self.place {
            Place::Parts { companions, .. } => return Ok(companions.get(name).cloned()),
            Place::Store { files, .. } => files.get(name).cloned(),
            Place::Files { root, .. } => {
                let relative = RelativePath::parse(name).ok();
                root.as_ref().zip(relative).map(|(root, name)| root.join(name.as_str())).filter(|path| path.exists())
            }
        };
        let Some(path) = path else { return Ok(None) };
        match read_at_most(&path, MAX_COMPANION_BYTES)? {
            Ok(bytes) => Ok(Some(bytes)),
            Err(size) => Err(SourceError::Document {
                path,
                problem: format!("it has {size} bytes, expected at most {MAX_COMPANION_BYTES}"),
            }),
        }
    }
}
