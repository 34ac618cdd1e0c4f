//! The manifest: which blobs a model is made of.

use std::collections::HashSet;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Digest, RelativePath, store::Added};

/// Media types of the documents and layers, from ollama's layout.
pub mod media_type {
    /// The manifest document.
    pub const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// The config document.
    pub const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// A safetensors blob of one tensor or one expert group.
    pub const TENSOR: &str = "application/vnd.ollama.image.tensor";
    /// A GGUF file, which ollama's other models are.
    pub const GGUF: &str = "application/vnd.ollama.image.model";
    /// A companion file that is JSON.
    pub const JSON: &str = "application/vnd.ollama.image.json";
    /// A companion file that is not JSON.
    pub const FILE: &str = "application/vnd.longshore.model.file";
}

/// The document that a name points to: the config and the layers of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`media_type::MANIFEST`].
    #[serde(default)]
    pub media_type: String,
    /// The config document's blob.
    pub config: Descriptor,
    /// The blobs of the model, in the order in which they were planned.
    pub layers: Vec<Descriptor>,
}

/// One blob of a model: what it is, its digest, its size and its name in the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Kind of the blob's contents, see [`media_type`].
    pub media_type: String,
    /// The blob.
    pub digest: Digest,
    /// The blob's size in bytes.
    pub size: u64,
    /// A tensor's or group's name, after `<component>/` where the blob belongs to a pipeline component; or a companion file's
    /// path; absent for the config.
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
        /// `manifest` or `config`.
        what: &'static str,
        /// Where and why parsing stopped.
        source: serde_json::Error,
    },
    /// A version that this release does not know.
    #[error("the {what} has version {found}, expected {expected}")]
    Version {
        /// `manifest` or `tensor table`.
        what: &'static str,
        /// The version in the document.
        found: u32,
        /// The version that can be read.
        expected: u32,
    },
    /// A value that contradicts another.
    #[error("the {what} is inconsistent: {problem}")]
    Inconsistent {
        /// The document.
        what: &'static str,
        /// The values that contradict each other.
        problem: String,
    },
}

impl Manifest {
    /// A manifest of `config` and `layers`.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: media_type::MANIFEST.to_owned(), config, layers }
    }

    /// Parses a manifest document.
    ///
    /// # Errors
    ///
    /// [`DocumentError::Json`] for anything but a manifest (a digest that is not one included), [`DocumentError::Version`] for a
    /// `schemaVersion` other than 2, [`DocumentError::Inconsistent`] for a companion file whose name is no relative
    /// path, or is the name of another one or below it.
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

    /// The document: one line of JSON and a newline.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_line(self)
    }

    /// The config and the layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// The companion files, with their paths.
    pub fn files(&self) -> impl Iterator<Item = (RelativePath, &Descriptor)> {
        self.layers.iter().filter(|layer| layer.is_file()).filter_map(|layer| {
            let name = layer.name.as_deref()?;
            Some((RelativePath::parse(name).ok()?, layer))
        })
    }
}

/// Why companion files with these paths cannot all lie in one directory.
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
    // The least of all, so that the message is the same each time.
    let (path, file) = above.by_ref().filter(|(_, dir)| paths.contains(dir)).min()?;
    Some(format!("the file {path:?} lies below {file:?}, which is a file too"))
}

impl Descriptor {
    /// A blob of tensors, called after its tensor or group, behind `<component>/` where it belongs to one.
    #[must_use]
    pub fn tensor(name: impl Into<String>, blob: Added) -> Self {
        Self::new(media_type::TENSOR, Some(name.into()), blob)
    }

    /// A companion file that is JSON.
    #[must_use]
    pub fn json(path: &RelativePath, blob: Added) -> Self {
        Self::new(media_type::JSON, Some(path.as_str().to_owned()), blob)
    }

    /// A companion file that is not JSON.
    #[must_use]
    pub fn file(path: &RelativePath, blob: Added) -> Self {
        Self::new(media_type::FILE, Some(path.as_str().to_owned()), blob)
    }

    /// The config document.
    #[must_use]
    pub fn config(blob: Added) -> Self {
        Self::new(media_type::CONFIG, None, blob)
    }

    fn new(media_type: &str, name: Option<String>, Added { digest, size, .. }: Added) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, name }
    }

    /// Whether the blob is a companion file rather than tensors.
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
        // Checked once for the whole text rather than string by string.
        Ok(text) => serde_json::from_str(text),
        // For the error that says where.
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
        let blob = |text: &str| Added { digest: Digest::of(text.as_bytes()), size: 7, reused: false };
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
