//! Names and the models behind them: read and copy.

use std::{
    collections::HashMap,
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

/// The largest manifest that is read, in bytes: room for hundreds of thousands of layers.
pub(super) const MAX_MANIFEST: u64 = 64 << 20;
/// The largest config document that is read, in bytes.
pub(super) const MAX_CONFIG: u64 = 512 << 20;

/// A stored model: its name and its two documents.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Model {
    /// The name that was asked for.
    pub name: ModelName,
    /// The digest of the manifest document: the model's identity.
    pub digest: Digest,
    /// Which blobs the model is made of.
    pub manifest: Manifest,
    /// What the model is and where its tensors lie.
    pub config: Config,
}

/// A model that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// No manifest of that name.
    #[error("no model {name} in {}", root.display())]
    NotFound {
        /// The name.
        name: Box<ModelName>,
        /// The store's directory.
        root: PathBuf,
    },
    /// The name was there, and was removed while its model was read.
    #[error("the model {name} in {} was removed while it was read", root.display())]
    Removed {
        /// The name.
        name: Box<ModelName>,
        /// The store's directory.
        root: PathBuf,
    },
    /// The manifest or config cannot be used.
    #[error("{} cannot be used", path.display())]
    Document {
        /// The document's file.
        path: PathBuf,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// A document is larger than any real one.
    #[error("{} has {size} bytes, expected at most {limit}", path.display())]
    TooLarge {
        /// The document's file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The largest size that is read, in bytes.
        limit: u64,
    },
    /// The config's blob has another size than the manifest says.
    #[error("{} has {found} bytes, expected the {expected} of its manifest", path.display())]
    Size {
        /// The blob's file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The size in the manifest, in bytes.
        expected: u64,
    },
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// A line of [`Store::list`].
#[derive(Debug)]
#[non_exhaustive]
pub struct ListEntry {
    /// The name.
    pub name: ModelName,
    /// When the manifest was written.
    pub modified: Option<SystemTime>,
    /// What is behind the name.
    pub summary: Result<Summary, ModelError>,
}

/// A model in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The digest of the manifest document.
    pub digest: Digest,
    /// The size of all its blobs in bytes, each counted once.
    pub size: u64,
    /// The size in bytes of those blobs that no other listed model has.
    pub unique_size: u64,
    /// `safetensors`, `gguf`, or empty.
    pub format: String,
    /// The type of its quantized tensors; empty where none is, or several are and none was asked for. Of a GGUF model what it
    /// says of itself, such as `Q4_K_M`.
    pub file_type: String,
    /// What the model is, as far as its config says.
    pub facts: Facts,
    /// How it was imported; `None` where another program did it.
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

    /// Reads the manifest of a model, and its digest. The config, which may be missing, is not looked at.
    ///
    /// # Errors
    ///
    /// As [`Self::model`].
    pub fn manifest(&self, name: &ModelName) -> Result<(Digest, Manifest), ModelError> {
        self.read_manifest(name)
    }

    pub(super) fn config(&self, manifest: &Manifest) -> Result<Config, ModelError> {
        let (path, bytes) = self.read_config(manifest)?;
        Config::parse(&bytes).map_err(|source| ModelError::Document { path, source })
    }

    /// The valid names in the store, sorted.
    ///
    /// # Errors
    ///
    /// [`FsError`] if a directory cannot be listed.
    pub fn names(&self) -> Result<Vec<ModelName>, FsError> {
        self.find_names(|_| Ok(()))
    }

    /// As [`Self::names`], for those who conclude from a name's absence: nothing may hide names. There must be a directory of
    /// manifests, and no link in the place of one may lead nowhere, as it does while another disk is not mounted.
    pub(super) fn all_names(&self) -> Result<Vec<ModelName>, FsError> {
        let root = self.manifests();
        // Every store has one before it has its first blob.
        if let Err(error) = root.metadata() {
            let is_empty = error.kind() == io::ErrorKind::NotFound && self.blob_files()?.is_empty();
            return if is_empty { Ok(Vec::new()) } else { Err(FsError::at("find the manifests in", &root)(error)) };
        }
        self.find_names(|link| link.metadata().map(drop).map_err(FsError::at("follow the link", link)))
    }

    /// Calls `dangling` for every link in the place of a directory that leads nowhere.
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

    /// Gives a model a second name; a name that exists is pointed at the model instead. The manifest is the same byte for
    /// byte, so that both names have one digest.
    ///
    /// # Errors
    ///
    /// [`CopyError`] if `from` cannot be read or `to` cannot be written.
    pub fn copy(&self, from: &ModelName, to: &ModelName) -> Result<Committed, CopyError> {
        self.check_own()?;
        // An unknown name is no reason to make a store.
        self.read_manifest(from)?;
        let ingest = self.begin(false)?;
        // What another process does to `from` meanwhile, the commit finds out: it makes sure of every blob.
        let bytes = self.read_manifest_bytes(from)?;
        let manifest = self.parse_manifest(from, &bytes)?;
        Ok(ingest.commit_document(to, &manifest, &bytes)?)
    }

    pub(super) fn read_manifest(&self, name: &ModelName) -> Result<(Digest, Manifest), ModelError> {
        let bytes = self.read_manifest_bytes(name)?;
        Ok((Digest::of(&bytes), self.parse_manifest(name, &bytes)?))
    }

    pub(super) fn read_manifest_bytes(&self, name: &ModelName) -> Result<Vec<u8>, ModelError> {
        let path = self.manifest_path(name);
        match read_document(path.clone(), MAX_MANIFEST) {
            // A link that leads nowhere is a manifest that cannot be read, not a name without one.
            Err(ModelError::Fs(error)) if is_absent(error.kind()) && !path.is_symlink() => {
                Err(ModelError::NotFound { name: Box::new(name.clone()), root: self.root().to_path_buf() })
            }
            other => other,
        }
    }

    fn parse_manifest(&self, name: &ModelName, bytes: &[u8]) -> Result<Manifest, ModelError> {
        Manifest::parse(bytes).map_err(|source| ModelError::Document { path: self.manifest_path(name), source })
    }

    fn read_config(&self, manifest: &Manifest) -> Result<(PathBuf, Vec<u8>), ModelError> {
        let path = self.blob_path(&manifest.config.digest);
        let bytes = read_document(path.clone(), MAX_CONFIG)?;
        if bytes.len() as u64 != manifest.config.size {
            return Err(ModelError::Size { path, found: bytes.len() as u64, expected: manifest.config.size });
        }
        Ok((path, bytes))
    }
}

/// A copy that failed.
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

/// A manifest's blobs with their sizes in bytes, each once.
pub(super) fn distinct_blobs(manifest: &Manifest) -> HashMap<Digest, u64> {
    manifest.blobs().map(|blob| (blob.digest, blob.size)).collect()
}

fn read_document(path: PathBuf, limit: u64) -> Result<Vec<u8>, ModelError> {
    fs::read_at_most(&path, limit)?.map_err(|size| ModelError::TooLarge { path, size, limit })
}

pub(super) fn is_absent(kind: io::ErrorKind) -> bool {
    // A part of the path may be a file, or the name a directory, where another program keeps other things.
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
}
