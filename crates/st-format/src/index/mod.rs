mod parse;
mod total_size;
mod write;

use std::iter::FusedIterator;

/// Shard index of a checkpoint in several files: it maps each tensor to the shard that holds it.
///
/// Every shard is a bare file name that ends in `.safetensors`, so joining it to the directory of the index cannot
/// leave that directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIndex {
    /// Tensor names in byte order, each with an index into `shards`.
    weight_map: Box<[(Box<str>, u32)]>,
    /// Distinct shard names in byte order.
    shards: Box<[Box<str>]>,
    total_size: Option<u64>,
}

/// Error from parsing or building a shard index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The document is longer than [`Limits::header_bytes`](crate::Limits::header_bytes).
    #[error("the tensor index has {found} bytes: expected at most {limit}")]
    TooLong {
        /// Length of the document in bytes.
        found: u64,
        /// The largest permitted length in bytes.
        limit: u64,
    },
    /// The document is not JSON, or does not have the form of a shard index.
    #[error("the tensor index is not JSON as expected{}", at_tensor(tensor.as_deref()))]
    Json {
        /// The tensor whose entry is at fault, where the fault lies inside an entry.
        tensor: Option<Box<str>>,
        /// Expected and found, with line and column in the JSON.
        source: serde_json::Error,
    },
    /// The document has no `weight_map`.
    #[error("the tensor index has no `weight_map`")]
    MissingWeightMap,
    /// A top-level key occurs twice.
    #[error("the tensor index has `{key}` twice")]
    DuplicateKey {
        /// `metadata` or `weight_map`.
        key: &'static str,
    },
    /// `weight_map` has the same tensor twice.
    #[error("the tensor index has tensor {tensor:?} twice")]
    DuplicateTensor {
        /// The repeated name.
        tensor: Box<str>,
    },
    /// A shard is not a bare file name.
    #[error(
        "tensor index contains invalid shard path {shard:?} for tensor {tensor:?}: expected a bare file name ending in .safetensors"
    )]
    ShardPath {
        /// The tensor.
        tensor: Box<str>,
        /// The shard as found.
        shard: Box<str>,
    },
    /// The index has more entries than [`Limits::tensors`](crate::Limits::tensors).
    #[error("the tensor index has more than {limit} tensors")]
    TooManyTensors {
        /// The largest permitted number of tensors.
        limit: usize,
    },
    /// A tensor's name is longer than [`Limits::name_bytes`](crate::Limits::name_bytes).
    #[error("the tensor name that begins {start:?} has {found} bytes: expected at most {limit}")]
    NameTooLong {
        /// The first characters of the name.
        start: Box<str>,
        /// Length of the name in bytes.
        found: usize,
        /// The largest permitted length in bytes.
        limit: usize,
    },
}

impl ShardIndex {
    /// Builds an index from pairs of a tensor's name and its shard's name. `total_size` is the number of bytes of all
    /// tensors.
    ///
    /// # Errors
    ///
    /// [`IndexError::DuplicateTensor`], [`IndexError::ShardPath`].
    pub fn new<T: Into<Box<str>>, S: Into<Box<str>>>(
        total_size: Option<u64>,
        weight_map: impl IntoIterator<Item = (T, S)>,
    ) -> Result<Self, IndexError> {
        let entries = weight_map.into_iter().map(|(tensor, shard)| (tensor.into(), shard.into())).collect();
        Self::assemble(total_size, entries)
    }

    /// Number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.weight_map.len()
    }

    /// Returns true where the index lists no tensor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.weight_map.is_empty()
    }

    /// Iterates over pairs of a tensor's name and its shard's name, in byte order of the tensor names.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + DoubleEndedIterator + FusedIterator + Clone {
        self.weight_map.iter().map(|(tensor, shard)| (&**tensor, &*self.shards[*shard as usize]))
    }

    /// Iterates over the file names of the shards, distinct and in byte order.
    #[must_use]
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator + FusedIterator + Clone {
        self.shards.iter().map(|shard| &**shard)
    }

    /// Looks the shard that holds `tensor` up, in O(log n).
    #[must_use]
    pub fn shard_of(&self, tensor: &str) -> Option<&str> {
        let at = self.weight_map.binary_search_by(|(name, _)| (**name).cmp(tensor)).ok()?;
        Some(&self.shards[self.weight_map[at].1 as usize])
    }

    /// `metadata.total_size`: the number of bytes of all tensors, as the document claims it. `None` where it is absent
    /// or not a whole number.
    #[must_use]
    pub fn total_size(&self) -> Option<u64> {
        self.total_size
    }

    fn assemble(total_size: Option<u64>, mut entries: Vec<(Box<str>, Box<str>)>) -> Result<Self, IndexError> {
        entries.sort_unstable();
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(IndexError::DuplicateTensor { tensor: pair[0].0.clone() });
        }
        let mut shards: Vec<&Box<str>> = entries.iter().map(|(_, shard)| shard).collect();
        shards.sort_unstable();
        shards.dedup();
        let shards: Box<[Box<str>]> = shards.into_iter().cloned().collect();
        let mut weight_map = Vec::with_capacity(entries.len());
        for (tensor, shard) in entries {
            if !is_bare_name(&shard) {
                return Err(IndexError::ShardPath { tensor, shard });
            }
            let at = shards.binary_search(&shard).expect("the list of shards was built from these names");
            let at = u32::try_from(at).map_err(|_| IndexError::TooManyTensors { limit: u32::MAX as usize })?;
            weight_map.push((tensor, at));
        }
        Ok(Self { weight_map: weight_map.into(), shards, total_size })
    }
}

/// Returns true where `shard` names a file in the directory that it is joined to, on Unix and on Windows alike. A name
/// that ends in `.safetensors` and has no separator cannot be `..`. A colon would start a drive or a stream.
fn is_bare_name(shard: &str) -> bool {
    shard.len() > ".safetensors".len() && shard.ends_with(".safetensors") && !shard.contains(['/', '\\', ':', '\0'])
}

fn at_tensor(tensor: Option<&str>) -> String {
    tensor.map(|name| format!(" in the entry of tensor {name:?}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::is_bare_name;

    #[test]
    fn shards_stay_in_their_directory() {
        for good in ["model-00001-of-00002.safetensors", "a..b.safetensors", "ä.safetensors"] {
            assert!(is_bare_name(good), "{good:?}");
        }
        for bad in [
            "",
            "..",
            ".safetensors",
            "../x.safetensors",
            "a/x.safetensors",
            "/x.safetensors",
            "..\\x.safetensors",
            "C:x.safetensors",
            "C:\\x.safetensors",
            "x\0.safetensors",
            "x.bin",
            "x.safetensors ",
            "x.SAFETENSORS",
        ] {
            assert!(!is_bare_name(bad), "{bad:?}");
        }
    }
}
