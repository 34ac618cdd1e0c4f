//! Pieces of products, and the threads that compute them.

use std::slice::Chunks;

use super::{exact, fast, level::Level, scratch::Scratch, weights::Weights};

/// Products of a weight and a number of the input that one piece has at least: a microsecond of work or two.
const LEAST: usize = 1 << 16;

/// Products below which other threads cost more than they gain.
#[cfg(feature = "rayon")]
const ALONE: usize = 1 << 18;

/// Pieces for each thread, so that one that is late does not keep the others waiting for long.
const PIECES: usize = 4;

/// Rows of a piece are a multiple of the largest tile's.
const ROWS: usize = 16;

/// Rows of an input, prepared for weights of one form.
#[derive(Debug)]
pub(super) enum Prepared<'a> {
    Exact(exact::Input<'a>),
    Fast(fast::Input),
}

impl<'a> Prepared<'a> {
    pub(super) fn new(level: Level, form: Option<fast::Form>, x: &'a [f32], columns: usize) -> Self {
        match form {
            None => Self::Exact(exact::Input::new(x, columns)),
            Some(form) => Self::Fast(fast::Input::new(level, form, x, columns)),
        }
    }

    /// The form of weights that this is prepared for.
    pub(super) fn form(&self) -> Option<fast::Form> {
        match self {
            Self::Exact(_) => None,
            Self::Fast(input) => Some(input.form),
        }
    }
}

/// Some rows of a product: as many as `weights` has. `y` has one slice for each row of the input.
#[derive(Debug)]
pub(super) struct Task<'a> {
    pub(super) weights: Weights<'a>,
    pub(super) input: &'a Prepared<'a>,
    pub(super) y: Vec<&'a mut [f32]>,
}

impl Task<'_> {
    fn run(mut self, level: Level) {
        Scratch::with(|scratch| match self.input {
            Prepared::Exact(input) => exact::multiply(level, self.weights, input, &mut self.y, scratch),
            Prepared::Fast(input) => fast::multiply(level, self.weights, input, &mut self.y, scratch),
        });
    }

    fn work(&self) -> usize {
        self.weights.rows().saturating_mul(self.weights.columns()).saturating_mul(self.y.len())
    }

    /// Cuts this task into pieces of about `size` products, and adds them to `out`.
    fn cut(self, size: usize, out: &mut Vec<Self>) {
        let per_row = self.work() / self.weights.rows().max(1);
        let rows = (size / per_row.max(1)).max(1).next_multiple_of(ROWS);
        let Self { weights, input, mut y } = self;
        let mut start = 0;
        while start + rows < weights.rows() {
            let head = y.iter_mut().map(|y| y.split_off_mut(..rows).expect("there are more rows")).collect();
            out.push(Self { weights: weights.cut(start..start + rows), input, y: head });
            start += rows;
        }
        out.push(Self { weights: weights.cut(start..weights.rows()), input, y });
    }
}

/// Runs all tasks, on the threads of the current rayon pool where the feature `rayon` is on and the work is worth it.
pub(super) fn run(level: Level, tasks: Vec<Task<'_>>) {
    let total = tasks.iter().fold(0usize, |total, task| total.saturating_add(task.work()));
    let threads = threads(total);
    if threads < 2 {
        return tasks.into_iter().for_each(|task| task.run(level));
    }
    let size = (total / (threads * PIECES)).max(LEAST);
    let mut pieces = Vec::with_capacity(threads * PIECES + tasks.len());
    for task in tasks {
        task.cut(size, &mut pieces);
    }
    spread(level, pieces);
}

/// Applies `work` to pieces of an input, on the threads of the current rayon pool where there are several pieces.
#[cfg(feature = "rayon")]
pub(super) fn map<'a, T: Send>(pieces: Chunks<'a, f32>, work: impl Fn(&'a [f32]) -> T + Send + Sync) -> Vec<T> {
    use rayon::prelude::*;
    if pieces.len() < 2 || !crate::parallel::has_pool() {
        return pieces.map(work).collect();
    }
    pieces.collect::<Vec<_>>().into_par_iter().map(work).collect()
}

/// Applies `work` to pieces of an input.
#[cfg(not(feature = "rayon"))]
pub(super) fn map<'a, T>(pieces: Chunks<'a, f32>, work: impl Fn(&'a [f32]) -> T) -> Vec<T> {
    pieces.map(work).collect()
}

#[cfg(feature = "rayon")]
fn threads(total: usize) -> usize {
    if total >= ALONE && crate::parallel::has_pool() { rayon::current_num_threads() } else { 1 }
}

/// Runs the pieces on the threads of the pool: each takes the next one when it is done with its last.
#[cfg(feature = "rayon")]
fn spread(level: Level, pieces: Vec<Task<'_>>) {
    use std::sync::{Mutex, PoisonError, atomic::Ordering};
    let helpers = rayon::current_num_threads().min(pieces.len()) - 1;
    let call = linger::CALLS.fetch_add(1, Ordering::Release) + 1;
    let pieces = Mutex::new(pieces.into_iter());
    let work = || {
        loop {
            let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(piece) = piece else { break };
            piece.run(level);
        }
    };
    let work = &work;
    rayon::scope(|scope| {
        let caller = rayon::current_thread_index();
        for _ in 0..helpers {
            scope.spawn(move |_| {
                work();
                rayon::spawn(move || linger::until_after(call, caller));
            });
        }
        work();
    });
}

/// Threads that wait for the next product without sleeping, because waking a thread takes longer than a small product.
#[cfg(feature = "rayon")]
mod linger {
    use std::{
        hint::spin_loop,
        sync::atomic::{AtomicUsize, Ordering},
        time::{Duration, Instant},
    };

    /// Number of products so far that several threads took part in.
    pub(super) static CALLS: AtomicUsize = AtomicUsize::new(0);

    /// How long a thread waits: longer than what a model computes between two products.
    const LONGEST: Duration = Duration::from_micros(100);

    /// Waits until there is another product than `call`, unless this is the thread that called. Then the thread looks
    /// for work, and finds its part of it.
    pub(super) fn until_after(call: usize, caller: Option<usize>) {
        if rayon::current_thread_index() == caller {
            return;
        }
        let start = Instant::now();
        while CALLS.load(Ordering::Acquire) == call && start.elapsed() < LONGEST {
            for _ in 0..16 {
                spin_loop();
            }
        }
    }
}

#[cfg(not(feature = "rayon"))]
fn threads(_total: usize) -> usize {
    1
}

#[cfg(not(feature = "rayon"))]
fn spread(level: Level, pieces: Vec<Task<'_>>) {
    for task in pieces {
        task.run(level);
    }
}
