//! Choices made by the bytes of an input.

/// The bytes that are left. Once they are used up, every choice is the first.
pub(super) struct Choices<'d> {
    data: &'d [u8],
}

impl<'d> Choices<'d> {
    pub(super) fn new(data: &'d [u8]) -> Self {
        Self { data }
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.data.split_first() else { return 0 };
        self.data = rest;
        *first
    }

    /// Whether a byte chooses the rarer of two.
    pub(super) fn rarely(&mut self) -> bool {
        self.byte() % 4 == 3
    }

    pub(super) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::from(self.byte()) % list.len()]
    }

    /// Pseudorandom bytes from a seed that is chosen.
    pub(super) fn noise(&mut self, count: usize) -> Vec<u8> {
        let mut state = u64::from(self.byte()).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()[7]
        };
        std::iter::repeat_with(next).take(count).collect()
    }
}
