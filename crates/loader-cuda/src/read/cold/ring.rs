//! Many reads at once, by `io_uring`.
//!
//! A read is cut into chunks, which are queued as they come, of several files where one read is of one and the next of another. So a thread has
//! chunks in flight while it converts, hashes and copies what it has, and the disk does not wait for it. What the ring does
//! not read, for whatever reason, `pread` reads when it is asked for: a chunk that failed or is short costs a call and is no error.

#![expect(unsafe_code, reason = "the kernel writes to buffers while it reads")]

use std::{
    collections::VecDeque,
    fmt, io, mem,
    os::fd::{AsRawFd as _, RawFd},
    sync::OnceLock,
};

use io_uring::{IoUring, Probe, opcode, types};

use super::{BLOCK, ColdRead, Found, Reader, pread};

/// The most bytes of a chunk. Disks take requests of about so many; several of them keep one busy.
const CHUNK: usize = 512 << 10;
/// The most chunks in flight.
const ENTRIES: u32 = 32;
/// The most reads that are begun.
const DEPTH: usize = 16;
/// The most bytes of reads that are begun, but for one read.
const AHEAD: usize = 6 << 20;

/// A ring of one thread.
///
/// The kernel writes to the buffers of the reads that are in `begun`, until their chunks come back; none leaves `begun` before that.
pub(super) struct Ring {
    queues: IoUring,
    /// The reads that are not finished, oldest first.
    begun: VecDeque<Begun>,
    /// The number of the first of them.
    first: u32,
    /// Chunks that are not queued yet.
    waiting: VecDeque<Chunk>,
    /// The chunks that are queued and have not come back.
    in_flight: usize,
}

struct Begun {
    read: ColdRead,
    /// The bytes that are there of each chunk that came back.
    done: Vec<usize>,
    /// The chunks that have not come back.
    left: usize,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// The number of the read.
    read: u32,
    /// The number of the chunk in it.
    chunk: u32,
}

/// Whether the kernel lets this process read so. Asked once.
fn is_allowed() -> bool {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    let ask = || -> io::Result<bool> {
        let mut ring = IoUring::new(1)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        // A filter of system calls may let a ring be made and not be used.
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
    /// A ring; `None` where the kernel does not let this process have one.
    pub(super) fn new() -> Option<Self> {
        if !is_allowed() {
            return None;
        }
        let queues = IoUring::new(ENTRIES).ok()?;
        let (begun, waiting) = (VecDeque::new(), VecDeque::new());
        Some(Self { queues, begun, first: 0, waiting, in_flight: 0 })
    }

    /// Waits until nothing is in flight; whether that is so.
    pub(super) fn settle(&mut self) -> bool {
        self.waiting.clear();
        while self.in_flight > 0 && self.wait().is_ok() {}
        self.is_idle()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    /// Queues chunks while there is room, and has the kernel begin them.
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
            // SAFETY: the file and the buffer stay in `begun` until the chunk has come back; where it does not, they are leaked. The buffer's
            // memory does not move, and nobody looks at it before.
            let pushed = unsafe { self.queues.submission().push(&entry) };
            if pushed.is_err() {
                self.waiting.push_front(Chunk { read, chunk });
                break;
            }
            self.in_flight += 1;
        }
        if self.in_flight > 0 {
            // What the kernel does not take now, it takes when it is waited for.
            let _ = self.queues.submit();
        }
    }

    /// Waits for one chunk at least, and notes those that came back.
    fn wait(&mut self) -> io::Result<()> {
        match self.queues.submit_and_wait(1) {
            Ok(_) => {}
            // Interrupted, or short of memory or of room: the chunks that are in flight end all the same.
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
            // An error is none here: `pread` finds out what it was.
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
            // Of a file that cannot be read so, nothing is in flight.
            if self.in_flight > 0 {
                self.wait()?;
            }
        }
        let Begun { read, done, .. } = self.begun.pop_front().expect("it was looked at above");
        self.waiting.retain(|chunk| chunk.read != self.first);
        self.first = self.first.wrapping_add(1);
        self.queue();
        // Up to the first chunk that is not all there.
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
    /// Nothing is written to memory that is freed: what cannot be waited for is leaked.
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

/// The bytes of a chunk, whole blocks.
fn len(read: &ColdRead, chunk: u32) -> usize {
    let at = chunk as usize * CHUNK;
    (read.wanted.next_multiple_of(BLOCK) - at).min(CHUNK)
}
