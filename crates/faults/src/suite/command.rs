//! The binary, run with the library before it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{Call, Preload, Strike, calls};

/// After this it hangs: on these checkpoints the binary runs for a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(60);
/// After so many bytes of its log it does not end either: a tenth of a megabyte is much.
const LOG: u64 = 4 << 20;

/// The binary, and where it works.
#[derive(Debug)]
pub(crate) struct Binary<'a> {
    pub(crate) path: &'a Path,
    /// The directory that everything lies in: `source`, `store`, `out`.
    pub(crate) work: PathBuf,
    /// A directory for what the binary prints.
    pub(crate) notes: PathBuf,
}

/// End of a run, and its output.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) end: End,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) calls: Vec<Call>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Status(i32),
    Signal(i32),
    /// It was killed when it had run for too long, or had made too many calls.
    Hung,
}

impl Binary<'_> {
    /// Runs it with `--json`. `SOURCE` and `OUT` in the arguments become paths. No sync is carried out.
    pub(crate) fn run(&self, arguments: &[&str], strike: Option<Strike>) -> io::Result<Run> {
        let note = |name: &str| self.notes.join(name);
        let log = note("calls");
        match fs::remove_file(&log) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut command = Command::new(self.path);
        let arguments = arguments.iter().map(|argument| match *argument {
            "SOURCE" => self.work.join("source").into_os_string(),
            "OUT" => self.work.join("out").into_os_string(),
            other => other.into(),
        });
        command
            .args(arguments)
            .arg("--json")
            .current_dir(&self.notes)
            .env("LONGSHORE_STORE", self.work.join("store"))
            // The same calls in every run.
            .env("RAYON_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stdout(File::create(note("stdout"))?)
            .stderr(File::create(note("stderr"))?);
        Preload { under: self.work.clone(), log: Some(log.clone()), strike, skip_syncs: true }.apply(&mut command);
        let end = wait(&mut command, &log)?;
        let text = |name| fs::read(note(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        Ok(Run { end, stdout: text("stdout")?, stderr: text("stderr")?, calls: calls(&log)? })
    }
}

impl Run {
    pub(crate) fn is_done(&self) -> bool {
        self.end == End::Status(0)
    }

    /// The document on stdout; null where there is none.
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_default()
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.end {
            End::Status(status) => write!(f, "status {status}")?,
            End::Signal(signal) => write!(f, "signal {signal}")?,
            End::Hung => f.write_str("it does not end")?,
        }
        write!(f, ", {}", self.stderr.trim().replace('\n', " / "))
    }
}

fn wait(command: &mut Command, log: &Path) -> io::Result<End> {
    let began = Instant::now();
    let mut child = command.spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(end(status));
        }
        let has_logged = log.metadata().map_or(0, |found| found.len());
        if began.elapsed() > PATIENCE || has_logged > LOG {
            child.kill()?;
            child.wait()?;
            return Ok(End::Hung);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn end(status: ExitStatus) -> End {
    status.code().map_or_else(|| End::Signal(signal(status)), End::Status)
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> i32 {
    std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default()
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> i32 {
    0
}
