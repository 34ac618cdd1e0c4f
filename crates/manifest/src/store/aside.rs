//! Hashing of a blob in the order of its bytes: on the thread that writes it, or on a thread of its own.

use std::{
    mem,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use crate::{
    Digest,
    document::{ChunkHasher, Chunks},
};

/// Number of bytes that are handed over at a time. They fit into a core's own cache.
const PIECE: usize = 256 << 10;
/// Number of pieces that are filled, on their way or being hashed. If there is none left, the thread that writes waits.
const PIECES: usize = 4;

/// Hasher of the bytes of a blob, which it takes in their order.
#[derive(Debug)]
pub(super) enum InOrder {
    /// The thread that adds bytes hashes them.
    Here(ChunkHasher),
    /// Another thread does.
    Aside(Aside),
}

/// A thread that hashes. If this is dropped, it ends when it has hashed what it was given.
#[derive(Debug)]
pub(super) struct Aside {
    /// The piece that is being filled.
    filling: Vec<u8>,
    full: SyncSender<Vec<u8>>,
    /// Never locked: a receiver alone would keep a writer of blobs from being shared between threads.
    empty: Mutex<Receiver<Vec<u8>>>,
    thread: JoinHandle<ChunkHasher>,
}

impl Default for InOrder {
    fn default() -> Self {
        Self::Here(ChunkHasher::default())
    }
}

impl InOrder {
    /// Goes on with a thread of its own. Returns whether there is one: the system may have no more threads.
    pub(super) fn go_aside(&mut self) -> bool {
        let Self::Here(hasher) = self else { return true };
        let Some(aside) = Aside::new(hasher.clone()) else { return false };
        *self = Self::Aside(aside);
        true
    }

    /// Adds the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Here(hasher) => hasher.update(bytes),
            Self::Aside(aside) => {
                let rest = aside.hand_over(bytes);
                if !rest.is_empty() {
                    self.come_back().update(rest);
                }
            }
        }
    }

    /// Returns the digest of all bytes and those of their chunks, as [`ChunkHasher::finish`] does.
    pub(super) fn finish(mut self) -> (Digest, Option<Chunks>) {
        mem::take(self.come_back()).finish()
    }

    /// Waits for the other thread, if there is one, and goes on here.
    fn come_back(&mut self) -> &mut ChunkHasher {
        *self = Self::Here(match mem::take(self) {
            Self::Here(hasher) => hasher,
            Self::Aside(aside) => aside.join(),
        });
        let Self::Here(hasher) = self else { unreachable!("BUG: the hasher was just put here") };
        hasher
    }
}

impl Aside {
    fn new(mut hasher: ChunkHasher) -> Option<Self> {
        let (full, to_hash) = sync_channel::<Vec<u8>>(PIECES);
        let (to_fill, empty) = sync_channel(PIECES);
        (1..PIECES).for_each(|_| to_fill.send(Vec::new()).expect("its other end is above"));
        let work = move || {
            for piece in to_hash {
                hasher.update(&piece);
                // Nobody fills it once the last one is handed over.
                let _ = to_fill.send(piece);
            }
            hasher
        };
        let thread = thread::Builder::new().name("hash".into()).spawn(work).ok()?;
        Some(Self { filling: Vec::new(), full, empty: Mutex::new(empty), thread })
    }

    /// Copies bytes into pieces, and hands over those that are full. Returns the bytes for which there is no memory, or no thread any more.
    fn hand_over<'b>(&mut self, mut bytes: &'b [u8]) -> &'b [u8] {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.filling.len()));
            if self.filling.try_reserve_exact(PIECE - self.filling.len()).is_err() {
                return bytes;
            }
            self.filling.extend_from_slice(now);
            bytes = later;
            if self.filling.len() == PIECE {
                let empty = self.empty.get_mut().unwrap_or_else(PoisonError::into_inner);
                let Ok(next) = empty.recv() else { return bytes };
                // If the thread is gone, `join` says why.
                let _ = self.full.send(mem::replace(&mut self.filling, next));
                self.filling.clear();
            }
        }
        bytes
    }

    /// Hands over what is left, and returns the hasher of all bytes.
    fn join(self) -> ChunkHasher {
        let Self { filling, full, thread, .. } = self;
        let _ = full.send(filling);
        drop(full);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|at| u8::try_from(at * 31 % 251).expect("it is less than 251")).collect()
    }

    /// Digests of bytes that arrive in pieces of a size, on a thread of its own after so many of them.
    fn hashed(bytes: &[u8], piece: usize, here: usize) -> (Digest, Option<Chunks>) {
        let mut hasher = InOrder::default();
        for (at, piece) in bytes.chunks(piece).enumerate() {
            assert!(at != here || hasher.go_aside());
            hasher.update(piece);
        }
        hasher.finish()
    }

    #[test]
    fn another_thread_finds_the_same_digests() {
        let bytes = bytes((33 << 20) + 5);
        let mut expected = ChunkHasher::default();
        expected.update(&bytes);
        let expected = expected.finish();
        for (piece, here) in
            [(bytes.len(), 0), (PIECE, 0), (PIECE, 3), (1_000_003, 1), (PIECE - 1, 100), (PIECE, 1 << 20)]
        {
            assert_eq!(hashed(&bytes, piece, here), expected, "{piece}, {here}");
        }
    }

    #[test]
    fn a_thread_that_is_not_waited_for_ends() {
        let mut hasher = InOrder::default();
        assert!(hasher.go_aside() && hasher.go_aside());
        hasher.update(&vec![1; 3 * PIECE]);
        let InOrder::Aside(Aside { full, empty, thread, .. }) = hasher else { panic!("it has a thread") };
        drop(full);
        assert!(empty.into_inner().unwrap().recv().is_ok());
        assert!(thread.join().is_ok());
    }

    proptest! {
        #[test]
        fn it_may_go_aside_at_any_time(len in 0_usize..3 * PIECE, piece in 1_usize..2 * PIECE, here in 0_usize..8) {
            let bytes = bytes(len);
            prop_assert_eq!(hashed(&bytes, piece, here), (Digest::of(&bytes), None));
        }
    }
}
