//! Faults of a call. The library is compiled with this file too.

/// Answer of a call in place of the requested action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// It fails: the device does not work.
    Eio,
    /// It fails: the device is full.
    Enospc,
    /// It fails: a signal came first.
    Eintr,
    /// Half of the bytes are read or written. A call without a count, or of one byte, is carried out as it is.
    Short,
    /// The process is killed before the call.
    Kill,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 5] = [Self::Eio, Self::Enospc, Self::Eintr, Self::Short, Self::Kill];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Eio => "EIO",
            Self::Enospc => "ENOSPC",
            Self::Eintr => "EINTR",
            Self::Short => "short",
            Self::Kill => "kill",
        }
    }

    /// The fault of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }

    /// The error number that the call answers; `None` where it is carried out in part, or not answered.
    #[must_use]
    pub fn errno(self) -> Option<i32> {
        match self {
            Self::Eio => Some(5),
            Self::Enospc => Some(28),
            Self::Eintr => Some(4),
            Self::Short | Self::Kill => None,
        }
    }
}
