//! Names and the models behind them: reading and copying.

use std::{
    collections::HashMap,
    fs::Metadata,
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{Committed, ForeignStore, IngestError, Store};
use crate::{
    Config, Digest, FsError, Manifest, ModelName,
    document::{DocumentError, Facts, Import},
    fs,
};

/// Largest manifest that is read, in bytes. It has room for hundreds of thousands of layers.
pub(super) const MAX_MANIFEST: u64 = 64 << 20;
/// Largest config document that is read, in bytes.
pub(super) const MAX_CONFIG: u64 = 512 << 20;

/// A stored model: its name and its two documents.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Model {
    /// Name under which the model was requested.
    pub name: ModelName,
    /// Digest of the manifest document. It identifies the model.
    pub digest: Digest,
    /// List of the model's blobs.
    pub manifest: Manifest,
    /// Facts about the model, and the places of its tensors.
    pub config: Config,
}

/// Reason why a model cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The store has no manifest of that name.
    #[error("no model {name} in {}", root.display())]
    NotFound {
        /// Requested name.
        name: Box<ModelName>,
        /// Directory of the store.
        root: PathBuf,
    },
    /// The model was removed while it was read.
    #[error("the model {name} in {} was removed while it was read", root.display())]
    Removed {
        /// Requested name.
        name: Box<ModelName>,
        /// Directory of the store.
        root: PathBuf,
    },
    /// The manifest or config cannot be used.
    #[error("{} cannot be used", path.display())]
    Document {
        /// Path of the document's file.
        path: PathBuf,
        /// Reason why the document cannot be used.
        source: DocumentError,
    },
    /// A document exceeds the size limit.
    #[error("{} has {size} bytes, expected at most {limit}", path.display())]
    TooLarge {
        /// Path of the document's file.
        path: PathBuf,
        /// Size of the document in bytes.
        size: u64,
        /// Size limit in bytes.
        limit: u64,
    },
    /// The config's blob differs in size from the manifest's entry.
    #[error("{} has {found} bytes, expected the {expected} of its manifest", path.display())]
    Size {
        /// Path of the blob's file.
        path: PathBuf,
        /// Size of the file in bytes.
        found: u64,
        /// Size in the manifest, in bytes.
        expected: u64,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// One entry of [`Store::list`].
#[derive(Debug)]
#[non_exhaustive]
pub struct ListEntry {
    /// Name of the model.
    pub name: ModelName,
    /// Time at which the manifest was written.
    pub modified: Option<SystemTime>,
    /// Summary of the model, or the error for a model that cannot be read.
    pub summary: Result<Summary, ModelError>,
}

/// Summary of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Digest of the manifest document.
    pub digest: Digest,
    /// Size of all blobs in bytes. Each blob counts once.
    pub size: u64,
    /// Size in bytes of the blobs that no other listed model has.
    pub unique_size: u64,
    /// Format of the weights: `safetensors`, `gguf`, or empty.
    pub format: String,
    /// Type of the quantized tensors. Empty if no tensor is quantized, or if there are several types and none was
    /// requested. For a GGUF model, the type that its config states, such as `Q4_K_M`.
    pub file_type: String,
    /// Facts about the model, as far as its config has them.
    pub facts: Facts,
    /// Record of the import. `None` if another program stored the model.
    pub import: Option<Import>,
}

impl Store {
    /// Reads the documents of a model.
    ///
    /// # Errors
    ///
    /// [`ModelError::NotFound`] for an unknown name; the other variants for documents that are damaged or missing.
    pub fn model(&self, name: &ModelName) -> Result<Model, ModelError> {
        let (digest, manifest) = self.read_manifest(name)?;
        let config = self.config(&manifest)?;
        Ok(Model { name: name.clone(), digest, manifest, config })
    }

    /// Reads the manifest of a model, and the manifest's digest. Does not read the config, which may be missing.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::model`].
    pub fn manifest(&self, name: &ModelName) -> Result<(Digest, Manifest), ModelError> {
        self.read_manifest(name)
    }

    /// Reads the manifest of a model as it is stored, byte for byte.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::model`].
    pub fn manifest_document(&self, name: &ModelName) -> Result<Vec<u8>, ModelError> {
        let bytes = self.read_manifest_bytes(name)?;
        self.parse_manifest(name, &bytes)?;
        Ok(bytes)
    }

    pub(super) fn config(&self, manifest: &Manifest) -> Result<Config, ModelError> {
        let (path, bytes) = self.read_config(manifest)?;
        Config::parse(&bytes).map_err(|source| ModelError::Document { path, source })
    }

    /// Lists the valid names in the store, sorted.
    ///
    /// # Errors
    ///
    /// [`FsError`] if a directory cannot be listed.
    pub fn names(&self) -> Result<Vec<ModelName>, FsError> {
        self.find_names(|_| Ok(()))
    }

    /// Lists the names like [`Self::names`], for callers that draw conclusions from the absence of a name. Fails if
    /// names may be hidden: there must be a directory of manifests, and no link in the place of a directory may lead
    /// nowhere, as a link to an unmounted disk does.
    pub(super) fn all_names(&self) -> Result<Vec<ModelName>, FsError> {
        let root = self.manifests();
        // Every store has a manifests directory before it has its first blob.
        if let Err(error) = root.metadata() {
            let is_empty = error.kind() == io::ErrorKind::NotFound && self.blob_files()?.is_empty();
            return if is_empty { Ok(Vec::new()) } else { Err(FsError::at("find the manifests in", &root)(error)) };
        }
        self.find_names(|link| link.metadata().map(drop).map_err(FsError::at("follow the link", link)))
    }

    /// Lists the names, and calls `dangling` for every link in the place of a directory that leads nowhere.
    fn find_names(&self, dangling: impl Fn(&Path) -> Result<(), FsError>) -> Result<Vec<ModelName>, FsError> {
        let directories = |path: &Path| -> Result<Vec<String>, FsError> {
            let mut found = Vec::new();
            for (name, kind) in fs::entries(path)? {
                if kind.is_dir() {
                    found.push(name);
                } else if kind.is_symlink() {
                    dangling(&path.join(name))?;
                }
            }
            Ok(found)
        };
        let mut names = Vec::new();
        let root = self.manifests();
        for host in directories(&root)? {
            for namespace in directories(&root.join(&host))? {
                let models = root.join(&host).join(&namespace);
                for model in directories(&models)? {
                    let tags = fs::entries(&models.join(&model))?;
                    let files = tags.iter().filter(|(_, kind)| !kind.is_dir());
                    names.extend(files.filter_map(|(tag, _)| ModelName::from_parts(&host, &namespace, &model, tag)));
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Gives a model a second name. If the name `to` exists, it is pointed at the model. The manifest is copied byte
    /// for byte, so that both names have one digest.
    ///
    /// # Errors
    ///
    /// [`CopyError`] if `from` cannot be read or `to` cannot be written.
    pub fn copy(&self, from: &ModelName, to: &ModelName) -> Result<Committed, CopyError> {
        self.check_own()?;
        // Does not create a store if the name is unknown.
        self.read_manifest(from)?;
        let ingest = self.begin(false)?;
        // If another process changes `from` in the meantime, the commit finds out, because it checks every blob.
        let bytes = self.read_manifest_bytes(from)?;
        let manifest = self.parse_manifest(from, &bytes)?;
        Ok(ingest.commit_document(to, &manifest, &bytes)?)
    }

    pub(super) fn read_manifest(&self, name: &ModelName) -> Result<(Digest, Manifest), ModelError> {
        let bytes = self.read_manifest_bytes(name)?;
        Ok((Digest::of(&bytes), self.parse_manifest(name, &bytes)?))
    }

    pub(super) fn read_manifest_bytes(&self, name: &ModelName) -> Result<Vec<u8>, ModelError> {
        let mut bytes = Vec::new();
        self.read_manifest_into(name, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a manifest into `bytes`, in place of what is there. Returns what the system says of its file.
    pub(super) fn read_manifest_into(&self, name: &ModelName, bytes: &mut Vec<u8>) -> Result<Metadata, ModelError> {
        let path = self.manifest_path(name);
        match fs::read_into(&path, MAX_MANIFEST, bytes) {
            Ok(read) => read.map_err(|size| ModelError::TooLarge { path, size, limit: MAX_MANIFEST }),
            // A link that leads nowhere is a manifest that cannot be read, not an unknown name.
            Err(error) if is_absent(error.kind()) && !path.is_symlink() => {
                Err(ModelError::NotFound { name: Box::new(name.clone()), root: self.root().to_path_buf() })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn parse_manifest(&self, name: &ModelName, bytes: &[u8]) -> Result<Manifest, ModelError> {
        Manifest::parse(bytes).map_err(|source| ModelError::Document { path: self.manifest_path(name), source })
    }

    fn read_config(&self, manifest: &Manifest) -> Result<(PathBuf, Vec<u8>), ModelError> {
        let path = self.blob_path(&manifest.config.digest);
        let bytes = fs::read_at_most(&path, MAX_CONFIG)?.map_err(|size| ModelError::TooLarge {
            path: path.clone(),
            size,
            limit: MAX_CONFIG,
        })?;
        if bytes.len() as u64 != manifest.config.size {
            return Err(ModelError::Size { path, found: bytes.len() as u64, expected: manifest.config.size });
        }
        Ok((path, bytes))
    }
}

/// Reason why a copy failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The store belongs to another program.
    #[error(transparent)]
    Foreign(#[from] ForeignStore),
    /// The model to copy cannot be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The new name cannot be written.
    #[error(transparent)]
    Ingest(#[from] IngestError),
}

/// Returns the blobs of a manifest with their sizes in bytes, each once.
pub(super) fn distinct_blobs(manifest: &Manifest) -> HashMap<Digest, u64> {
    manifest.blobs().map(|blob| (blob.digest, blob.size)).collect()
}

pub(super) fn is_absent(kind: io::ErrorKind) -> bool {
    // A parent in the path may be a file, or the name may be a directory, where another program keeps other files.
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
}
