//! Threads that compute the pieces of one region at a time, and spin for a moment before they sleep.
//!
//! One word holds the state of the pool, so that a thread joins a region, or finds it closed, in one step:
//!
//! ```text
//! state    regions so far | open | threads that are in
//!
//! caller   writes the work, opens, wakes who sleeps, takes pieces, closes, waits until nobody is in
//! thread   waits for a region that is open, joins, takes pieces, leaves
//! ```
//!
//! A thread that comes late finds the region closed, so the caller waits only for pieces that have been begun. Each
//! thread begins with a share of the pieces of its own, the same in every region of as many pieces, so that what it reads
//! again lies in its cache; then it takes what is left of the others'.
#![expect(unsafe_code, reason = "work that borrows is shared with threads that outlive the borrow")]

use std::{
    any::Any,
    cell::{RefCell, UnsafeCell},
    fmt,
    hint::spin_loop,
    io,
    marker::PhantomData,
    ops::Range,
    panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Time that a thread waits for the next region before it sleeps: longer than what a model computes between two.
const SPIN: Duration = Duration::from_micros(100);

/// Turns of a spinning thread between two looks at the clock.
const TURNS: u32 = 64;

/// Turns that a caller spins for the last pieces before it gives its processor to others.
const PATIENCE: u32 = 4096;

/// Layout of the state: the threads that are in, whether a region is open, and the number of regions.
const JOINED: u64 = OPEN - 1;
const OPEN: u64 = 1 << 16;
const REGION: u64 = OPEN << 1;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Threads for regions of parallel work that are as short as some microseconds.
///
/// A region is a number of pieces, which the caller and the threads take one after another; it ends when all pieces are
/// done. Between regions the threads spin for a tenth of a millisecond, then they sleep. Nothing is allocated for a
/// region. Where a region runs already, because a piece begins another one or because another caller was faster, the
/// caller computes all pieces by itself. A panic in a piece becomes a panic of the caller, and pieces that have not been
/// begun are left out.
///
/// A [`Multiplier`](super::Multiplier) uses the threads that are [installed](Self::install). Dropping the pool ends them.
///
/// ```
/// use longshore_quant::matmul::Threads;
///
/// let threads = Threads::new(2)?;
/// let mut squares = [0; 100];
/// threads.each_chunk(&mut squares, 10, |chunk, squares| {
///     for (i, square) in squares.iter_mut().enumerate() {
///         *square = (10 * chunk + i).pow(2);
///     }
/// });
/// assert_eq!(squares[99], 99 * 99);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Threads {
    shared: Arc<Shared>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts `count` threads less the caller, which takes part in each region. A count of zero is one.
    ///
    /// # Errors
    ///
    /// The error of the system where it starts no thread, and [`io::ErrorKind::InvalidInput`] from 65,536 on.
    pub fn new(count: usize) -> io::Result<Self> {
        let count = count.max(1);
        if u64::try_from(count).map_or(true, |count| count > JOINED) {
            let reason = format!("expected at most {JOINED} threads, found {count}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let mut threads = Self { shared: Arc::new(Shared::new(count)), handles: Vec::with_capacity(count - 1) };
        for i in 1..count {
            let shared = Arc::clone(&threads.shared);
            let thread = thread::Builder::new().name(format!("products-{i}"));
            threads.handles.push(thread.spawn(move || serve(i, &shared))?);
        }
        Ok(threads)
    }

    /// Number of threads, with the caller.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.count
    }

    /// Calls `work` once for each piece, `0..pieces`, on all threads.
    ///
    /// # Panics
    ///
    /// Where `work` panics, with its payload.
    pub fn each(&self, pieces: usize, work: impl Fn(usize) + Sync) {
        self.shared.each(pieces, &work);
    }

    /// Calls `work` once for each chunk of `len` elements, with its index. The last chunk may be shorter.
    ///
    /// # Panics
    ///
    /// Where `work` panics, with its payload, and where `len` is zero.
    pub fn each_chunk<T: Send>(&self, data: &mut [T], len: usize, work: impl Fn(usize, &mut [T]) + Sync) {
        self.shared.each_chunk(data, len, work);
    }

    /// Runs `work` on the calling thread, whose products are computed by these threads meanwhile.
    pub fn install<R>(&self, work: impl FnOnce() -> R) -> R {
        struct Restore(Option<Arc<Shared>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(Some(Arc::clone(&self.shared))));
        work()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
        for handle in self.handles.drain(..) {
            // No thread panics: their pieces' panics have been caught.
            drop(handle.join());
        }
    }
}

// A panic in a piece leaves the pool as it was.
impl UnwindSafe for Threads {}
impl RefUnwindSafe for Threads {}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// The threads that are installed for the calling thread.
pub(super) fn current() -> Option<Arc<Shared>> {
    CURRENT.with_borrow(Clone::clone)
}

/// A value on lines of the cache of its own.
#[repr(align(128))]
struct Apart<T>(T);

/// State that the caller and the threads share.
pub(super) struct Shared {
    count: usize,
    state: Apart<AtomicU64>,
    /// For each thread, the pieces of its share that have been taken.
    taken_of: Box<[Apart<AtomicUsize>]>,
    /// Whether a caller has the pool.
    taken: AtomicBool,
    stop: AtomicBool,
    /// Written by the caller that has the pool while nobody is in, and read by threads that are in.
    region: UnsafeCell<Region>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    sleeping: AtomicUsize,
    sleep: Mutex<()>,
    awake: Condvar,
}

// SAFETY: all but `region` is `Sync`. `region` is written only by the caller that has set `taken`, while the region is
// closed and no thread is in; it is read only by threads that are in. Joining and leaving order these accesses. What it
// points to is `Sync`, because `each` requires it.
unsafe impl Sync for Shared {}

// SAFETY: `region` is the only field that is not `Send`. Behind its pointer is a `Sync` value, and nobody follows the
// pointer outside a region.
unsafe impl Send for Shared {}

/// The work of a region: a pointer to a closure, and the function that calls it.
#[derive(Clone, Copy)]
struct Region {
    work: *const (),
    call: unsafe fn(*const (), usize),
    pieces: usize,
}

impl Region {
    fn new<F: Fn(usize) + Sync>(pieces: usize, work: &F) -> Self {
        /// Calls the closure at `work`.
        ///
        /// # Safety
        ///
        /// `work` points to an `F` that is borrowed meanwhile.
        unsafe fn call<F: Fn(usize) + Sync>(work: *const (), piece: usize) {
            // SAFETY: the caller promises that there is an `F`.
            let work = unsafe { &*work.cast::<F>() };
            work(piece);
        }
        Self { work: std::ptr::from_ref(work).cast(), call: call::<F>, pieces }
    }

    /// The pieces that a thread begins with: as many as the others', or one less.
    fn share(&self, owner: usize, count: usize) -> Range<usize> {
        let (each, more) = (self.pieces / count, self.pieces % count);
        let start = owner * each + owner.min(more);
        start..start + each + usize::from(owner < more)
    }
}

impl Shared {
    fn new(count: usize) -> Self {
        Self {
            count,
            state: Apart(AtomicU64::new(0)),
            taken_of: (0..count).map(|_| Apart(AtomicUsize::new(0))).collect(),
            taken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            region: UnsafeCell::new(Region::new(0, &|_| ())),
            panic: Mutex::new(None),
            sleeping: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            awake: Condvar::new(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn each<F: Fn(usize) + Sync>(&self, pieces: usize, work: &F) {
        let is_alone = self.count == 1 || pieces < 2;
        if is_alone || self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return (0..pieces).for_each(work);
        }
        let region = Region::new(pieces, work);
        // SAFETY: this caller has the pool, the region is closed, and no thread is in.
        unsafe { *self.region.get() = region };
        for taken in &self.taken_of {
            taken.0.store(0, Ordering::Relaxed);
        }
        let regions = self.state.0.load(Ordering::Relaxed) & !(REGION - 1);
        self.state.0.store(regions.wrapping_add(REGION) | OPEN, Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            self.wake();
        }
        self.take_part(0, region);
        let mut turns = 0;
        let mut state = self.state.0.fetch_and(!OPEN, Ordering::AcqRel);
        while state & JOINED > 0 {
            if turns < PATIENCE {
                turns += 1;
                spin_loop();
            } else {
                thread::yield_now();
            }
            state = self.state.0.load(Ordering::Acquire);
        }
        let panic = lock(&self.panic).take();
        self.taken.store(false, Ordering::Release);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    pub(super) fn each_chunk<T: Send>(&self, data: &mut [T], len: usize, work: impl Fn(usize, &mut [T]) + Sync) {
        assert!(len > 0, "expected chunks of at least one element");
        let chunks = Chunks { start: data.as_mut_ptr(), total: data.len(), len, data: PhantomData };
        self.each(data.len().div_ceil(len), &|chunk| {
            // SAFETY: `each` calls this once for each chunk.
            work(chunk, unsafe { chunks.get(chunk) });
        });
    }

    /// Takes pieces until there are none, as the thread `me`. Keeps a panic for the caller.
    fn take_part(&self, me: usize, region: Region) {
        let pieces = || {
            for owner in (me..self.count).chain(0..me) {
                let share = region.share(owner, self.count);
                loop {
                    let piece = share.start + self.taken_of[owner].0.fetch_add(1, Ordering::Relaxed);
                    if piece >= share.end {
                        break;
                    }
                    // SAFETY: the caller keeps what the region borrows until nobody is in.
                    unsafe { (region.call)(region.work, piece) };
                }
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(pieces)) {
            for taken in &self.taken_of {
                taken.0.store(region.pieces, Ordering::Relaxed);
            }
            let mut first = lock(&self.panic);
            if first.is_none() {
                *first = Some(panic);
            } else {
                // Dropping a payload may panic again.
                std::mem::forget(panic);
            }
        }
    }

    fn wake(&self) {
        let _sleep = lock(&self.sleep);
        self.awake.notify_all();
    }

    /// Joins a region after `seen`, the last one that the thread `me` knows of. Returns whether there was one.
    fn join(&self, me: usize, seen: &mut u64) -> bool {
        let state = self.state.0.load(Ordering::SeqCst);
        let region = state & !(REGION - 1);
        if region == *seen || state & OPEN == 0 {
            return false;
        }
        if self.state.0.compare_exchange(state, state + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            *seen = region;
            // SAFETY: this thread is in, so the caller that has written it waits.
            let region = unsafe { *self.region.get() };
            self.take_part(me, region);
            self.state.0.fetch_sub(1, Ordering::Release);
        }
        true
    }

    /// Whether there is a reason to be awake: an open region after `seen`, or the end.
    fn has_news(&self, seen: u64) -> bool {
        let state = self.state.0.load(Ordering::SeqCst);
        self.stop.load(Ordering::SeqCst) || (state & OPEN != 0 && state & !(REGION - 1) != seen)
    }
}

/// Body of a thread.
fn serve(me: usize, shared: &Arc<Shared>) {
    // Products of a piece find the pool taken.
    CURRENT.set(Some(Arc::clone(shared)));
    let mut seen = 0;
    loop {
        let start = Instant::now();
        loop {
            if shared.join(me, &mut seen) {
                break;
            }
            if shared.stop.load(Ordering::Relaxed) {
                return;
            }
            if start.elapsed() > SPIN {
                sleep(shared, seen);
                break;
            }
            for _ in 0..TURNS {
                if shared.has_news(seen) {
                    break;
                }
                spin_loop();
            }
        }
    }
}

fn sleep(shared: &Shared, seen: u64) {
    let mut asleep = lock(&shared.sleep);
    // A caller opens, then looks for sleepers; a sleeper counts itself, then looks for a region. One sees the other.
    shared.sleeping.fetch_add(1, Ordering::SeqCst);
    while !shared.has_news(seen) {
        asleep = shared.awake.wait(asleep).unwrap_or_else(PoisonError::into_inner);
    }
    shared.sleeping.fetch_sub(1, Ordering::SeqCst);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Chunks of borrowed data that several threads take.
struct Chunks<'a, T> {
    start: *mut T,
    total: usize,
    len: usize,
    data: PhantomData<&'a mut [T]>,
}

// SAFETY: threads get different chunks, and `T` may be sent to them.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

impl<T> Chunks<'_, T> {
    /// # Safety
    ///
    /// Each chunk is asked for once.
    #[expect(clippy::mut_from_ref, reason = "no chunk is handed out twice")]
    unsafe fn get(&self, chunk: usize) -> &mut [T] {
        let start = chunk * self.len;
        let len = self.len.min(self.total - start);
        // SAFETY: `each` asks for chunks that begin within the data.
        let first = unsafe { self.start.add(start) };
        // SAFETY: these elements are borrowed mutably, and no other chunk has one of them.
        unsafe { std::slice::from_raw_parts_mut(first, len) }
    }
}
