//! An error of a command's own, with what to do about it.

use crate::signals;

/// The input is at fault, or the answer is no.
pub(crate) const NO: u8 = 1;
/// Wrong usage, or the machine failed us.
pub(crate) const FAILED: u8 = 2;

/// An error with what to do next, or with an exit status of its own.
#[derive(Debug)]
pub(crate) struct Advice {
    text: String,
    hints: Vec<String>,
    code: u8,
}

impl Advice {
    /// The input is at fault.
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Self { text: text.into(), hints: Vec::new(), code: NO }
    }

    /// The command or the machine cannot do it.
    pub(crate) fn failure(text: impl Into<String>) -> Self {
        Self { code: FAILED, ..Self::input(text) }
    }

    /// The user stopped the command before it was done.
    pub(crate) fn interrupted(text: impl Into<String>) -> Self {
        Self { code: signals::status(), ..Self::input(text) }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The exit status.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl std::fmt::Display for Advice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Advice {}
