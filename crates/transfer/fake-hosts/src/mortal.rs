//! A host that is killed, and started again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Asked, Faults, Host, Logged, Reply};

/// An instant at which a host is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Death {
    /// Bytes that it takes and sends before, since it was started. A request without a body counts as one.
    pub after: u64,
    /// Requests that nobody answers before it is started again.
    pub down: usize,
}

impl Death {
    /// Makes `count` instants without order, up to `most` bytes apart. Each outlasts from none to more attempts than a client makes.
    #[must_use]
    pub fn instants(seed: u64, count: usize, most: u64) -> Vec<Self> {
        let mut state = seed | 1;
        let mut next = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let down = |number: u64| usize::try_from(number).expect("it is small");
        (0..count).map(|_| Self { after: next(most), down: down(next(16)) }).collect()
    }
}

/// A host that is killed at instants that are told by bytes, so that they are the same in every run.
pub struct Mortal {
    inner: Arc<dyn Host>,
    life: Mutex<Life>,
}

struct Life {
    deaths: VecDeque<Death>,
    /// Bytes since it was started.
    bytes: u64,
    /// Requests that are still not answered.
    down: usize,
}

impl Mortal {
    /// Has `inner` killed at these instants, one after the other.
    #[must_use]
    pub fn new(inner: Arc<dyn Host>, deaths: impl IntoIterator<Item = Death>) -> Self {
        Self { inner, life: Mutex::new(Life { deaths: deaths.into_iter().collect(), bytes: 0, down: 0 }) }
    }

    /// Number of instants that are still to come.
    #[must_use]
    pub fn left(&self) -> usize {
        self.life().deaths.len()
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is down, which one more request has found.
    fn is_down(&self) -> bool {
        let mut life = self.life();
        let is_down = life.down > 0;
        life.down = life.down.saturating_sub(1);
        is_down
    }

    /// Counts bytes. Returns how many of them come before it is killed, if it is.
    fn count(&self, bytes: u64) -> Option<u64> {
        let mut life = self.life();
        let Death { after, down } = *life.deaths.front()?;
        let before = after.saturating_sub(life.bytes);
        if bytes <= before {
            life.bytes += bytes;
            return None;
        }
        life.deaths.pop_front();
        (life.bytes, life.down) = (0, down);
        self.inner.restart();
        Some(before)
    }
}

impl std::fmt::Debug for Mortal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mortal").field("left", &self.left()).finish_non_exhaustive()
    }
}

impl Host for Mortal {
    fn answer(&self, asked: &Asked) -> Reply {
        self.inner.answer(asked)
    }

    fn faults(&self) -> &Faults {
        self.inner.faults()
    }

    fn log(&self) -> &Mutex<Vec<Logged>> {
        self.inner.log()
    }

    fn handle(&self, asked: &Asked) -> Option<Reply> {
        // A request that does not arrive whole does nothing.
        if self.is_down() || self.count(asked.body.len() as u64 + 1).is_some() {
            return None;
        }
        let mut reply = self.inner.handle(asked)?;
        if let Some(before) = self.count(reply.body.len() as u64) {
            reply.body.truncate(usize::try_from(before).unwrap_or(usize::MAX));
            reply.cut = true;
        }
        Some(reply)
    }
}
