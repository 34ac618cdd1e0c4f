//! Speculative decoding: a small model proposes tokens, and a large one checks them all at once.

use crate::{error::RunError, perplexity::argmax, session::Session};

/// Greedy decoding of a target model with the help of a draft model. The tokens are those that the target alone would give.
#[derive(Debug)]
pub struct Speculation<'t, 'd> {
    target: Session<'t>,
    draft: Session<'d>,
    /// Number of tokens that are proposed at a time.
    length: usize,
    /// All tokens of the sequence. The target has run all but the last.
    tokens: Vec<u32>,
    proposed: usize,
    accepted: usize,
}

impl<'t, 'd> Speculation<'t, 'd> {
    /// Starts with two empty sessions. The draft proposes `length` tokens at a time.
    ///
    /// # Errors
    ///
    /// [`RunError::Vocabularies`] where the models have different vocabularies.
    pub fn new(target: Session<'t>, draft: Session<'d>, length: usize) -> Result<Self, RunError> {
        let (first, second) = (target.model().vocabulary(), draft.model().vocabulary());
        if first != second {
            return Err(RunError::Vocabularies { first, second });
        }
        Ok(Self { target, draft, length, tokens: Vec::new(), proposed: 0, accepted: 0 })
    }

    /// Runs a prompt, and returns the token after it.
    ///
    /// # Errors
    ///
    /// Those of [`Session::extend`].
    pub fn prompt(&mut self, tokens: &[u32]) -> Result<u32, RunError> {
        // The token that the target has not run yet comes before the prompt.
        let pending = &self.tokens[self.target.position().min(self.tokens.len())..];
        let whole = [pending, tokens].concat();
        let next = argmax(self.target.extend(&whole)?);
        self.tokens.extend_from_slice(tokens);
        self.tokens.push(next);
        Ok(next)
    }

    /// Returns the tokens that follow, at least one.
    ///
    /// # Errors
    ///
    /// Those of [`Session::extend`]; [`RunError::Empty`] without a prompt.
    pub fn step(&mut self) -> Result<Vec<u32>, RunError> {
        let start = self.tokens.len().checked_sub(1).ok_or(RunError::Empty)?;
        // The draft runs what it has not seen, and all of its proposals but the last.
        let unseen = self.tokens.len() - self.draft.position();
        let fits = (self.draft.room() + 1).saturating_sub(unseen);
        let room = self.target.room().saturating_sub(1).min(fits);
        let proposals = self.propose(self.length.min(room))?;
        let checked = [&self.tokens[start..], &proposals].concat();
        let mut logits = Vec::new();
        self.target.extend_all(&checked, &mut logits)?;
        let answers: Vec<u32> = logits.chunks_exact(self.target.model().vocabulary()).map(argmax).collect();
        let right = proposals.iter().zip(&answers).take_while(|(proposal, answer)| proposal == answer).count();
        self.proposed += proposals.len();
        self.accepted += right;
        self.target.truncate(start + 1 + right);
        self.draft.truncate(start + 1 + right);
        let found = answers[..=right].to_vec();
        self.tokens.extend_from_slice(&found);
        Ok(found)
    }

    /// Drops all tokens from position `len` on, and the one that the target has not run.
    pub fn truncate(&mut self, len: usize) {
        let len = len.min(self.target.position());
        self.target.truncate(len);
        self.draft.truncate(len);
        self.tokens.truncate(len);
    }

    /// Tokens that the target has run.
    pub(crate) fn seen(&self) -> &[u32] {
        &self.tokens[..self.target.position().min(self.tokens.len())]
    }

    /// Number of tokens that were accepted, and of those that were proposed.
    #[must_use]
    pub fn acceptance(&self) -> (usize, usize) {
        (self.accepted, self.proposed)
    }

    /// Session of the target. It has all tokens but the last.
    #[must_use]
    pub fn target(&self) -> &Session<'t> {
        &self.target
    }

    pub(crate) fn target_mut(&mut self) -> &mut Session<'t> {
        &mut self.target
    }

    fn propose(&mut self, count: usize) -> Result<Vec<u32>, RunError> {
        let mut proposals = Vec::with_capacity(count);
        let mut unseen = self.tokens[self.draft.position()..].to_vec();
        while proposals.len() < count {
            let next = argmax(self.draft.extend(&unseen)?);
            proposals.push(next);
            unseen = vec![next];
        }
        Ok(proposals)
    }
}
