//! The manifest: the list of a model's blobs.

use std::collections::HashSet;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Digest, RelativePath, store::Added};

/// Media types of documents and layers, from ollama's layout.
pub mod media_type {
    /// The manifest document.
    pub const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// The config document.
    pub const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// A safetensors blob with one tensor or one expert group.
    pub const TENSOR: &str = "application/vnd.ollama.image.tensor";
    /// A GGUF file. Models that ollama does not store as safetensors have one.
    pub const GGUF: &str = "application/vnd.ollama.image.model";
    /// A companion file that is JSON.
    pub const JSON: &str = "application/vnd.ollama.image.json";
    /// A companion file that is not JSON.
    pub const FILE: &str = "application/vnd.longshore.model.file";
}

/// Document that a name points to: the config and the layers of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Version of the document's form, always 2.
    pub schema_version: u32,
    /// Media type of the document, [`media_type::MANIFEST`].
    #[serde(default)]
    pub media_type: String,
    /// Blob of the config document.
    pub config: Descriptor,
    /// Blobs of the model, in the order in which they were planned.
    pub layers: Vec<Descriptor>,
}

/// One blob of a model: media type, digest, size, and name in the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Kind of content, one of [`media_type`].
    pub media_type: String,
    /// Digest of the blob.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Name of a tensor or a group of experts, after `<component>/` if the blob belongs to a pipeline component; or the
    /// path of a companion file. `None` for the config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A stored document that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// The text is not JSON of the expected shape.
    #[error("not a valid {what}")]
    Json {
        /// Kind of document: `manifest` or `config`.
        what: &'static str,
        /// Error of the JSON parser, with the position in the document.
        source: serde_json::Error,
    },
    /// The document has a version that this release does not support.
    #[error("the {what} has version {found}, expected {expected}")]
    Version {
        /// Document with the version: `manifest` or `tensor table`.
        what: &'static str,
        /// Version in the document.
        found: u32,
        /// Version that this release supports.
        expected: u32,
    },
    /// Two values of the document contradict each other.
    #[error("the {what} is inconsistent: {problem}")]
    Inconsistent {
        /// Kind of document.
        what: &'static str,
        /// Description of the contradiction.
        problem: String,
    },
}

impl Manifest {
    /// Makes a manifest from `config` and `layers`.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: media_type::MANIFEST.to_owned(), config, layers }
    }

    /// Parses a manifest document.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Json`] if the bytes are not a manifest or a digest is not valid, [`DocumentError::Version`] for
    /// a `schemaVersion` other than 2, [`DocumentError::Inconsistent`] if the name of a companion file is not a
    /// relative path, or if it equals or lies below the name of another companion file.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let manifest: Self = parse("manifest", bytes)?;
        if manifest.schema_version != 2 {
            return Err(DocumentError::Version { what: "manifest", found: manifest.schema_version, expected: 2 });
        }
        let files = manifest.layers.iter().filter(|layer| layer.is_file());
        match check_files(files.map(|layer| layer.name.as_deref().unwrap_or_default())) {
            Some(problem) => Err(DocumentError::Inconsistent { what: "manifest", problem }),
            None => Ok(manifest),
        }
    }

    /// Writes the document as one line of JSON and a newline.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_line(self)
    }

    /// Iterates over the config and the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// Iterates over the companion files with their paths.
    pub fn files(&self) -> impl Iterator<Item = (RelativePath, &Descriptor)> {
        self.layers.iter().filter(|layer| layer.is_file()).filter_map(|layer| {
            let name = layer.name.as_deref()?;
            Some((RelativePath::parse(name).ok()?, layer))
        })
    }
}

/// Returns the reason why companion files with these paths cannot lie in one directory, or `None` if they can.
pub(crate) fn check_files<'n>(files: impl Iterator<Item = &'n str>) -> Option<String> {
    let mut paths = HashSet::new();
    for name in files {
        if let Err(error) = RelativePath::parse(name) {
            return Some(error.to_string());
        }
        if !paths.insert(name) {
            return Some(format!("the file {name:?} is listed twice"));
        }
    }
    let mut above = paths.iter().flat_map(|path| path.match_indices('/').map(|(at, _)| (*path, &path[..at])));
    // Takes the least clash, so that the message does not depend on the order of iteration.
    let (path, file) = above.by_ref().filter(|(_, dir)| paths.contains(dir)).min()?;
    Some(format!("the file {path:?} lies below {file:?}, which is a file too"))
}

impl Descriptor {
    /// Describes a blob of tensors. Its name is that of the tensor or group, after `<component>/` if it belongs to a
    /// component.
    #[must_use]
    pub fn tensor(name: impl Into<String>, blob: Added) -> Self {
        Self::new(media_type::TENSOR, Some(name.into()), blob)
    }

    /// Describes a companion file that is JSON.
    #[must_use]
    pub fn json(path: &RelativePath, blob: Added) -> Self {
        Self::new(media_type::JSON, Some(path.as_str().to_owned()), blob)
    }

    /// Describes a companion file that is not JSON.
    #[must_use]
    pub fn file(path: &RelativePath, blob: Added) -> Self {
        Self::new(media_type::FILE, Some(path.as_str().to_owned()), blob)
    }

    /// Describes the config document.
    #[must_use]
    pub fn config(blob: Added) -> Self {
        Self::new(media_type::CONFIG, None, blob)
    }

    fn new(media_type: &str, name: Option<String>, Added { digest, size, .. }: Added) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, name }
    }

    /// Whether the blob is a companion file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.media_type.as_str(), media_type::JSON | media_type::FILE)
    }

    /// Whether the blob holds tensors.
    #[must_use]
    pub fn is_tensor(&self) -> bool {
        self.media_type == media_type::TENSOR
    }
}

pub(super) fn parse<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, DocumentError> {
    let parsed = match str::from_utf8(bytes) {
        // Checks UTF-8 once for the whole text, which is faster than string by string.
        Ok(text) => serde_json::from_str(text),
        // Parses again for an error that names the position.
        Err(_) => serde_json::from_slice(bytes),
    };
    parsed.map_err(|source| DocumentError::Json { what, source })
}

pub(super) fn to_line(document: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(document).expect("plain structs with text keys always serialize");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let blob = |text: &str| Added::new(Digest::of(text.as_bytes()), 7);
        let file = Descriptor::json(&RelativePath::parse("config.json").unwrap(), blob("config.json"));
        Manifest::new(Descriptor::config(blob("config")), vec![Descriptor::tensor("a.weight", blob("a.weight")), file])
    }

    #[test]
    fn round_trips() {
        let manifest = sample();
        assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
        assert_eq!(manifest.files().map(|(path, _)| path.to_string()).collect::<Vec<_>>(), ["config.json"]);
        assert_eq!(manifest.to_bytes().last(), Some(&b'\n'));
    }

    #[test]
    fn refuses_what_would_become_a_bad_path() {
        let text = String::from_utf8(sample().to_bytes()).unwrap();
        let climbing = text.replace("\"config.json\"", "\"../../config.json\"");
        assert!(matches!(Manifest::parse(climbing.as_bytes()), Err(DocumentError::Inconsistent { .. })));
        let digest = text.replace("sha256:", "sha256:../");
        assert!(matches!(Manifest::parse(digest.as_bytes()), Err(DocumentError::Json { .. })));
    }

    #[test]
    fn refuses_other_versions_and_garbage() {
        let text = String::from_utf8(sample().to_bytes()).unwrap().replace(":2,", ":1,");
        assert!(matches!(Manifest::parse(text.as_bytes()), Err(DocumentError::Version { found: 1, .. })));
        for bad in ["", "{}", "[]", "null", "{\"schemaVersion\":2}"] {
            assert!(matches!(Manifest::parse(bad.as_bytes()), Err(DocumentError::Json { .. })), "{bad}");
        }
    }
}
