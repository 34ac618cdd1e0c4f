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
    spare::Spare,
};

/// Makes something of a piece. Called on many threads at once.
pub(super) type Make<'m, P> = dyn Fn(&Piece<'_>, &mut P) -> Result<(), ImportError> + Sync + 'm;

/// Takes what was made of a piece. Called for one piece after the other, in their order.
pub(super) type Take<'t, P> = dyn FnMut(&Piece<'_>, &mut P) -> Result<(), ImportError> + Send + 't;

/// Reads all pieces of `reader`, calls `make` for each, and then `take` in the order of the pieces. Threads of `helpers` that are spare
/// join at any time. What is taken is the same with any number of them, and so is the error: that of the first piece that has one.
///
/// Returns the number of codes that were NaN by mistake.
pub(super) fn in_turn<P: Default + Send>(
    reader: ValueReader<'_>,
    helpers: Option<&Spare>,
    stop: &(dyn Fn() -> bool + Sync),
    (read, product): (&mut ValueBuffers, &mut P),
    make: &Make<'_, P>,
    take: &mut Take<'_, P>,
) -> Result<u64, ImportError> {
    let queue = Mutex::new(Queue { reader, given: 0, is_over: false });
    let turn = Mutex::new(Turn { take, next: 0, error: None });
    let line = Line { queue, turn, called: Condvar::new(), stop, make };
    thread::scope(|scope| {
        line.work((read, product), &mut || {
            let Some(spare) = helpers else { return };
            while let Some(taken) = spare.take() {
                let line = &line;
                let help = move || {
                    let _taken = taken;
                    line.work((&mut ValueBuffers::default(), &mut P::default()), &mut || {});
                };
                if thread::Builder::new().spawn_scoped(scope, help).is_err() {
                    return;
                }
            }
        });
    });
    match line.turn.into_inner().unwrap_or_else(PoisonError::into_inner).error {
        Some(error) => Err(error),
        None => Ok(line.queue.into_inner().unwrap_or_else(PoisonError::into_inner).reader.mended()),
    }
}

/// The work on one tensor.
struct Line<'l, 'a, P> {
    queue: Mutex<Queue<'a>>,
    turn: Mutex<Turn<'l, P>>,
    /// Wakes those who wait for their turn.
    called: Condvar,
    stop: &'l (dyn Fn() -> bool + Sync),
    make: &'l Make<'l, P>,
}

/// The pieces that are still to be read.
struct Queue<'a> {
    reader: ValueReader<'a>,
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

impl<P> Line<'_, '_, P> {
    /// Works until no piece is left or one failed. Calls `before` before each piece.
    fn work(&self, (read, product): (&mut ValueBuffers, &mut P), before: &mut dyn FnMut()) {
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
struct Leave<'l, 's, 'a, P>(&'l Line<'s, 'a, P>);

impl<P> Drop for Leave<'_, '_, '_, P> {
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
