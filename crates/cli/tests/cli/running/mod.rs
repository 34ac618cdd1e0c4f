//! The verbs that run a model.

pub(crate) mod automaton;
mod bad_input;
#[cfg(all(unix, feature = "net"))]
mod fetched;
mod measure;
mod run;
#[cfg(unix)]
mod terminal;

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::support::Run;

/// Runs a command with bytes on its stdin.
fn fed(command: &mut Command, bytes: &[u8]) -> Run {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    let output = child.wait_with_output().unwrap();
    Run {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap_or(-1),
    }
}
