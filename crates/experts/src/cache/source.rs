//! Where the bytes of experts come from.

use std::{fmt, io};

use crate::{files::ExpertFiles, map::ExpertRange};

/// A source of experts' bytes, which several threads read at once.
pub trait ExpertSource: fmt::Debug + Send + Sync + 'static {
    /// Learns that these ranges will be read soon, and does not wait. The default does nothing.
    fn ask(&self, ranges: &[ExpertRange]) {
        let _ = ranges;
    }

    /// Reads the bytes of a range. `into` is as long as the range.
    ///
    /// # Errors
    ///
    /// The error of the system, or of whatever the source is.
    fn read(&self, range: &ExpertRange, into: &mut [u8]) -> io::Result<()>;
}

impl ExpertSource for ExpertFiles {
    fn ask(&self, ranges: &[ExpertRange]) {
        Self::ask(self, ranges);
    }

    fn read(&self, range: &ExpertRange, into: &mut [u8]) -> io::Result<()> {
        Self::read(self, range, into)
    }
}
