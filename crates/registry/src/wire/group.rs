//! Groups of blobs that are likely to change together: those of one decoder layer.

use std::collections::{HashMap, HashSet};

use longshore_manifest::{Descriptor, Manifest};

/// Most decoder layers that have wire layers of their own.
pub(super) const MAX_GROUPS: usize = 382;

/// The distinct blobs of a model, and the groups that they are in.
pub(super) struct Groups<'m> {
    /// Each blob once, in the order of the manifest, the config first.
    pub(super) blobs: Vec<&'m Descriptor>,
    /// Indices of blobs. The last group is that of the blobs without a decoder layer, and may be empty.
    pub(super) groups: Vec<Vec<usize>>,
}

impl<'m> Groups<'m> {
    pub(super) fn of(manifest: &'m Manifest) -> Self {
        let mut blobs: Vec<&Descriptor> = Vec::new();
        let mut seen = HashSet::new();
        let mut keys: HashMap<&str, usize> = HashMap::new();
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut others = Vec::new();
        for blob in manifest.blobs() {
            if !seen.insert(blob.digest) {
                continue;
            }
            let at = blobs.len();
            blobs.push(blob);
            match blob.is_tensor().then(|| blob.name.as_deref().and_then(key)).flatten() {
                None => others.push(at),
                Some(key) => {
                    let group = *keys.entry(key).or_insert_with(|| {
                        groups.push(Vec::new());
                        groups.len() - 1
                    });
                    groups[group].push(at);
                }
            }
        }
        // Of more decoder layers than that, so many follow each other in one group that the groups are few enough.
        let joined = groups.len().div_ceil(MAX_GROUPS).max(1);
        let mut groups: Vec<Vec<usize>> = groups.chunks(joined).map(<[_]>::concat).collect();
        groups.push(others);
        Self { blobs, groups }
    }
}

/// The part of a blob's name that says its decoder layer: up to its first segment of digits, component included.
fn key(name: &str) -> Option<&str> {
    let tensor = name.rfind('/').map_or(0, |slash| slash + 1);
    let mut at = tensor;
    for segment in name[tensor..].split('.') {
        let end = at + segment.len();
        if !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(&name[..end]);
        }
        at = end + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_layer_is_told_by_its_number() {
        for (name, expected) in [
            ("model.layers.12.mlp.experts", Some("model.layers.12")),
            ("text_encoder/model.layers.3.q", Some("text_encoder/model.layers.3")),
            ("transformer/single_blocks.7.norm.0.weight", Some("transformer/single_blocks.7")),
            ("model.embed_tokens.weight", None),
            ("lm_head.weight", None),
            ("a/b/7", Some("a/b/7")),
            ("x..y", None),
            ("", None),
        ] {
            assert_eq!(key(name), expected, "{name}");
        }
    }
}
