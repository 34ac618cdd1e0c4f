//! The arguments of the verbs that write for a shell and for `man`.

use clap::Args;

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Print the manual page, or a verb's
///
/// For roff: `longshore man | man -l -` shows it, and `longshore man import > longshore-import.1` keeps the page that the first
/// refers to.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The verb whose page to print
    pub(crate) verb: Option<String>,
}
