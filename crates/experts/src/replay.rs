//! Replay of a trace against a cache of so many slots.

use std::cmp::Reverse;

use crate::trace::Trace;

/// Options of a replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplayOptions {
    /// Number of experts that the cache holds, of all layers together.
    pub slots: usize,
    /// Share of the slots that hold the most used experts for good, from 0 to 1. The other slots hold the latest used.
    pub pinned: f64,
    /// Share of the tokens that give the counts, from 0 to 1. The rest is replayed.
    pub warm: f64,
}

impl Default for ReplayOptions {
    /// No slots, half of them pinned, and half of the tokens to count.
    fn default() -> Self {
        Self { slots: 0, pinned: 0.5, warm: 0.5 }
    }
}

/// Outcome of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replay {
    /// Number of slots.
    pub slots: usize,
    /// Number of slots that were pinned.
    pub pinned: usize,
    /// Number of experts that the replayed tokens asked for.
    pub requests: u64,
    /// Number of them that were in a slot.
    pub hits: u64,
}

/// Reason why a trace cannot be replayed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A share is not one.
    #[error("the share of {what} is {found}, expected a number from 0 to 1")]
    Share {
        /// What it is a share of.
        what: &'static str,
        /// The number.
        found: f64,
    },
    /// Nothing is left to replay.
    #[error("no token of {tokens} is left to replay after {warm} that give the counts: record more, or count fewer")]
    Nothing {
        /// Number of tokens in the trace.
        tokens: usize,
        /// Number of tokens that give the counts.
        warm: usize,
    },
}

impl Replay {
    /// Returns the number of experts that were in no slot.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.requests - self.hits
    }
}

/// Replays a trace against a cache whose pinned slots hold the most used experts (ties go to the lower layer, then to the lower number), and
/// whose other slots hold the latest used ones.
///
/// # Errors
///
/// [`ReplayError`] for a share that is none, and for a trace of which nothing is left to replay.
pub fn replay(trace: &Trace, options: &ReplayOptions) -> Result<Replay, ReplayError> {
    for (what, found) in [("pinned slots", options.pinned), ("counted tokens", options.warm)] {
        if !(0.0..=1.0).contains(&found) {
            return Err(ReplayError::Share { what, found });
        }
    }
    let warm = part(trace.len(), options.warm);
    if warm == trace.len() {
        return Err(ReplayError::Nothing { tokens: trace.len(), warm });
    }
    let (experts, top_k) = (trace.header().experts() as usize, trace.header().top_k() as usize);
    let keys = trace.header().layers().len() * experts;
    let key = |at: usize, expert: u32| at / top_k * experts + expert as usize;

    let mut counts = vec![0_u64; keys];
    for token in trace.tokens().take(warm) {
        for (at, expert) in token.iter().enumerate() {
            counts[key(at, *expert)] += 1;
        }
    }
    let mut order: Vec<usize> = (0..keys).collect();
    order.sort_by_key(|key| Reverse(counts[*key]));
    order.truncate(part(options.slots, options.pinned));
    let pinned = order.len();
    let mut is_pinned = vec![false; keys];
    for key in order {
        is_pinned[key] = true;
    }

    let mut cache = Latest::new(keys, options.slots - pinned);
    let (mut requests, mut hits) = (0, 0);
    for token in trace.tokens().skip(warm) {
        for (at, expert) in token.iter().enumerate() {
            let key = key(at, *expert);
            requests += 1;
            hits += u64::from(is_pinned[key] || cache.ask(key));
        }
    }
    Ok(Replay { slots: options.slots, pinned, requests, hits })
}

/// The whole part of `share` of `count`.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53 are exact")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count is not larger than it")]
fn part(count: usize, share: f64) -> usize {
    ((count as f64 * share) as usize).min(count)
}

/// The latest used keys, of which there are at most so many. A list from the latest to the earliest, by numbers.
struct Latest {
    /// The key after and before each. `keys` stands for the ends.
    next: Vec<usize>,
    before: Vec<usize>,
    is_in: Vec<bool>,
    len: usize,
    room: usize,
}

impl Latest {
    fn new(keys: usize, room: usize) -> Self {
        let ends = vec![keys; keys + 1];
        Self { next: ends.clone(), before: ends, is_in: vec![false; keys], len: 0, room }
    }

    /// Makes a key the latest. Returns whether it was there.
    fn ask(&mut self, key: usize) -> bool {
        let end = self.is_in.len();
        let was_in = self.is_in[key];
        if was_in {
            self.unlink(key);
        } else if self.room == 0 {
            return false;
        } else if self.len == self.room {
            let earliest = self.before[end];
            self.unlink(earliest);
            self.is_in[earliest] = false;
        } else {
            self.len += 1;
        }
        self.is_in[key] = true;
        let first = self.next[end];
        (self.next[key], self.before[key]) = (first, end);
        self.before[first] = key;
        self.next[end] = key;
        was_in
    }

    fn unlink(&mut self, key: usize) {
        let (next, before) = (self.next[key], self.before[key]);
        self.next[before] = next;
        self.before[next] = before;
    }
}
