//! Ways in which experts come into memory.

/// How the experts of a mixture come into memory. Logits have the same bits in all ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExpertMemory {
    /// [`Self::Ahead`] where the weights are larger than the memory that is available, else [`Self::Mapped`]. What is available is what
    /// the system says, or the limit of the process's control group if that is less.
    #[default]
    Auto,
    /// From mapped files, page by page as they are touched.
    Mapped,
    /// From mapped files. Whole experts are asked for as soon as a router has chosen them, before the first is computed.
    Ahead,
    /// In slots of memory, which hold the experts that were used last. What is in no slot is read past the page cache.
    Slots {
        /// Bytes that all slots together may take.
        bytes: u64,
    },
}
