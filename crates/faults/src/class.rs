//! The kinds of file calls. The library is compiled with this file too.

/// A kind of file calls: they are counted together, and fail together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Reading a file: `read`, `pread64` and their like.
    Read,
    /// Writing to a file or setting its length; copying between files: `write`, `pwrite64`, `copy_file_range` and their like.
    Write,
    /// Making things durable: `fsync`, `fdatasync`, `syncfs` and their like.
    Sync,
    /// Giving a file a name: `rename`, `link` and their like.
    Rename,
    /// Opening a file or directory, and creating a file.
    Open,
    /// Mapping a file.
    Map,
    /// Removing a file or directory.
    Remove,
    /// Creating a directory.
    Make,
    /// Reading the entries of a directory.
    List,
    /// Asking what a file or file system is: its kind, size, times and space.
    Stat,
    /// Setting the times or the permissions of a file.
    Touch,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 11] = [
        Self::Read,
        Self::Write,
        Self::Sync,
        Self::Rename,
        Self::Open,
        Self::Map,
        Self::Remove,
        Self::Make,
        Self::List,
        Self::Stat,
        Self::Touch,
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Open => "open",
            Self::Map => "map",
            Self::Remove => "remove",
            Self::Make => "make",
            Self::List => "list",
            Self::Stat => "stat",
            Self::Touch => "touch",
        }
    }

    /// The class of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }
}
