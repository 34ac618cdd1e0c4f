//! Making something of the pieces of a tensor on several threads, and taking it in the order of the pieces.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::execute::{
    error::ImportError,
    read::{
        piece::Piece,
        values::{ValueBuffers, ValueReader},
    },
    spare::{Spare, Taken},
};

/// Something that is read piece by piece.
pub(super) trait Pieces {
    /// Buffers for one piece.
    type Buffers: Default;

    /// The next piece; `None` after the last.
    fn next<'b>(&mut self, buffers: &'b mut Self::Buffers) -> Result<Option<Piece<'b>>, ImportError>;

    /// Number of codes so far that were NaN by mistake.
    fn mended(&self) -> u64;
}

impl Pieces for ValueReader<'_> {
    type Buffers = ValueBuffers;

    fn next<'b>(&mut self, buffers: &'b mut ValueBuffers) -> Result<Option<Piece<'b>>, ImportError> {
        ValueReader::next(self, buffers)
    }

    fn mended(&self) -> u64 {
        ValueReader::mended(self)
    }
}

/// Makes something of a piece. Called on many threads at once.
pub(super) type Make<'m, P> = dyn Fn(&Piece<'_>, &mut P) -> Result<(), ImportError> + Sync + 'm;

/// Takes what was made of a piece. Called for one piece after the other, in their order.
pub(super) type Take<'t, P> = dyn FnMut(&Piece<'_>, &mut P) -> Result<(), ImportError> + Send + 't;

/// Reads all pieces of `reader`, calls `make` for each, and then `take` in the order of the pieces. Threads of `helpers` that are spare
/// join at any time. What is taken is the same with any number of them, and so is the error: that of the first piece that has one.
///
/// Returns the number of codes that were NaN by mistake.
pub(super) fn in_turn<R: Pieces + Send, P: Default + Send>(
    reader: R,
    helpers: Option<&Spare>,
    stop: &(dyn Fn() -> bool + Sync),
    (read, product): (&mut R::Buffers, &mut P),
    make: &Make<'_, P>,
    take: &mut Take<'_, P>,
) -> Result<u64, ImportError> {
    let line = Line::new(reader, stop, make, take);
    thread::scope(|scope| {
        line.work((read, product), &mut || {
            let Some(spare) = helpers else { return };
            line.call_helpers(spare, &mut |taken| {
                let line = &line;
                let help = move || {
                    let _taken = taken;
                    line.work((&mut R::Buffers::default(), &mut P::default()), &mut || {});
                };
                thread::Builder::new().spawn_scoped(scope, help).is_ok()
            });
        });
    });
    match line.turn.into_inner().unwrap_or_else(PoisonError::into_inner).error {
        Some(error) => Err(error),
        None => Ok(line.queue.into_inner().unwrap_or_else(PoisonError::into_inner).reader.mended()),
    }
}

/// The work on one tensor.
struct Line<'l, R, P> {
    queue: Mutex<Queue<R>>,
    turn: Mutex<Turn<'l, P>>,
    /// Wakes those who wait for their turn.
    called: Condvar,
    stop: &'l (dyn Fn() -> bool + Sync),
    make: &'l Make<'l, P>,
}

/// The pieces that are still to be read.
struct Queue<R> {
    reader: R,
    /// Number of pieces that were given to threads.
    given: u64,
    is_over: bool,
}

/// The piece that is taken next.
struct Turn<'l, P> {
    take: &'l mut Take<'l, P>,
    next: u64,
    error: Option<ImportError>,
}

impl<'l, R: Pieces, P> Line<'l, R, P> {
    fn new(reader: R, stop: &'l (dyn Fn() -> bool + Sync), make: &'l Make<'l, P>, take: &'l mut Take<'l, P>) -> Self {
        let queue = Mutex::new(Queue { reader, given: 0, is_over: false });
        let turn = Mutex::new(Turn { take, next: 0, error: None });
        Self { queue, turn, called: Condvar::new(), stop, make }
    }

    /// Starts a helper for each thread that is spare now, while there are pieces. `start` says whether one was started.
    fn call_helpers<'s>(&self, spare: &'s Spare, start: &mut dyn FnMut(Taken<'s>) -> bool) {
        // A helper that finds nothing to do gives its thread back at once, which is not to be taken again and again.
        for _ in 0..spare.count() {
            if lock(&self.queue).is_over {
                return;
            }
            let Some(taken) = spare.take() else { return };
            if !start(taken) {
                return;
            }
        }
    }

    /// Works until no piece is left or one failed. Calls `before` before each piece.
    fn work(&self, (read, product): (&mut R::Buffers, &mut P), before: &mut dyn FnMut()) {
        let _leave = Leave(self);
        loop {
            before();
            let is_stopped = (self.stop)();
            let (number, piece) = {
                let mut queue = lock(&self.queue);
                if queue.is_over {
                    return;
                }
                let piece = if is_stopped { Err(ImportError::Cancelled) } else { queue.reader.next(read) };
                queue.is_over = !matches!(piece, Ok(Some(_)));
                queue.given += 1;
                (queue.given - 1, piece)
            };
            let Some(piece) = piece.transpose() else { return };
            let made = piece.and_then(|piece| (self.make)(&piece, product).map(|()| piece));
            let mut turn = lock(&self.turn);
            while turn.next != number && turn.error.is_none() {
                turn = self.called.wait(turn).unwrap_or_else(PoisonError::into_inner);
            }
            if turn.error.is_some() {
                return;
            }
            turn.error = made.and_then(|piece| (turn.take)(&piece, product)).err();
            turn.next += 1;
            self.called.notify_all();
        }
    }
}

/// Leaves the line. A thread that panics calls those who wait for it.
struct Leave<'l, 's, R, P>(&'l Line<'s, R, P>);

impl<R, P> Drop for Leave<'_, '_, R, P> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.turn).error = Some(ImportError::Cancelled);
            self.0.called.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::Barrier,
    };

    use super::*;

    /// Pieces of one byte, which is the number of the piece.
    struct Numbers {
        next: u8,
        count: u8,
    }

    impl Pieces for Numbers {
        type Buffers = Vec<u8>;

        fn next<'b>(&mut self, buffers: &'b mut Vec<u8>) -> Result<Option<Piece<'b>>, ImportError> {
            if self.next == self.count {
                return Ok(None);
            }
            *buffers = vec![self.next];
            self.next += 1;
            Ok(Some(Piece::one_run(buffers, u64::from(self.next) - 1, 1)))
        }

        fn mended(&self) -> u64 {
            u64::from(self.next)
        }
    }

    fn pieces(count: u8) -> Numbers {
        Numbers { next: 0, count }
    }

    fn number(piece: &Piece<'_>) -> u8 {
        piece.runs().flat_map(|(_, bytes)| bytes).copied().next().expect("a piece has a byte")
    }

    fn failure(number: u8) -> ImportError {
        ImportError::NonFinite { tensor: number.to_string(), count: u64::from(number) }
    }

    /// Runs `make` for `count` pieces with as many helpers, and returns what was taken, in order.
    fn run(
        count: u8,
        helpers: usize,
        stop: &(dyn Fn() -> bool + Sync),
        make: &Make<'_, u8>,
    ) -> (Vec<u8>, Result<u64, ImportError>) {
        let (mut taken, spare) = (Vec::new(), Spare::new(helpers));
        let found = in_turn(pieces(count), Some(&spare), stop, (&mut Vec::new(), &mut 0), make, &mut |_, made| {
            taken.push(*made);
            Ok(())
        });
        assert_eq!(spare.count(), helpers, "every helper gives its thread back");
        (taken, found)
    }

    /// Each piece is made only while another thread makes one, so that both threads have to work.
    #[test]
    fn two_threads_share_the_pieces_and_give_them_in_order() {
        let both = Barrier::new(2);
        let (taken, mended) = run(100, 1, &|| false, &|piece, made| {
            both.wait();
            *made = number(piece);
            Ok(())
        });
        assert_eq!(taken, (0..100).collect::<Vec<u8>>());
        assert!(matches!(mended, Ok(100)), "{mended:?}");
    }

    #[test]
    fn the_error_is_that_of_the_first_piece_with_one() {
        for helpers in [0, 1, 3] {
            let (taken, found) = run(20, helpers, &|| false, &|piece, made| {
                *made = number(piece);
                if [5, 6, 9].contains(made) { Err(failure(*made)) } else { Ok(()) }
            });
            assert_eq!(taken, [0, 1, 2, 3, 4]);
            assert!(matches!(found, Err(ImportError::NonFinite { count: 5, .. })), "{helpers}: {found:?}");
        }
    }

    #[test]
    fn what_is_stopped_takes_nothing() {
        for helpers in [0, 2] {
            let (taken, found) = run(20, helpers, &|| true, &|_, _| Ok(()));
            assert!(taken.is_empty() && matches!(found, Err(ImportError::Cancelled)), "{found:?}");
        }
    }

    /// The thread that waits for the turn of the piece after one that panics is woken.
    #[test]
    fn a_panic_reaches_the_caller() {
        let both = Barrier::new(2);
        let found = catch_unwind(AssertUnwindSafe(|| {
            run(2, 1, &|| false, &|piece, _| {
                both.wait();
                assert!(number(piece) > 0, "this is the panic of a test");
                Ok(())
            })
        }));
        assert!(found.is_err());
    }

    /// Helpers that find nothing to do would otherwise be started until all happen to run at once.
    #[test]
    fn helpers_are_started_once_and_none_after_the_last_piece() {
        let mut take = |_: &Piece<'_>, _: &mut u8| Ok(());
        let line = Line::new(pieces(1), &|| false, &|_, _| Ok(()), &mut take);
        let (spare, mut started) = (Spare::new(3), 0);
        let mut start = |taken: Taken<'_>| {
            started += 1;
            assert!(started <= 3, "a thread that was given back is taken again");
            drop(taken);
            true
        };
        line.call_helpers(&spare, &mut start);
        line.work((&mut Vec::new(), &mut 0), &mut || {});
        line.call_helpers(&spare, &mut start);
        assert_eq!((started, spare.count()), (3, 3));
    }
}
