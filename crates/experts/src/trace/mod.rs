//! Traces: which experts each token chose, as JSON lines.

mod error;
mod header;
mod limits;
mod read;
mod recorded;
mod write;

pub use error::TraceError;
pub use header::TraceHeader;
pub use limits::TraceLimits;
pub use read::TraceReader;
pub use recorded::Trace;
pub use write::{RecordError, TraceRecorder};
