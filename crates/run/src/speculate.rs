//! Speculative decoding: a small model proposes tokens, and a large one checks them all at once.

use crate::{
    eagle::{Drafter, Eagle},
    error::RunError,
    model::Model,
    perplexity::argmax,
    session::Session,
};

/// A proposer of tokens for a target model.
#[derive(Debug)]
#[non_exhaustive]
pub enum Proposer<'d> {
    /// A smaller model, in an empty session.
    Model(Box<Session<'d>>),
    /// A draft head of the target itself.
    Head(&'d Eagle<'d>),
}

impl<'d> From<Session<'d>> for Proposer<'d> {
    fn from(session: Session<'d>) -> Self {
        Self::Model(Box::new(session))
    }
}

impl<'d> From<&'d Model> for Proposer<'d> {
    fn from(model: &'d Model) -> Self {
        Self::Model(Box::new(model.session()))
    }
}

impl<'d> From<&'d Eagle<'d>> for Proposer<'d> {
    fn from(head: &'d Eagle<'d>) -> Self {
        Self::Head(head)
    }
}

/// A sequence for which tokens are proposed.
#[derive(Debug)]
enum Draft<'d> {
    Model(Box<Session<'d>>),
    Head(Box<Drafter<'d>>),
}

/// Greedy decoding of a target model with the help of a draft model. The tokens are those that the target alone would give.
#[derive(Debug)]
pub struct Speculation<'t, 'd> {
    target: Session<'t>,
    draft: Draft<'d>,
    /// Number of tokens that are proposed at a time.
    length: usize,
    /// All tokens of the sequence. The target has run all but the last.
    tokens: Vec<u32>,
    proposed: usize,
    accepted: usize,
}

impl<'t, 'd> Speculation<'t, 'd> {
    /// Starts with an empty session, and a draft that proposes `length` tokens at a time.
    ///
    /// # Errors
    ///
    /// [`RunError::Vocabularies`] where the models have different vocabularies, [`RunError::Head`] for the head of another model.
    pub fn new(target: Session<'t>, draft: impl Into<Proposer<'d>>, length: usize) -> Result<Self, RunError> {
        let draft = match draft.into() {
            Proposer::Model(session) => {
                let (first, second) = (target.model().vocabulary(), session.model().vocabulary());
                if first != second {
                    return Err(RunError::Vocabularies { first, second });
                }
                Draft::Model(session)
            }
            Proposer::Head(head) => {
                if !std::ptr::eq(head.model(), target.model()) {
                    let [expected, found] = [head.model(), target.model()].map(|model| model.name().to_owned());
                    return Err(RunError::Head { expected, found });
                }
                Draft::Head(Box::new(Drafter::new(head)))
            }
        };
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
        let next = match &mut self.draft {
            Draft::Model(_) => argmax(self.target.extend(&whole)?),
            Draft::Head(head) => read(&mut self.target, head, &whole)?,
        };
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
        let room = self.target.room().saturating_sub(1);
        let proposals = self.draft.propose(&self.tokens, self.length, room)?;
        let checked = [&self.tokens[start..], &proposals].concat();
        let mut logits = Vec::new();
        match &mut self.draft {
            Draft::Model(_) => self.target.extend_all(&checked, &mut logits)?,
            Draft::Head(head) => {
                let mut features = Vec::new();
                self.target.extend_tapped(&checked, head.taps(), true, &mut logits, &mut features)?;
                head.see(&features);
            }
        }
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
}

impl Draft<'_> {
    /// Proposes at most `length` of the tokens after `tokens`, and at most `room`.
    fn propose(&mut self, tokens: &[u32], length: usize, room: usize) -> Result<Vec<u32>, RunError> {
        let session = match self {
            Self::Model(session) => session,
            Self::Head(head) => return head.propose(tokens, length.min(room)),
        };
        let mut unseen = tokens[session.position()..].to_vec();
        let fits = (session.room() + 1).saturating_sub(unseen.len());
        let count = length.min(room).min(fits);
        let mut proposals = Vec::with_capacity(count);
        while proposals.len() < count {
            let next = argmax(session.extend(&unseen)?);
            proposals.push(next);
            unseen = vec![next];
        }
        Ok(proposals)
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::Model(session) => session.truncate(len),
            Self::Head(head) => head.truncate(len),
        }
    }
}

/// Has the target read tokens, piece by piece so that few states are kept as they come, and returns the token after them.
fn read(target: &mut Session<'_>, head: &mut Drafter<'_>, tokens: &[u32]) -> Result<u32, RunError> {
    let start = target.position();
    let (mut logits, mut features) = (Vec::new(), Vec::new());
    if tokens.is_empty() {
        return Err(RunError::Empty);
    }
    for piece in tokens.chunks(target.model().options().batch.max(1)) {
        logits.clear();
        features.clear();
        if let Err(error) = target.extend_tapped(piece, head.taps(), false, &mut logits, &mut features) {
            target.truncate(start);
            head.truncate(start);
            return Err(error);
        }
        head.see(&features);
    }
    Ok(argmax(&logits))
}
