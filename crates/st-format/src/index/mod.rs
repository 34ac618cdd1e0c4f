mod parse;
mod total_size;
mod write;

use std::iter::FusedIterator;

/// The index of a checkpoint in several files: which shard holds which tensor.
///
/// Every shard is a bare file name that ends in `.safetensors`, so that joining it to the index's own directory cannot leave
/// that directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardIndex {
    /// In byte order of the tensor names; the number is an index into `shards`.
    weight_map: Box<[(Box<str>, u32)]>,
    /// Distinct, in byte order.
    shards: Box<[Box<str>]>,
    total_size: Option<u64>,
}

/// Why bytes are not an index that we accept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The document is longer than [`Limits::header_bytes`](crate::Limits::header_bytes).
    #[error("the tensor index has {found} bytes: expected at most {limit}")]
    TooLong {
        /// Bytes of the document.
        found: u64,
        /// The most bytes.
        limit: u64,
    },
    /// The document is not JSON of the right form.
    #[error("the tensor index is not JSON as expected{}", at_tensor(tensor.as_deref()))]
    Json {
        /// The entry in which it goes wrong, where it is inside one.
        tensor: Option<Box<str>>,
        /// What was expected and found, with line and column.
        source: serde_json::Error,
    },
    /// There is no `weight_map`.
    #[error("the tensor index has no `weight_map`")]
    MissingWeightMap,
    /// A top-level key occurs twice.
    #[error("the tensor index has `{key}` twice")]
    DuplicateKey {
        /// `metadata` or `weight_map`.
        key: &'static str,
    },
    /// A tensor occurs twice.
    #[error("the tensor index has tensor {tensor:?} twice")]
    DuplicateTensor {
        /// The name.
        tensor: Box<str>,
    },
    /// A shard that is not a bare file name.
    #[error(
        "tensor index contains invalid shard path {shard:?} for tensor {tensor:?}: expected a bare file name ending in .safetensors"
    )]
    ShardPath {
        /// The tensor.
        tensor: Box<str>,
        /// The shard as found.
        shard: Box<str>,
    },
    /// More entries than [`Limits::tensors`](crate::Limits::tensors).
    #[error("the tensor index has more than {limit} tensors")]
    TooManyTensors {
        /// The most tensors.
        limit: usize,
    },
    /// A longer name than [`Limits::name_bytes`](crate::Limits::name_bytes).
    #[error("the tensor name that begins {start:?} has {found} bytes: expected at most {limit}")]
    NameTooLong {
        /// The first characters of the name.
        start: Box<str>,
        /// Its length in bytes.
        found: usize,
        /// The most bytes.
        limit: usize,
    },
}

impl ShardIndex {
    /// An index of these tensors, each with the name of its shard. `total_size` is the number of bytes of all tensors.
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

    /// The number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.weight_map.len()
    }

    /// Whether no tensor is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.weight_map.is_empty()
    }

    /// The tensors and their shards, in byte order of the tensor names.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + DoubleEndedIterator + FusedIterator + Clone {
        self.weight_map.iter().map(|(tensor, shard)| (&**tensor, &*self.shards[*shard as usize]))
    }

    /// The file names of the shards, distinct and in byte order.
    #[must_use]
    pub fn shards(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator + FusedIterator + Clone {
        self.shards.iter().map(|shard| &**shard)
    }

    /// The shard that holds `tensor`, in O(log n).
    #[must_use]
    pub fn shard_of(&self, tensor: &str) -> Option<&str> {
        let at = self.weight_map.binary_search_by(|(name, _)| (**name).cmp(tensor)).ok()?;
        Some(&self.shards[self.weight_map[at].1 as usize])
    }

    /// `metadata.total_size`: the number of bytes of all tensors, as the document claims it. `None` where it is absent or no
    /// whole number.
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
            let at = shards.binary_search(&shard).expect("the list was made of these names");
            let at = u32::try_from(at).map_err(|_| IndexError::TooManyTensors { limit: u32::MAX as usize })?;
            weight_map.push((tensor, at));
        }
        Ok(Self { weight_map: weight_map.into(), shards, total_size })
    }
}

/// Whether `shard` names a file in the directory that it is joined to, on Unix and on Windows alike. A name that ends in
/// `.safetensors` and has no separator cannot be `..`; a colon would start a drive or a stream.
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
