//! The two documents of the wire form: the artifact's manifest, and the index.

use longshore_manifest::Digest;
use serde::{Deserialize, Serialize};

use super::{CHUNK, LayerKind, WireLayout};

/// Largest artifact manifest, in bytes: what registries take.
pub(crate) const MAX_ARTIFACT: u64 = 4 << 20;
/// Largest index, in bytes.
pub(crate) const MAX_INDEX: u64 = 64 << 20;

/// Media types of the wire form.
pub(crate) mod media_type {
    pub(crate) const ARTIFACT: &str = "application/vnd.oci.image.manifest.v1+json";
    pub(crate) const KIND: &str = "application/vnd.longshore.model.v1+json";
    pub(crate) const INDEX: &str = "application/vnd.longshore.model.index.v1+json";
    pub(crate) const MANIFEST: &str = "application/vnd.longshore.model.manifest.v1+json";
    pub(crate) const BLOB: &str = "application/vnd.longshore.model.blob.v1";
    pub(crate) const PACK: &str = "application/vnd.longshore.model.pack.v1";
    pub(crate) const PART: &str = "application/vnd.longshore.model.part.v1";
}

/// The artifact's manifest, an OCI image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Artifact {
    pub(crate) schema_version: u32,
    #[serde(default)]
    pub(crate) media_type: String,
    #[serde(default, rename = "artifactType")]
    pub(crate) kind: String,
    pub(crate) config: Layer,
    pub(crate) layers: Vec<Layer>,
}

/// One entry of the artifact's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Layer {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// The index: where each blob lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Index {
    pub(crate) version: u32,
    /// One entry for each distinct blob.
    pub(crate) blobs: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Layer, as an index of the artifact's layers; first byte there; number of bytes.
    pub(crate) at: Vec<(usize, u64, u64)>,
    /// Digests of the blob's chunks, for a blob of more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) chunks: Vec<Digest>,
}

impl Index {
    /// Makes the index of a layout. `chunks` has the digests of the chunks of each blob.
    pub(crate) fn new(layout: &WireLayout, chunks: &[Vec<Digest>]) -> Self {
        let mut blobs: Vec<Entry> = layout
            .blobs
            .iter()
            .zip(chunks)
            .map(|(blob, chunks)| Entry {
                digest: blob.digest,
                size: blob.size,
                at: Vec::new(),
                chunks: chunks.clone(),
            })
            .collect();
        for (number, layer) in layout.layers.iter().enumerate() {
            let mut start = 0;
            for piece in &layer.pieces {
                // Layer 0 is the stored manifest.
                blobs[piece.blob].at.push((number + 1, start, piece.len));
                start += piece.len;
            }
        }
        Self { version: 1, blobs }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers serialize")
    }
}

impl Artifact {
    /// Makes the artifact's manifest. `digests` are those of the layout's layers.
    pub(crate) fn new(index: &[u8], document: &[u8], layout: &WireLayout, digests: &[Digest]) -> Self {
        let of = |media_type: &str, bytes: &[u8]| Layer {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        let layers = layout.layers.iter().zip(digests).map(|(layer, digest)| {
            let media_type = match layer.kind {
                LayerKind::Blob => media_type::BLOB,
                LayerKind::Pack => media_type::PACK,
                LayerKind::Part => media_type::PART,
            };
            Layer { media_type: media_type.to_owned(), digest: *digest, size: layer.size }
        });
        Self {
            schema_version: 2,
            media_type: media_type::ARTIFACT.to_owned(),
            kind: media_type::KIND.to_owned(),
            config: of(media_type::INDEX, index),
            layers: std::iter::once(of(media_type::MANIFEST, document)).chain(layers).collect(),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers serialize")
    }
}

/// Number of chunk digests of a blob.
pub(crate) fn chunk_count(size: u64) -> u64 {
    if size > CHUNK { size.div_ceil(CHUNK) } else { 0 }
}
