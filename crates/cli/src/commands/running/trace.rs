//! The file that records which experts tokens choose.

use std::{
    fs::{self, File},
    io::{BufWriter, ErrorKind},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use longshore_experts::TraceRecorder;
use longshore_run::{Model, Session};

use crate::{advice::Advice, door};

/// A trace that is being recorded. Unless it is finished, no file is left.
pub(super) struct Recording<'p> {
    path: &'p Path,
    recorder: Option<Arc<Mutex<TraceRecorder<BufWriter<File>>>>>,
}

impl<'p> Recording<'p> {
    /// Begins a new file for the choices of a model.
    pub(super) fn begin(path: &'p Path, model: &Model) -> anyhow::Result<Self> {
        let Some(header) = model.trace_header() else {
            let text = format!("{} has no experts, expected a mixture of experts for --trace", model.name());
            return Err(Advice::input(text).hint("leave out --trace").into());
        };
        let file = File::create_new(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Advice::failure(format!("{} exists: expected a new file", door::path(path))).into()
            }
            _ => anyhow::Error::from(error).context(cannot_write(path)),
        })?;
        let mut recording = Self { path, recorder: None };
        let recorder = TraceRecorder::new(BufWriter::new(file), header).with_context(|| cannot_write(path));
        recording.recorder = Some(Arc::new(Mutex::new(recorder.inspect_err(|_| recording.remove())?)));
        Ok(recording)
    }

    /// Has the file hear of what a session does.
    pub(super) fn hear(&self, session: &mut Session<'_>) {
        if let Some(recorder) = &self.recorder {
            session.set_routed(Arc::<Mutex<TraceRecorder<BufWriter<File>>>>::clone(recorder));
        }
    }

    /// Ends the file. The sessions that it heard of are gone.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let recorder = self.recorder.take().and_then(Arc::into_inner).expect("BUG: a session still records");
        let recorder = recorder.into_inner().unwrap_or_else(PoisonError::into_inner);
        recorder.finish().map(drop).inspect_err(|_| self.remove()).with_context(|| cannot_write(self.path))
    }

    fn remove(&self) {
        // The error that ends the command is told, and not this one.
        let _ = fs::remove_file(self.path);
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if self.recorder.is_some() {
            self.remove();
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write the trace {}", door::path(path))
}
