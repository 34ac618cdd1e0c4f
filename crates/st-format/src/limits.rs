/// Bounds on the size of a header or a shard index; a larger one is refused. The defaults admit every known model.
///
/// ```
/// let mut limits = longshore_st_format::Limits::default();
/// limits.tensors = 1_000;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest length in bytes of a header's JSON, padding included, and of an index document. Default 100,000,000, as
    /// in the `safetensors` crate.
    pub header_bytes: u64,
    /// Largest number of tensors in one header, and of entries in one index. Default 4,194,304.
    pub tensors: usize,
    /// Largest number of dimensions of one tensor. Default 64, which is numpy's limit.
    pub rank: usize,
    /// Largest length in bytes of one tensor's name. Default 4,096.
    pub name_bytes: usize,
    /// Largest total length in bytes of the keys and values of `__metadata__`. Default 100,000,000, so only the
    /// header's size counts.
    pub metadata_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_bytes: 100_000_000, tensors: 1 << 22, rank: 64, name_bytes: 4_096, metadata_bytes: 100_000_000 }
    }
}
