//! Pieces of products, and the threads that compute them.

use std::{slice::Chunks, sync::Arc};

use super::{exact, fast, level::Level, scratch::Scratch, threads, weights::Weights};

/// Products of a weight and a number of the input that one piece has at least: a microsecond of work.
const LEAST: usize = 1 << 15;

/// Products below which other threads cost more than they gain, and those of rayon, which take longer to come.
const ALONE: usize = 1 << 17;
#[cfg(feature = "rayon")]
const ALONE_WITH_RAYON: usize = 1 << 18;

/// Pieces for each thread, so that one that is late does not keep the others waiting for long.
const PIECES: usize = 4;

/// Rows of a piece are a multiple of the largest tile's, for one row of the input and for many.
const ROWS_OF_ONE: usize = 8;
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
    pub(super) y: Output<'a>,
}

/// Slices of the output, one for each row of the input. One alone, the most frequent case, needs no memory.
#[derive(Debug)]
pub(super) enum Output<'a> {
    One([&'a mut [f32]; 1]),
    Many(Vec<&'a mut [f32]>),
}

/// Reason that a slice can be split.
const MORE: &str = "there are more rows";

impl<'a> Output<'a> {
    /// Slices of `len` numbers each, which are not none.
    pub(super) fn new(y: &'a mut [f32], len: usize) -> Self {
        if y.len() == len { Self::One([y]) } else { Self::Many(y.chunks_exact_mut(len).collect()) }
    }

    fn slices(&mut self) -> &mut [&'a mut [f32]] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }

    /// Takes the first `len` numbers off each slice.
    fn split_off(&mut self, len: usize) -> Self {
        match self {
            Self::One([y]) => Self::One([y.split_off_mut(..len).expect(MORE)]),
            Self::Many(many) => Self::Many(many.iter_mut().map(|y| y.split_off_mut(..len).expect(MORE)).collect()),
        }
    }
}

impl Task<'_> {
    fn run(mut self, level: Level) {
        Scratch::with(|scratch| match self.input {
            Prepared::Exact(input) => exact::multiply(level, self.weights, input, self.y.slices(), scratch),
            Prepared::Fast(input) => fast::multiply(level, self.weights, input, self.y.slices(), scratch),
        });
    }

    fn work(&self) -> usize {
        self.weights.rows().saturating_mul(self.weights.columns()).saturating_mul(self.y.len())
    }

    /// Cuts this task into pieces of about `size` products, and adds them to `out`.
    fn cut(self, size: usize, out: &mut Vec<Self>) {
        let per_row = self.work() / self.weights.rows().max(1);
        let multiple = if self.y.len() == 1 { ROWS_OF_ONE } else { ROWS };
        let rows = (size / per_row.max(1)).max(1).next_multiple_of(multiple);
        let Self { weights, input, mut y } = self;
        let mut start = 0;
        while start + rows < weights.rows() {
            out.push(Self { weights: weights.cut(start..start + rows), input, y: y.split_off(rows) });
            start += rows;
        }
        out.push(Self { weights: weights.cut(start..weights.rows()), input, y });
    }
}

/// Runs all tasks, on the threads of this thread's pool where the work is worth it.
pub(super) fn run(level: Level, tasks: Vec<Task<'_>>) {
    let total = tasks.iter().fold(0usize, |total, task| total.saturating_add(task.work()));
    let pool = Pool::for_work(total);
    let threads = pool.count();
    if threads < 2 {
        return tasks.into_iter().for_each(|task| task.run(level));
    }
    let size = (total / (threads * PIECES)).max(LEAST);
    let mut pieces = Vec::with_capacity(threads * PIECES + tasks.len());
    for task in tasks {
        task.cut(size, &mut pieces);
    }
    pool.each(pieces, |piece| piece.run(level));
}

/// Applies `work` to pieces of an input, on the threads of this thread's pool where there are several pieces.
pub(super) fn map<'a, T: Send>(pieces: Chunks<'a, f32>, work: impl Fn(&'a [f32]) -> T + Send + Sync) -> Vec<T> {
    if pieces.len() < 2 {
        return pieces.map(work).collect();
    }
    let mut out: Vec<Option<T>> = pieces.clone().map(|_| None).collect();
    Pool::current().each(pieces.zip(&mut out).collect(), |(piece, out)| *out = Some(work(piece)));
    out.into_iter().map(|out| out.expect("each piece has been mapped")).collect()
}

/// The threads that products of this thread are computed by.
enum Pool {
    Alone,
    Own(Arc<threads::Shared>),
    #[cfg(feature = "rayon")]
    Rayon,
}

impl Pool {
    /// The threads that are installed; else, where the feature `rayon` is on, those of the current rayon pool.
    fn current() -> Self {
        match threads::current() {
            Some(threads) => Self::Own(threads),
            #[cfg(feature = "rayon")]
            None if crate::parallel::has_pool() => Self::Rayon,
            None => Self::Alone,
        }
    }

    /// As [`current`](Self::current), where so many products are worth the other threads.
    fn for_work(total: usize) -> Self {
        if total < ALONE {
            return Self::Alone;
        }
        match Self::current() {
            #[cfg(feature = "rayon")]
            Self::Rayon if total < ALONE_WITH_RAYON => Self::Alone,
            pool => pool,
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::Alone => 1,
            Self::Own(threads) => threads.count(),
            #[cfg(feature = "rayon")]
            Self::Rayon => rayon::current_num_threads(),
        }
    }

    /// Calls `work` once with each piece. A thread takes the next one when it is done with its last.
    fn each<P: Send>(&self, pieces: Vec<P>, work: impl Fn(P) + Send + Sync) {
        match self {
            Self::Alone => pieces.into_iter().for_each(work),
            Self::Own(threads) => {
                let mut pieces: Vec<_> = pieces.into_iter().map(Some).collect();
                threads.each_chunk(&mut pieces, 1, |_, piece| {
                    if let Some(piece) = piece.first_mut().and_then(Option::take) {
                        work(piece);
                    }
                });
            }
            #[cfg(feature = "rayon")]
            Self::Rayon => spread(pieces, work),
        }
    }
}

/// Runs the pieces on the threads of the rayon pool.
#[cfg(feature = "rayon")]
fn spread<P: Send>(pieces: Vec<P>, work: impl Fn(P) + Send + Sync) {
    use std::sync::{Mutex, PoisonError, atomic::Ordering};
    let helpers = rayon::current_num_threads().min(pieces.len()) - 1;
    let call = linger::CALLS.fetch_add(1, Ordering::Release) + 1;
    let pieces = Mutex::new(pieces.into_iter());
    let work = || {
        loop {
            let piece = pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(piece) = piece else { break };
            work(piece);
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
