//! The file calls: their class, and which of their arguments are files, paths and counts.

#[cfg(target_arch = "x86_64")]
use crate::machine::old;
use crate::{class::Class, machine::number};

/// A call of the kernel that concerns a file.
pub(crate) struct Call {
    pub(crate) number: usize,
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    pub(crate) on: On,
    pub(crate) count: Count,
}

/// Where among the arguments the files are that a call concerns.
#[derive(Clone, Copy)]
pub(crate) enum On {
    /// An open file.
    File(usize),
    /// Two open files.
    Files(usize, usize),
    /// An open directory, and after it a path from there.
    At(usize),
    /// Two of these.
    TwoAt(usize, usize),
    /// A path from the working directory.
    Here(usize),
    /// Two of these.
    #[cfg_attr(target_arch = "aarch64", expect(dead_code, reason = "only older machines have such calls"))]
    TwoHere(usize, usize),
}

/// Where among the arguments it says how many bytes.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Nowhere,
    Bytes(usize),
    /// A list of buffers, and after it how many they are.
    Buffers(usize),
}

/// The call of this number.
pub(crate) fn call(number: usize) -> Option<&'static Call> {
    CALLS.iter().find(|call| call.number == number)
}

const fn of(number: usize, name: &'static str, class: Class, on: On) -> Call {
    Call { number, name, class, on, count: Count::Nowhere }
}

const fn counted(number: usize, name: &'static str, class: Class, on: On, count: Count) -> Call {
    Call { number, name, class, on, count }
}

/// All of them. `mmap` is here for files only: the filter lets other memory through.
pub(crate) static CALLS: &[Call] = &[
    counted(number::READ, "read", Class::Read, On::File(0), Count::Bytes(2)),
    counted(number::PREAD64, "pread64", Class::Read, On::File(0), Count::Bytes(2)),
    counted(number::READV, "readv", Class::Read, On::File(0), Count::Buffers(1)),
    counted(number::PREADV, "preadv", Class::Read, On::File(0), Count::Buffers(1)),
    counted(number::PREADV2, "preadv2", Class::Read, On::File(0), Count::Buffers(1)),
    counted(number::WRITE, "write", Class::Write, On::File(0), Count::Bytes(2)),
    counted(number::PWRITE64, "pwrite64", Class::Write, On::File(0), Count::Bytes(2)),
    counted(number::WRITEV, "writev", Class::Write, On::File(0), Count::Buffers(1)),
    counted(number::PWRITEV, "pwritev", Class::Write, On::File(0), Count::Buffers(1)),
    counted(number::PWRITEV2, "pwritev2", Class::Write, On::File(0), Count::Buffers(1)),
    counted(number::SENDFILE, "sendfile", Class::Write, On::Files(1, 0), Count::Bytes(3)),
    counted(number::SPLICE, "splice", Class::Write, On::Files(0, 2), Count::Bytes(4)),
    counted(number::COPY_FILE_RANGE, "copy_file_range", Class::Write, On::Files(0, 2), Count::Bytes(4)),
    of(number::TRUNCATE, "truncate", Class::Write, HERE),
    of(number::FTRUNCATE, "ftruncate", Class::Write, On::File(0)),
    of(number::FALLOCATE, "fallocate", Class::Write, On::File(0)),
    of(number::FSYNC, "fsync", Class::Sync, On::File(0)),
    of(number::FDATASYNC, "fdatasync", Class::Sync, On::File(0)),
    of(number::SYNCFS, "syncfs", Class::Sync, On::File(0)),
    of(number::SYNC_FILE_RANGE, "sync_file_range", Class::Sync, On::File(0)),
    of(number::RENAMEAT, "renameat", Class::Rename, On::TwoAt(0, 2)),
    of(number::RENAMEAT2, "renameat2", Class::Rename, On::TwoAt(0, 2)),
    of(number::LINKAT, "linkat", Class::Rename, On::TwoAt(0, 2)),
    of(number::OPENAT, "openat", Class::Open, On::At(0)),
    of(number::OPENAT2, "openat2", Class::Open, On::At(0)),
    of(number::MMAP, "mmap", Class::Map, On::File(4)),
    of(number::UNLINKAT, "unlinkat", Class::Remove, On::At(0)),
    of(number::MKDIRAT, "mkdirat", Class::Make, On::At(0)),
    of(number::GETDENTS64, "getdents64", Class::List, On::File(0)),
    of(number::STATX, "statx", Class::Stat, On::At(0)),
    of(number::NEWFSTATAT, "newfstatat", Class::Stat, On::At(0)),
    of(number::FSTAT, "fstat", Class::Stat, On::File(0)),
    of(number::STATFS, "statfs", Class::Stat, HERE),
    of(number::FSTATFS, "fstatfs", Class::Stat, On::File(0)),
    of(number::FACCESSAT, "faccessat", Class::Stat, On::At(0)),
    of(number::FACCESSAT2, "faccessat2", Class::Stat, On::At(0)),
    of(number::READLINKAT, "readlinkat", Class::Stat, On::At(0)),
    of(number::UTIMENSAT, "utimensat", Class::Touch, On::At(0)),
    of(number::FCHMOD, "fchmod", Class::Touch, On::File(0)),
    of(number::FCHMODAT, "fchmodat", Class::Touch, On::At(0)),
    #[cfg(target_arch = "x86_64")]
    of(old::OPEN, "open", Class::Open, HERE),
    #[cfg(target_arch = "x86_64")]
    of(old::CREAT, "creat", Class::Open, HERE),
    #[cfg(target_arch = "x86_64")]
    of(old::STAT, "stat", Class::Stat, HERE),
    #[cfg(target_arch = "x86_64")]
    of(old::LSTAT, "lstat", Class::Stat, HERE),
    #[cfg(target_arch = "x86_64")]
    of(old::ACCESS, "access", Class::Stat, HERE),
    #[cfg(target_arch = "x86_64")]
    of(old::READLINK, "readlink", Class::Stat, HERE),
    #[cfg(target_arch = "x86_64")]
    of(old::RENAME, "rename", Class::Rename, On::TwoHere(0, 1)),
    #[cfg(target_arch = "x86_64")]
    of(old::LINK, "link", Class::Rename, On::TwoHere(0, 1)),
    #[cfg(target_arch = "x86_64")]
    of(old::UNLINK, "unlink", Class::Remove, HERE),
    #[cfg(target_arch = "x86_64")]
    of(old::RMDIR, "rmdir", Class::Remove, HERE),
    #[cfg(target_arch = "x86_64")]
    of(old::MKDIR, "mkdir", Class::Make, HERE),
    #[cfg(target_arch = "x86_64")]
    of(old::CHMOD, "chmod", Class::Touch, HERE),
];

const HERE: On = On::Here(0);
