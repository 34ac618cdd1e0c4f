//! Sessions: sequences of tokens with their keys and values.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

use crate::{
    decoder::{Cache, Decoder, Features, Hooks, Scratch, Segment, Wanted},
    error::RunError,
    experts::Routed,
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
    /// Flags, any of which ends a call: the model's, and the session's own.
    cancel: [Option<Arc<AtomicBool>>; 2],
    routed: Option<Arc<Mutex<dyn Routed>>>,
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
        let cancel = [model.options().cancel.clone(), None];
        Self { model, bound, cache, scratch: Scratch::default(), logits: Vec::new(), cancel, routed: None }
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

    /// Sets a flag that ends a running call with [`RunError::Cancelled`] once it is set. That of the model's options holds as well.
    pub fn set_cancel(&mut self, cancel: Arc<AtomicBool>) {
        self.cancel[1] = Some(cancel);
    }

    /// Has `routed` hear of the experts that tokens choose in the calls of this session from now on. Batches of sessions are not
    /// heard of, nor are forks.
    pub fn set_routed(&mut self, routed: Arc<Mutex<dyn Routed>>) {
        self.routed = Some(routed);
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

    /// Adds tokens to the sequence like [`Self::extend_all`], or like [`Self::extend`], and appends the residual stream before three
    /// layers to `features`, `[tokens, 3 × hidden]`.
    pub(crate) fn extend_tapped(
        &mut self,
        tokens: &[u32],
        taps: [usize; 3],
        all: bool,
        logits: &mut Vec<f32>,
        features: &mut Vec<f32>,
    ) -> Result<(), RunError> {
        self.check(tokens)?;
        let (start, before) = (self.position(), features.len());
        let cancel: Vec<_> = self.flags().collect();
        let Self { model, bound, cache, scratch, .. } = self;
        let blocks = tokens.chunks(model.options().batch.max(1));
        let last = blocks.len() - 1;
        let done = model.install(|| {
            blocks.enumerate().try_for_each(|(at, tokens)| {
                let wanted = match (all, at < last) {
                    (true, _) => Wanted::All,
                    (false, true) => Wanted::Nothing,
                    (false, false) => Wanted::Last,
                };
                let features = Some(Features::new(taps, features));
                let hooks = Hooks { features, cancel: &cancel, ..Hooks::default() };
                model.decoder(bound).forward(&mut [Segment { tokens, cache }], wanted, scratch, hooks, logits)
            })
        });
        if done.is_err() {
            cache.set_len(start);
            features.truncate(before);
        }
        done
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
        let cancel: Vec<_> = self.flags().collect();
        let Self { model, bound, cache, scratch, routed, .. } = self;
        let blocks = tokens.chunks(model.options().batch.max(1));
        let last = blocks.len() - 1;
        let is_observed = observer.is_some();
        let mut routed = routed.as_ref().map(|routed| routed.lock().unwrap_or_else(PoisonError::into_inner));
        let done = model.install(|| {
            blocks.enumerate().try_for_each(|(at, tokens)| {
                let wanted = if wanted == Wanted::Last && at < last { Wanted::Nothing } else { wanted };
                let routed = routed.as_deref_mut().map(|routed| routed as &mut dyn Routed);
                let hooks = Hooks { observer: reborrow(&mut observer), routed, cancel: &cancel, features: None };
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

    /// Flags that end a call.
    fn flags(&self) -> impl Iterator<Item = Arc<AtomicBool>> {
        self.cancel.iter().flatten().cloned()
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

/// Adds tokens to several sequences of one model at once, so that each weight is read once for all of them that fit
/// [`LoadOptions::batch`](crate::LoadOptions::batch) together. Returns the logits of the token after each, `[sessions, vocabulary]`.
/// The flag of any of the sessions ends the call.
///
/// # Errors
///
/// [`RunError::OtherModel`] for a session of another model, and those of [`Session::extend`]. The sequences are as before then.
pub fn extend_batch(sessions: &mut [(&mut Session<'_>, &[u32])]) -> Result<Vec<f32>, RunError> {
    let Some((first, _)) = sessions.first() else { return Ok(Vec::new()) };
    let (model, bound) = (first.model, Arc::clone(&first.bound));
    for (at, (session, tokens)) in sessions.iter().enumerate() {
        if !std::ptr::eq(session.model, model) {
            return Err(RunError::OtherModel { at });
        }
        session.check(tokens)?;
    }
    let cancel: Vec<_> = sessions.iter().flat_map(|(session, _)| session.flags()).collect();
    let starts: Vec<usize> = sessions.iter().map(|(session, _)| session.position()).collect();
    let done = model.install(|| together(sessions, model.decoder(&bound), model.options().batch.max(1), &cancel));
    if done.is_err() {
        sessions.iter_mut().zip(starts).for_each(|((session, _), start)| session.truncate(start));
    }
    done
}

/// Runs as many sessions at a time as have `batch` tokens together, and one in pieces that has more.
fn together(
    mut sessions: &mut [(&mut Session<'_>, &[u32])],
    decoder: Decoder<'_, '_>,
    batch: usize,
    cancel: &[Arc<AtomicBool>],
) -> Result<Vec<f32>, RunError> {
    let (mut scratch, mut logits) = (Scratch::default(), Vec::new());
    while !sessions.is_empty() {
        let mut rows = 0;
        let fitting = sessions.iter().take_while(|(_, tokens)| {
            rows += tokens.len();
            rows <= batch
        });
        let count = fitting.count().max(1);
        let group = sessions.split_off_mut(..count).expect("there are as many");
        if let [(session, tokens)] = group {
            let last = tokens.len().div_ceil(batch) - 1;
            for (at, tokens) in tokens.chunks(batch).enumerate() {
                let wanted = if at < last { Wanted::Nothing } else { Wanted::Last };
                let segment = Segment { tokens, cache: &mut session.cache };
                decoder.forward(
                    &mut [segment],
                    wanted,
                    &mut scratch,
                    Hooks { cancel, ..Hooks::default() },
                    &mut logits,
                )?;
            }
        } else {
            let segments = group.iter_mut().map(|(session, tokens)| Segment { tokens, cache: &mut session.cache });
            let (mut segments, hooks) = (segments.collect::<Vec<_>>(), Hooks { cancel, ..Hooks::default() });
            decoder.forward(&mut segments, Wanted::Last, &mut scratch, hooks, &mut logits)?;
        }
    }
    Ok(logits)
}
