//! A sequence for which an EAGLE-3 head proposes tokens.

use super::head::Eagle;
use crate::{
    decoder::{Cache, Scratch},
    error::RunError,
    perplexity::argmax,
};

/// The head beside a session of its model.
///
/// Pair `i` is the token `i + 1` with the state of the token `i`. The cache holds pairs whose tokens the target has run, and those of
/// proposals only while these are made.
#[derive(Debug)]
pub(crate) struct Drafter<'h> {
    head: &'h Eagle<'h>,
    /// A state of each token that the target has run.
    states: Vec<f32>,
    cache: Cache,
    scratch: Scratch,
}

impl<'h> Drafter<'h> {
    pub(crate) fn new(head: &'h Eagle<'h>) -> Self {
        Self { head, states: Vec::new(), cache: head.cache(), scratch: Scratch::default() }
    }

    /// Layers of the target whose states are wanted.
    pub(crate) fn taps(&self) -> [usize; 3] {
        self.head.taps()
    }

    /// Adds the states of further tokens.
    pub(crate) fn see(&mut self, features: &[f32]) {
        self.states.extend(self.head.fuse(features));
    }

    /// Drops all tokens from position `len` on.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.states.truncate(len * self.head.hidden());
        // The last pair has the token behind its state.
        self.cache.set_len(self.cache.len().min(len.saturating_sub(1)));
    }

    /// Proposes the tokens after `tokens`, of which the target has run all but the last.
    pub(crate) fn propose(&mut self, tokens: &[u32], count: usize) -> Result<Vec<u32>, RunError> {
        let (head, hidden) = (self.head, self.head.hidden());
        let pairs = self.states.len() / hidden;
        let mut proposals = Vec::with_capacity(count);
        if count == 0 || pairs == 0 || tokens.len() != pairs + 1 {
            return Ok(proposals);
        }
        // The last pair is run again in any case, for its state.
        let mut start = self.cache.len().min(pairs - 1);
        self.cache.set_len(start);
        let mut state = Vec::new();
        while start < pairs {
            let end = pairs.min(start + head.model().options().batch.max(1));
            state = self.states[start * hidden..end * hidden].to_vec();
            head.run(&tokens[start + 1..=end], &mut state, &mut self.cache, &mut self.scratch)?;
            state.drain(..state.len() - hidden);
            start = end;
        }
        loop {
            let next = argmax(&head.of_state(&state));
            let next = head.token(next as usize).expect("the logits are those of the head's tokens");
            proposals.push(next);
            if proposals.len() == count {
                break;
            }
            let done = head.run(&[next], &mut state, &mut self.cache, &mut self.scratch);
            if done.is_err() {
                self.cache.set_len(pairs);
                return done.map(|()| proposals);
            }
        }
        self.cache.set_len(pairs);
        Ok(proposals)
    }
}
