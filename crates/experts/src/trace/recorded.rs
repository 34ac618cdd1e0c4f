//! A trace in memory.

use std::slice::ChunksExact;

use super::header::TraceHeader;
use crate::{key::ExpertKey, placement::Uses};

/// A recorded routing in memory: the experts that each token chose in each layer.
///
/// As a file it is JSON lines: the [header](TraceHeader), then for each token a list for each layer of the experts that it chose, in order
/// of weight.
///
/// ```
/// use longshore_experts::{Trace, TraceLimits};
///
/// let text = "{\"version\":1,\"layers\":[0,3],\"experts\":8,\"top_k\":2}\n[[4,1],[0,7]]\n[[4,2],[7,5]]\n";
/// let trace = Trace::read(text.as_bytes(), &TraceLimits::default())?;
/// assert_eq!((trace.len(), trace.header().layers()), (2, &[0, 3][..]));
/// # Ok::<(), longshore_experts::TraceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    pub(super) header: TraceHeader,
    /// `[tokens, layers, top_k]`.
    pub(super) choices: Vec<u32>,
}

impl Trace {
    /// Returns the first line.
    #[must_use]
    pub fn header(&self) -> &TraceHeader {
        &self.header
    }

    /// Returns the number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.choices.len() / self.header.choices()
    }

    /// Whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }

    /// Iterates over the tokens: of each `top_k` experts of each layer in order, one layer after the other.
    pub fn tokens(&self) -> ChunksExact<'_, u32> {
        self.choices.chunks_exact(self.header.choices())
    }

    /// Counts the uses of each expert.
    #[must_use]
    pub fn uses(&self) -> Uses {
        let mut uses = Uses::new();
        for token in self.tokens() {
            for (list, layer) in token.chunks_exact(self.header.top_k() as usize).zip(self.header.layers()) {
                for expert in list {
                    *uses.entry(ExpertKey { layer: *layer, expert: *expert }).or_insert(0) += 1;
                }
            }
        }
        uses
    }
}
