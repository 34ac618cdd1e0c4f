//! x86-64: numbers of calls, one instruction that makes them, registers of a stopped one.

use std::{arch::global_asm, ffi::c_void};

/// `AUDIT_ARCH_X86_64`.
pub(crate) const AUDIT: u32 = 0xC000_003E;

pub(crate) mod number {
    pub(crate) const KILL: usize = 62;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const PRCTL: usize = 157;
    pub(crate) const SECCOMP: usize = 317;
    pub(crate) const READLINKAT: usize = 267;
    pub(crate) const WRITE: usize = 1;

    pub(crate) const READ: usize = 0;
    pub(crate) const PREAD64: usize = 17;
    pub(crate) const READV: usize = 19;
    pub(crate) const PREADV: usize = 295;
    pub(crate) const PREADV2: usize = 327;
    pub(crate) const PWRITE64: usize = 18;
    pub(crate) const WRITEV: usize = 20;
    pub(crate) const PWRITEV: usize = 296;
    pub(crate) const PWRITEV2: usize = 328;
    pub(crate) const SENDFILE: usize = 40;
    pub(crate) const SPLICE: usize = 275;
    pub(crate) const COPY_FILE_RANGE: usize = 326;
    pub(crate) const FTRUNCATE: usize = 77;
    pub(crate) const FALLOCATE: usize = 285;
    pub(crate) const FSYNC: usize = 74;
    pub(crate) const FDATASYNC: usize = 75;
    pub(crate) const SYNCFS: usize = 306;
    pub(crate) const SYNC_FILE_RANGE: usize = 277;
    pub(crate) const RENAMEAT: usize = 264;
    pub(crate) const RENAMEAT2: usize = 316;
    pub(crate) const LINKAT: usize = 265;
    pub(crate) const OPENAT: usize = 257;
    pub(crate) const OPENAT2: usize = 437;
    pub(crate) const MMAP: usize = 9;
    pub(crate) const UNLINKAT: usize = 263;
    pub(crate) const MKDIRAT: usize = 258;
    pub(crate) const GETDENTS64: usize = 217;
    pub(crate) const STATX: usize = 332;
    pub(crate) const NEWFSTATAT: usize = 262;
    pub(crate) const FSTAT: usize = 5;
    pub(crate) const STATFS: usize = 137;
    pub(crate) const FSTATFS: usize = 138;
    pub(crate) const FACCESSAT: usize = 269;
    pub(crate) const FACCESSAT2: usize = 439;
    pub(crate) const UTIMENSAT: usize = 280;
    pub(crate) const FCHMOD: usize = 91;
    pub(crate) const FCHMODAT: usize = 268;
    pub(crate) const TRUNCATE: usize = 76;
}

/// Calls that newer machines do not have, by what they are short for: a path that is relative to the working directory.
pub(crate) mod old {
    pub(crate) const OPEN: usize = 2;
    pub(crate) const CREAT: usize = 85;
    pub(crate) const STAT: usize = 4;
    pub(crate) const LSTAT: usize = 6;
    pub(crate) const ACCESS: usize = 21;
    pub(crate) const RENAME: usize = 82;
    pub(crate) const LINK: usize = 86;
    pub(crate) const UNLINK: usize = 87;
    pub(crate) const RMDIR: usize = 84;
    pub(crate) const MKDIR: usize = 83;
    pub(crate) const CHMOD: usize = 90;
    pub(crate) const READLINK: usize = 89;
}

global_asm!(
    ".hidden faults_system_call",
    ".hidden faults_system_call_made",
    ".globl faults_system_call",
    ".globl faults_system_call_made",
    "faults_system_call:",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "mov r8, r9",
    "mov r9, [rsp + 8]",
    "syscall",
    "faults_system_call_made:",
    "ret",
);

/// A call that was stopped, as the kernel left it in the signal's context.
pub(crate) struct Stopped(*mut i64);

/// Bytes from the start of the context to the registers.
const REGISTERS: usize = 40;
/// Where the arguments lie among the registers: rdi, rsi, rdx, r10, r8, r9.
const ARGUMENTS: [usize; 6] = [8, 9, 12, 2, 0, 1];
const RAX: usize = 13;

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
        ARGUMENTS.map(|at| unsafe { *self.0.add(at) } as usize)
    }

    pub(crate) fn answer(&mut self, answer: isize) {
        // SAFETY: as above.
        unsafe { *self.0.add(RAX) = answer as i64 };
    }
}
