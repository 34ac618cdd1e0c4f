//! The choices of routers, for those who record them.

use std::io::Write;

use longshore_experts::{RecordError, TraceHeader, TraceRecorder};

use crate::spec::Spec;

/// Receiver of the experts that tokens choose, such as a [`TraceRecorder`].
pub trait Routed: Send {
    /// Receives what tokens chose in a layer: so many experts of each in order of their weight, one token after the other. A pass
    /// through the model calls this once for each layer of experts, in order.
    ///
    /// # Errors
    ///
    /// [`RecordError`], which ends the pass with [`RunError::Record`](crate::RunError::Record).
    fn chosen(&mut self, layer: u32, experts: &[u32]) -> Result<(), RecordError>;
}

impl<W: Write + Send> Routed for TraceRecorder<W> {
    fn chosen(&mut self, layer: u32, experts: &[u32]) -> Result<(), RecordError> {
        self.observe(layer, experts)
    }
}

/// The first line of a trace of a decoder. `None` without experts.
pub(crate) fn trace_header(spec: &Spec) -> Option<TraceHeader> {
    let moe = spec.moe.as_ref()?;
    let number = |count: usize| u32::try_from(count).ok();
    let layers = (0..).zip(&spec.layers).filter(|(_, layer)| layer.has_experts).map(|(at, _)| at);
    TraceHeader::new(layers.collect::<Vec<u32>>(), number(moe.experts)?, number(moe.top_k)?).ok()
}
