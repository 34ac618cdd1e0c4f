//! Checks of documents from elsewhere, before the first blob is asked for.

use std::collections::HashMap;

use longshore_manifest::{Digest, Manifest, document::DocumentError};

use super::{
    CHUNK,
    document::{Artifact, Entry, Index, chunk_count, media_type},
};

/// Most layers of an artifact.
const MAX_LAYERS: usize = 10_000;
/// Longest blob of a registry, in bytes. All layers together stay below what a number of 64 bits holds.
const MAX_SIZE: u64 = 1 << 48;

/// Reason why an artifact is not a model in this form.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It is an artifact or an image of another kind.
    #[error("it is {found:?}, expected {expected:?}", expected = media_type::KIND)]
    Kind {
        /// What it says to be.
        found: String,
    },
    /// A document is not JSON of the form that it has to have.
    #[error("its {what} is not valid")]
    Json {
        /// Which document.
        what: &'static str,
        /// Error of the parser, with the position.
        source: serde_json::Error,
    },
    /// A later release wrote it.
    #[error("its index has version {found}, expected 1")]
    Version {
        /// The version.
        found: u32,
    },
    /// The stored manifest that it holds cannot be used.
    #[error(transparent)]
    Manifest(#[from] DocumentError),
    /// Its documents contradict each other.
    #[error("its index is inconsistent: {problem}")]
    Inconsistent {
        /// The contradiction.
        problem: String,
    },
}

/// Checked documents.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) artifact: Artifact,
    pub(crate) blobs: Vec<Entry>,
}

impl Artifact {
    /// Parses the artifact's manifest, and checks that it is one of ours.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Kind {
            #[serde(default)]
            media_type: String,
            #[serde(default)]
            artifact_type: String,
        }
        let json = |source| WireError::Json { what: "manifest", source };
        let Kind { media_type, artifact_type } = serde_json::from_slice(bytes).map_err(json)?;
        if artifact_type != media_type::KIND {
            let found = if artifact_type.is_empty() { media_type } else { artifact_type };
            return Err(WireError::Kind { found: found.chars().take(100).collect() });
        }
        let artifact: Self = serde_json::from_slice(bytes).map_err(json)?;
        if artifact.config.media_type != media_type::INDEX {
            return Err(wrong("the config is not an index"));
        }
        if artifact.layers.len() > MAX_LAYERS {
            return Err(wrong(format!("it has {} layers, expected at most {MAX_LAYERS}", artifact.layers.len())));
        }
        if let Some(long) = std::iter::once(&artifact.config).chain(&artifact.layers).find(|blob| blob.size > MAX_SIZE)
        {
            return Err(wrong(format!("{} has {} bytes, expected at most {MAX_SIZE}", long.digest, long.size)));
        }
        match artifact.layers.first() {
            Some(layer) if layer.media_type == media_type::MANIFEST => Ok(artifact),
            _ => Err(wrong("the first layer is not the stored manifest")),
        }
    }
}

fn wrong(problem: impl Into<String>) -> WireError {
    WireError::Inconsistent { problem: problem.into() }
}

/// Checks the index and the stored manifest against each other and against the layers.
pub(crate) fn check(artifact: Artifact, index: &[u8], document: &[u8]) -> Result<Checked, WireError> {
    let index: Index = serde_json::from_slice(index).map_err(|source| WireError::Json { what: "index", source })?;
    if index.version != 1 {
        return Err(WireError::Version { found: index.version });
    }
    let manifest = Manifest::parse(document)?;
    let mut wanted: HashMap<Digest, u64> = HashMap::new();
    for blob in manifest.blobs() {
        if wanted.insert(blob.digest, blob.size).is_some_and(|size| size != blob.size) {
            return Err(wrong(format!("{} has two sizes", blob.digest)));
        }
    }
    let mut used: Vec<Vec<(u64, u64)>> = vec![Vec::new(); artifact.layers.len()];
    for blob in &index.blobs {
        if wanted.remove(&blob.digest) != Some(blob.size) {
            return Err(wrong(format!(
                "{} ({} bytes) is not a blob of the model, or is listed twice",
                blob.digest, blob.size
            )));
        }
        let mut sum = 0_u64;
        for &(layer, start, len) in &blob.at {
            let size = artifact.layers.get(layer).filter(|_| layer > 0).map(|layer| layer.size);
            let end = start.checked_add(len).filter(|end| len > 0 && size.is_some_and(|size| *end <= size));
            let Some(end) = end else {
                return Err(wrong(format!("{} lies at {start} + {len} in layer {layer}, outside of it", blob.digest)));
            };
            sum = sum.checked_add(len).ok_or_else(|| wrong(format!("{} has too many pieces", blob.digest)))?;
            used[layer].push((start, end));
        }
        if sum != blob.size {
            return Err(wrong(format!("{} has {} bytes, and its pieces {sum}", blob.digest, blob.size)));
        }
        if !blob.chunks.is_empty() && blob.chunks.len() as u64 != chunk_count(blob.size) {
            let expected = chunk_count(blob.size);
            return Err(wrong(format!(
                "{} has {} digests of {CHUNK} bytes, expected {expected}",
                blob.digest,
                blob.chunks.len()
            )));
        }
    }
    if let Some(digest) = wanted.keys().min() {
        return Err(wrong(format!("{digest} is a blob of the model and lies in no layer")));
    }
    for (number, ranges) in used.iter_mut().enumerate().skip(1) {
        ranges.sort_unstable();
        let mut at = 0;
        for &(start, end) in ranges.iter() {
            if start != at {
                return Err(wrong(format!("layer {number} has bytes at {} of no blob, or of two", at.min(start))));
            }
            at = end;
        }
        if at != artifact.layers[number].size {
            return Err(wrong(format!("layer {number} has bytes at {at} of no blob")));
        }
    }
    Ok(Checked { artifact, blobs: index.blobs })
}
