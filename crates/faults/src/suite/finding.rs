//! A promise that was broken.

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It ended by a signal or a panic, or never.
    Ended,
    /// The exit status is not 2, although the machine failed.
    Status,
    /// An interrupted call or a short count was taken for an error.
    Refused,
    /// It reported success, and the result is another one.
    Swallowed,
    /// Not one line `error: …`, with hints after it.
    Message,
    /// The line names no path.
    Path,
    /// The store is neither as before nor as after.
    State,
    /// `list` fails, or `verify` finds something bad.
    Damage,
    /// There is half of an export.
    Half,
    /// One failure left what nobody needs, although everything after it worked.
    Left,
    /// Run again without a fault, it fails or gives another result.
    Again,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Ended,
        Self::Status,
        Self::Refused,
        Self::Swallowed,
        Self::Message,
        Self::Path,
        Self::State,
        Self::Damage,
        Self::Half,
        Self::Left,
        Self::Again,
    ];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Status => "status",
            Self::Refused => "refused",
            Self::Swallowed => "swallowed",
            Self::Message => "message",
            Self::Path => "path",
            Self::State => "state",
            Self::Damage => "damage",
            Self::Half => "half",
            Self::Left => "left",
            Self::Again => "again",
        }
    }
}

/// Something wrong, and what was seen of it.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// Observations.
    pub detail: String,
}
