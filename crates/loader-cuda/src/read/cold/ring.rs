//! Reads many ranges at once, by `io_uring`.
//!
//! A read is cut into chunks, which are queued in order. Consecutive reads may be of different files, so chunks of
//! several files can be in flight. A thread thus has chunks in flight while it converts, hashes and copies earlier
//! bytes, and the disk does not wait for it. `pread` reads every chunk that the ring could not read, when its bytes are
//! requested: a chunk that failed or is short costs a call, and is not an error.

#![expect(unsafe_code, reason = "the kernel writes to buffers while it reads")]

use std::{
    collections::VecDeque,
    fmt, io, mem,
    os::fd::{AsRawFd as _, RawFd},
    sync::OnceLock,
};

use io_uring::{IoUring, Probe, opcode, types};

use super::{BLOCK, ColdRead, Found, Reader, pread};

/// Largest size of a chunk in bytes. Disks take requests of about this size; several of them keep a disk busy.
const CHUNK: usize = 512 << 10;
/// Largest number of chunks in flight.
const ENTRIES: u32 = 32;
/// Largest number of reads in progress.
const DEPTH: usize = 16;
/// Largest total bytes of reads in progress, unless a single read is larger.
const AHEAD: usize = 6 << 20;

/// Ring of one thread.
///
/// The kernel writes to the buffers of the reads in `begun` until their chunks have come back. No read leaves `begun`
/// before that.
pub(super) struct Ring {
    queues: IoUring,
    /// Reads that are not finished, oldest first.
    begun: VecDeque<Begun>,
    /// Number of the oldest read in `begun`.
    first: u32,
    /// Chunks that are not queued yet.
    waiting: VecDeque<Chunk>,
    /// Number of chunks that are queued and have not come back.
    in_flight: usize,
}

struct Begun {
    read: ColdRead,
    /// Bytes read so far, for each chunk that has come back.
    done: Vec<usize>,
    /// Number of chunks that have not come back.
    left: usize,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// Number of the read.
    read: u32,
    /// Number of the chunk within the read.
    chunk: u32,
}

/// Returns true where the kernel lets this process use `io_uring`. The kernel is asked once.
fn is_allowed() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    let ask = || -> io::Result<bool> {
        let mut ring = IoUring::new(1)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        // A filter of system calls may permit creating a ring, but not using it.
        let nothing = opcode::Nop::new().build();
        // SAFETY: the operation has no buffers.
        let pushed = unsafe { ring.submission().push(&nothing) };
        pushed.expect("a new queue has room for one");
        ring.submit_and_wait(1)?;
        let is_done = ring.completion().next().is_some_and(|entry| entry.result() == 0);
        Ok(is_done && probe.is_supported(opcode::Read::CODE))
    };
    *ALLOWED.get_or_init(|| ask().unwrap_or(false))
}

impl Ring {
    /// Creates a ring, or returns `None` where the kernel does not permit one.
    pub(super) fn new() -> Option<Self> {
        if !is_allowed() {
            return None;
        }
        let queues = IoUring::new(ENTRIES).ok()?;
        let (begun, waiting) = (VecDeque::new(), VecDeque::new());
        Some(Self { queues, begun, first: 0, waiting, in_flight: 0 })
    }

    /// Waits until nothing is in flight. Returns false if that failed.
    pub(super) fn settle(&mut self) -> bool {
        self.waiting.clear();
        while self.in_flight > 0 && self.wait().is_ok() {}
        self.is_idle()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    /// Queues chunks while there is room, and submits them to the kernel.
    fn queue(&mut self) {
        while self.in_flight < ENTRIES as usize {
            let Some(Chunk { read, chunk }) = self.waiting.pop_front() else { break };
            let begun = &mut self.begun[read.wrapping_sub(self.first) as usize];
            let Some(fd) = fd(&begun.read) else {
                begun.left -= 1;
                continue;
            };
            let (at, len) = (chunk as usize * CHUNK, len(&begun.read, chunk));
            let out = begun.read.buffer.part(at, len);
            let entry = opcode::Read::new(types::Fd(fd), out, u32::try_from(len).expect("a chunk is small"))
                .offset(begun.read.start + at as u64)
                .build()
                .user_data(u64::from(read) << 32 | u64::from(chunk));
            // SAFETY: the file and the buffer stay in `begun` until the chunk has come back, or are leaked if it does
            // not. The buffer's memory does not move, and nothing accesses it before.
            let pushed = unsafe { self.queues.submission().push(&entry) };
            if pushed.is_err() {
                self.waiting.push_front(Chunk { read, chunk });
                break;
            }
            self.in_flight += 1;
        }
        if self.in_flight > 0 {
            // Entries that the kernel does not take now are submitted again by the next wait.
            let _ = self.queues.submit();
        }
    }

    /// Waits for at least one chunk, and records the chunks that have come back.
    fn wait(&mut self) -> io::Result<()> {
        match self.queues.submit_and_wait(1) {
            Ok(_) => {}
            // The call was interrupted, or was short of memory or of room. The chunks in flight end all the same.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::ResourceBusy
                ) =>
            {
                std::thread::yield_now();
            }
            Err(error) => return Err(error),
        }
        self.note();
        Ok(())
    }

    fn note(&mut self) {
        let Self { queues, begun, first, in_flight, .. } = self;
        for entry in queues.completion() {
            let tag = entry.user_data();
            let (read, chunk) = ((tag >> 32) as u32, (tag & 0xFFFF_FFFF) as usize);
            let begun = &mut begun[read.wrapping_sub(*first) as usize];
            // A failed chunk is not an error here: `pread` reads it again and reports the error.
            begun.done[chunk] = usize::try_from(entry.result()).unwrap_or(0);
            begun.left -= 1;
            *in_flight -= 1;
        }
    }
}

impl Reader for Ring {
    fn depth(&self) -> usize {
        let ahead: usize = self.begun.iter().map(|begun| begun.read.wanted).sum();
        if ahead < AHEAD { DEPTH } else { self.begun.len().max(1) }
    }

    fn begin(&mut self, read: ColdRead) {
        let number = self.first.wrapping_add(u32::try_from(self.begun.len()).expect("there are few"));
        let chunks = read.wanted.div_ceil(CHUNK);
        self.begun.push_back(Begun { read, done: vec![0; chunks], left: chunks });
        let chunks = u32::try_from(chunks).expect("a read is no larger than a few buffers");
        self.waiting.extend((0..chunks).map(|chunk| Chunk { read: number, chunk }));
        self.queue();
    }

    fn finish(&mut self) -> io::Result<Option<Found>> {
        while self.begun.front().expect("BUG: no read was begun").left > 0 {
            self.queue();
            // Nothing is in flight for a file that cannot be read in this way.
            if self.in_flight > 0 {
                self.wait()?;
            }
        }
        let Begun { read, done, .. } = self.begun.pop_front().expect("it was looked at above");
        self.waiting.retain(|chunk| chunk.read != self.first);
        self.first = self.first.wrapping_add(1);
        self.queue();
        // Counts the bytes up to the first chunk that is incomplete.
        let mut there = 0;
        for (chunk, done) in (0..).zip(done) {
            there += done;
            if done < len(&read, chunk) {
                break;
            }
        }
        let done = if there < read.wanted { there / BLOCK * BLOCK } else { there };
        pread::finish(read, done)
    }
}

impl Drop for Ring {
    /// Leaks what cannot be waited for, so that the kernel never writes to freed memory.
    fn drop(&mut self) {
        if !self.settle() {
            mem::forget(mem::take(&mut self.begun));
        }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

fn fd(read: &ColdRead) -> Option<RawFd> {
    Some(read.file.direct().ok()??.as_raw_fd())
}

/// Bytes of a chunk, rounded up to whole blocks.
fn len(read: &ColdRead, chunk: u32) -> usize {
    let at = chunk as usize * CHUNK;
    (read.wanted.next_multiple_of(BLOCK) - at).min(CHUNK)
}
