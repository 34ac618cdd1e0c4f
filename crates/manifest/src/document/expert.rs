//! Where one expert of a stack lies.

use longshore_st_format::Shape;

use super::{Part, Role, TensorEntry};

impl TensorEntry {
    /// Where entry `index` of the first axis lies: of a stack `[experts, …]`, one expert's values or codes and their companions, each
    /// as a part of its own, `[…]`, in the order of [`Self::parts`].
    ///
    /// A part is row-major, so that an expert's bytes are one range of each. The ranges of two experts do not overlap, and those of
    /// all experts are the part; but for a global scale that all experts share, which each of them has whole.
    ///
    /// `None` where the tensor has no entry `index`, or its entries are no whole numbers of bytes.
    #[must_use]
    pub fn expert_parts(&self, index: u64) -> Option<Vec<Part>> {
        let experts = *self.shape.dims().first()?;
        if index >= experts {
            return None;
        }
        self.parts.iter().map(|part| part.of_expert(index, experts)).collect()
    }
}

impl Part {
    /// The share of expert `index`, which is below `experts`.
    fn of_expert(&self, index: u64, experts: u64) -> Option<Self> {
        if self.is_shared(experts) {
            return Some(self.clone());
        }
        let (first, rest) = self.shape.dims().split_first()?;
        let shape = Shape::from(rest);
        let length = shape.byte_len(self.dtype).ok()?;
        // Two experts in one byte are not whole bytes, though all of them may be.
        if *first != experts || length.checked_mul(experts) != Some(self.length) {
            return None;
        }
        let offset = index.checked_mul(length)?.checked_add(self.offset)?;
        Some(Self { role: self.role, dtype: self.dtype, shape, offset, length, blob: self.blob })
    }

    /// Whether it is the one global scale of all experts.
    fn is_shared(&self, experts: u64) -> bool {
        let is_of_each = self.shape.dims().first() == Some(&experts);
        self.role == Role::GlobalScale && self.shape.elements() == Some(1) && !is_of_each
    }
}
