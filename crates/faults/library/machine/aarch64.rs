//! 64-bit Arm: numbers of calls, one instruction that makes them, registers of a stopped one.

use std::{arch::global_asm, ffi::c_void};

/// `AUDIT_ARCH_AARCH64`.
pub(crate) const AUDIT: u32 = 0xC000_00B7;

pub(crate) mod number {
    pub(crate) const KILL: usize = 129;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const PRCTL: usize = 167;
    pub(crate) const SECCOMP: usize = 277;
    pub(crate) const READLINKAT: usize = 78;
    pub(crate) const WRITE: usize = 64;

    pub(crate) const READ: usize = 63;
    pub(crate) const PREAD64: usize = 67;
    pub(crate) const READV: usize = 65;
    pub(crate) const PREADV: usize = 69;
    pub(crate) const PREADV2: usize = 286;
    pub(crate) const PWRITE64: usize = 68;
    pub(crate) const WRITEV: usize = 66;
    pub(crate) const PWRITEV: usize = 70;
    pub(crate) const PWRITEV2: usize = 287;
    pub(crate) const SENDFILE: usize = 71;
    pub(crate) const SPLICE: usize = 76;
    pub(crate) const COPY_FILE_RANGE: usize = 285;
    pub(crate) const FTRUNCATE: usize = 46;
    pub(crate) const FALLOCATE: usize = 47;
    pub(crate) const FSYNC: usize = 82;
    pub(crate) const FDATASYNC: usize = 83;
    pub(crate) const SYNCFS: usize = 267;
    pub(crate) const SYNC_FILE_RANGE: usize = 84;
    pub(crate) const RENAMEAT: usize = 38;
    pub(crate) const RENAMEAT2: usize = 276;
    pub(crate) const LINKAT: usize = 37;
    pub(crate) const OPENAT: usize = 56;
    pub(crate) const OPENAT2: usize = 437;
    pub(crate) const MMAP: usize = 222;
    pub(crate) const UNLINKAT: usize = 35;
    pub(crate) const MKDIRAT: usize = 34;
    pub(crate) const GETDENTS64: usize = 61;
    pub(crate) const STATX: usize = 291;
    pub(crate) const NEWFSTATAT: usize = 79;
    pub(crate) const FSTAT: usize = 80;
    pub(crate) const STATFS: usize = 43;
    pub(crate) const FSTATFS: usize = 44;
    pub(crate) const FACCESSAT: usize = 48;
    pub(crate) const FACCESSAT2: usize = 439;
    pub(crate) const UTIMENSAT: usize = 88;
    pub(crate) const FCHMOD: usize = 52;
    pub(crate) const FCHMODAT: usize = 53;
    pub(crate) const TRUNCATE: usize = 45;
}

global_asm!(
    ".hidden faults_system_call",
    ".hidden faults_system_call_made",
    ".globl faults_system_call",
    ".globl faults_system_call_made",
    "faults_system_call:",
    "mov x8, x0",
    "mov x0, x1",
    "mov x1, x2",
    "mov x2, x3",
    "mov x3, x4",
    "mov x4, x5",
    "mov x5, x6",
    "svc #0",
    "faults_system_call_made:",
    "ret",
);

/// A call that was stopped, as the kernel left it in the signal's context.
pub(crate) struct Stopped(*mut u64);

/// Bytes from the start of the context to the register x0: flags, link and stack, a mask of 1,024 signals, the address of a fault, in front
/// of which 16 bytes are aligned.
const REGISTERS: usize = 184;

impl Stopped {
    /// # Safety
    ///
    /// `context` is what the kernel gave to a handler of a signal, which has not returned.
    pub(crate) unsafe fn of(context: *mut c_void) -> Self {
        // SAFETY: the registers lie there in every context of this machine.
        Self(unsafe { context.cast::<u8>().add(REGISTERS) }.cast())
    }

    pub(crate) fn arguments(&self) -> [usize; 6] {
        // SAFETY: all registers are there.
        std::array::from_fn(|at| unsafe { *self.0.add(at) } as usize)
    }

    pub(crate) fn answer(&mut self, answer: isize) {
        // SAFETY: as above.
        unsafe { *self.0 = answer as u64 };
    }
}
