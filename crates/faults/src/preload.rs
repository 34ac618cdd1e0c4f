//! A program with the library loaded before it.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Class, Fault};

/// Faults that a program's file calls are to meet.
#[derive(Debug, Clone, Default)]
pub struct Preload {
    /// The directory whose files are concerned: an absolute path without links.
    pub under: PathBuf,
    /// A file to which a line is appended for each concerned call, outside of that directory.
    pub log: Option<PathBuf>,
    /// The failing calls; without this calls are only counted.
    pub strike: Option<Strike>,
    /// Answers syncs without carrying them out: nobody waits for a disk, and nothing survives a power failure.
    pub skip_syncs: bool,
}

/// The failing call and its fault. `write EIO 3 once` means: the third write fails, and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// The kind of calls.
    pub class: Class,
    /// Its answer.
    pub fault: Fault,
    /// Number of the call in its class, counted from 1.
    pub nth: u64,
    /// Whether all later ones of its class meet the same.
    pub goes_on: bool,
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { class, fault, nth, goes_on } = self;
        write!(f, "{} {} {nth} {}", class.name(), fault.name(), if *goes_on { "on" } else { "once" })
    }
}

impl Preload {
    /// Has the library loaded when the command is run. Where there is none, the command stays as it is.
    pub fn apply(&self, command: &mut Command) {
        let Some(library) = library() else { return };
        command.env("LD_PRELOAD", library).env("LONGSHORE_FAULTS_UNDER", &self.under);
        if let Some(log) = &self.log {
            command.env("LONGSHORE_FAULTS_LOG", log);
        }
        if let Some(strike) = &self.strike {
            command.env("LONGSHORE_FAULTS_STRIKE", strike.to_string());
        }
        if self.skip_syncs {
            command.env("LONGSHORE_FAULTS_SYNC", "skip");
        }
    }
}

/// Where the library lies; `None` on systems for which there is none.
#[must_use]
pub fn library() -> Option<PathBuf> {
    let is_built = cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")));
    is_built.then(|| Path::new(env!("OUT_DIR")).join("libfaults.so"))
}

/// Why the library cannot be used here; `None` where it can.
#[must_use]
pub fn unavailable() -> Option<String> {
    if library().is_none() {
        return Some("there is a library for faults on Linux only, on x86-64 and 64-bit Arm".into());
    }
    let mut command = Command::new("true");
    Preload { under: "/nowhere".into(), ..Preload::default() }.apply(&mut command);
    match command.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("cannot run `true`: {error}")),
    }
}
