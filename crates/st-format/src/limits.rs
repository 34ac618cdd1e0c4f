/// What a header, or an index, may cost before it is refused. The defaults admit every model that is known.
///
/// ```
/// let mut limits = longshore_st_format::Limits::default();
/// limits.tensors = 1_000;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of JSON in a header, padding included, and bytes of an index document. Default 100,000,000, as in the
    /// `safetensors` crate.
    pub header_bytes: u64,
    /// Tensors in one header, and entries in one index. Default 4,194,304.
    pub tensors: usize,
    /// Dimensions of one tensor. Default 64, which is numpy's limit.
    pub rank: usize,
    /// Bytes of one tensor's name. Default 4,096.
    pub name_bytes: usize,
    /// Bytes of all keys and values of `__metadata__` together. Default 100,000,000, so that only the header's size counts.
    pub metadata_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { header_bytes: 100_000_000, tensors: 1 << 22, rank: 64, name_bytes: 4_096, metadata_bytes: 100_000_000 }
    }
}
