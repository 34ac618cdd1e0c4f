/// Costs up to which a header is read. The defaults admit every known model.
///
/// Bounds that the format itself sets are no limits: four dimensions, 63 bytes of a tensor's name.
///
/// ```
/// let mut limits = longshore_gguf::Limits::default();
/// limits.tensors = 1_000;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of everything before the data section. Default 1 GiB.
    pub header_bytes: u64,
    /// Pairs of metadata. Default 65,536.
    pub pairs: u64,
    /// Tensors in one file, and in one split set. Default 262,144.
    pub tensors: u64,
    /// Bytes of one key. Default 65,536.
    pub key_bytes: u64,
    /// Bytes of one string, in an array or not. Default 16 MiB; chat templates are the longest, with less than 1 MiB.
    pub string_bytes: u64,
    /// Elements of one array. Default 16,777,216; vocabularies are the longest, with 262,144.
    pub array_elements: u64,
    /// `general.alignment`, in bytes. Default 1 MiB.
    pub alignment: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 1 << 30,
            pairs: 1 << 16,
            tensors: 1 << 18,
            key_bytes: 1 << 16,
            string_bytes: 1 << 24,
            array_elements: 1 << 24,
            alignment: 1 << 20,
        }
    }
}
