//! Sessions: sequences of tokens with their keys and values.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

use crate::{
    decoder::{Cache, Hooks, Scratch, Segment, Wanted},
    error::RunError,
    model::Model,
    observe::Observer,
    weights::Bound,
};

/// A sequence of tokens that a model continues.
pub struct Session<'m> {
    model: &'m Model,
    bound: Arc<Bound<'m>>,
    cache: Cache,
    scratch: Scratch,
    logits: Vec<f32>,
    cancel: Option<Arc<AtomicBool>>,
}

impl Model {
    /// Starts a sequence.
    #[must_use]
    pub fn session(&self) -> Session<'_> {
        Session::new(self, Arc::new(self.bind()))
    }
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.model.name())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl<'m> Session<'m> {
    fn new(model: &'m Model, bound: Arc<Bound<'m>>) -> Self {
        let cache = Cache::new(model.spec(), model.options().kv);
        let cancel = model.options().cancel.clone();
        Self { model, bound, cache, scratch: Scratch::default(), logits: Vec::new(), cancel }
    }

    /// Returns a session with the same tokens, which continues apart from this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        let cancel = self.cancel.clone();
        Self { cache: self.cache.clone(), cancel, ..Self::new(self.model, Arc::clone(&self.bound)) }
    }

    /// Model of the session.
    #[must_use]
    pub fn model(&self) -> &'m Model {
        self.model
    }

    /// Number of tokens of the sequence.
    #[must_use]
    pub fn position(&self) -> usize {
        self.cache.len()
    }

    /// Number of tokens that may still be added.
    #[must_use]
    pub fn room(&self) -> usize {
        self.model.max_sequence().saturating_sub(self.position())
    }

    /// Sets a flag that ends a running call with [`RunError::Cancelled`] once it is set.
    pub fn set_cancel(&mut self, cancel: Arc<AtomicBool>) {
        self.cancel = Some(cancel);
    }

    /// Drops all tokens from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.cache.set_len(len.min(self.cache.len()));
    }

    /// Adds tokens to the sequence, and returns the logits of the token after them.
    ///
    /// # Errors
    ///
    /// [`RunError`]: no tokens, one that is not in the vocabulary, a sequence that becomes too long, numbers that are not
    /// finite, and a flag that was set. The sequence is as before then.
    pub fn extend(&mut self, tokens: &[u32]) -> Result<&[f32], RunError> {
        let mut logits = std::mem::take(&mut self.logits);
        logits.clear();
        let done = self.run(tokens, Wanted::Last, &mut logits, None);
        self.logits = logits;
        done.map(|()| &*self.logits)
    }

    /// Adds tokens to the sequence, and appends the logits after each of them to `logits`, `[tokens, vocabulary]`. Callers bound
    /// the memory by the number of tokens.
    ///
    /// # Errors
    ///
    /// Those of [`Self::extend`].
    pub fn extend_all(&mut self, tokens: &[u32], logits: &mut Vec<f32>) -> Result<(), RunError> {
        self.run(tokens, Wanted::All, logits, None)
    }

    /// Adds tokens to the sequence, and shows the input of every linear layer to `observer`.
    ///
    /// # Errors
    ///
    /// Those of [`Self::extend`].
    pub fn observe(&mut self, tokens: &[u32], observer: &mut dyn Observer) -> Result<(), RunError> {
        self.run(tokens, Wanted::Hidden, &mut Vec::new(), Some(observer))
    }

    /// Adds tokens to the sequence, and returns the normalised hidden state of each, `[tokens, hidden]`.
    ///
    /// # Errors
    ///
    /// Those of [`Self::extend`].
    pub fn hidden(&mut self, tokens: &[u32]) -> Result<Vec<f32>, RunError> {
        let mut states = Vec::new();
        self.run(tokens, Wanted::Hidden, &mut states, None)?;
        Ok(states)
    }

    fn run(
        &mut self,
        tokens: &[u32],
        wanted: Wanted,
        logits: &mut Vec<f32>,
        mut observer: Option<&mut dyn Observer>,
    ) -> Result<(), RunError> {
        self.check(tokens)?;
        let start = self.position();
        let Self { model, bound, cache, scratch, cancel, .. } = self;
        let blocks = tokens.chunks(model.options().batch.max(1));
        let last = blocks.len() - 1;
        let is_observed = observer.is_some();
        let done = model.install(|| {
            blocks.enumerate().try_for_each(|(at, tokens)| {
                let wanted = if wanted == Wanted::Last && at < last { Wanted::Nothing } else { wanted };
                let hooks = Hooks { observer: reborrow(&mut observer), cancel: cancel.as_deref() };
                if is_observed {
                    logits.clear();
                }
                model.decoder(bound).forward(&mut [Segment { tokens, cache }], wanted, scratch, hooks, logits)
            })
        });
        if done.is_err() {
            cache.set_len(start);
        }
        done
    }

    fn check(&self, tokens: &[u32]) -> Result<(), RunError> {
        let (limit, vocabulary) = (self.model.max_sequence(), self.model.vocabulary());
        if tokens.is_empty() {
            return Err(RunError::Empty);
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(RunError::Token { token: *token, vocabulary });
        }
        let found = self.position().saturating_add(tokens.len());
        if found > limit { Err(RunError::TooLong { found, limit }) } else { Ok(()) }
    }
}

fn reborrow<'o>(observer: &'o mut Option<&mut dyn Observer>) -> Option<&'o mut dyn Observer> {
    match observer {
        Some(observer) => Some(&mut **observer),
        None => None,
    }
}

/// Adds tokens to several sequences of one model at once, so that each weight is read once for all of them. Returns the logits
/// of the token after each, `[sessions, vocabulary]`.
///
/// # Errors
///
/// [`RunError::OtherModel`] for a session of another model, and those of [`Session::extend`]. The sequences are as before then.
pub fn extend_batch(sessions: &mut [(&mut Session<'_>, &[u32])]) -> Result<Vec<f32>, RunError> {
    let mut logits = Vec::new();
    let Some((first, _)) = sessions.first() else { return Ok(logits) };
    let (model, bound, cancel) = (first.model, Arc::clone(&first.bound), first.cancel.clone());
    let mut scratch = Scratch::default();
    for (at, (session, tokens)) in sessions.iter().enumerate() {
        if !std::ptr::eq(session.model, model) {
            return Err(RunError::OtherModel { at });
        }
        session.check(tokens)?;
    }
    let mut segments: Vec<Segment<'_>> =
        sessions.iter_mut().map(|(session, tokens)| Segment { tokens, cache: &mut session.cache }).collect();
    let hooks = Hooks { observer: None, cancel: cancel.as_deref() };
    model.install(|| model.decoder(&bound).forward(&mut segments, Wanted::Last, &mut scratch, hooks, &mut logits))?;
    Ok(logits)
}
