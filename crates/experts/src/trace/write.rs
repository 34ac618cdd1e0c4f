//! Writing of a trace.

use std::io::{self, Write};

use super::header::TraceHeader;

/// A recorder of a routing. Choices come as an engine makes them: of one token or of many, layer by layer. A token's line is written
/// once all its layers are known.
///
/// ```
/// use longshore_experts::{TraceHeader, TraceRecorder};
///
/// let mut recorder = TraceRecorder::new(Vec::new(), TraceHeader::new([0, 1], 4, 2)?)?;
/// recorder.observe(0, &[3, 1, 0, 2])?; // two tokens of a prompt
/// recorder.observe(1, &[0, 1, 1, 2])?;
/// let text = String::from_utf8(recorder.finish()?)?;
/// assert!(text.ends_with("\n[[3,1],[0,1]]\n[[0,2],[1,2]]\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TraceRecorder<W> {
    output: W,
    header: TraceHeader,
    /// Choices of each layer that are not written yet.
    layers: Vec<Vec<u32>>,
}

/// Reason why a routing cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The trace cannot be written.
    #[error("cannot write the trace")]
    Write(#[from] io::Error),
    /// The header does not have this layer.
    #[error("layer {layer} chose experts, but the trace is of the layers {layers:?}")]
    Layer {
        /// Number of the layer.
        layer: u32,
        /// Layers of the header.
        layers: Box<[u32]>,
    },
    /// The choices are not those of whole tokens.
    #[error("layer {layer}: {found} choices are not those of whole tokens, {top_k} each")]
    Ragged {
        /// Number of the layer.
        layer: u32,
        /// Number of choices.
        found: usize,
        /// Number of experts that a token chooses.
        top_k: u32,
    },
    /// There is no such expert, or a token chose it twice.
    #[error("layer {layer}: a token chose {found:?}, expected distinct experts below {experts}")]
    Experts {
        /// Number of the layer.
        layer: u32,
        /// Choice of the token.
        found: Box<[u32]>,
        /// Number of experts.
        experts: u32,
    },
    /// The trace ends within a token.
    #[error("layer {layer} has the choices of {found} tokens that other layers do not have yet")]
    Unfinished {
        /// Number of the layer.
        layer: u32,
        /// Number of tokens.
        found: usize,
    },
}

impl<W: Write> TraceRecorder<W> {
    /// Writes the first line.
    ///
    /// # Errors
    ///
    /// The error of the system.
    pub fn new(mut output: W, header: TraceHeader) -> io::Result<Self> {
        serde_json::to_writer(&mut output, &header.line())?;
        output.write_all(b"\n")?;
        Ok(Self { output, layers: vec![Vec::new(); header.layers().len()], header })
    }

    /// Records what tokens chose in a layer: `top_k` experts of each in order of their weight, one token after the other.
    ///
    /// # Errors
    ///
    /// [`RecordError::Layer`], [`RecordError::Ragged`] and [`RecordError::Experts`] for choices that the header does not allow; they are
    /// not recorded. [`RecordError::Write`] for the error of the system.
    pub fn observe(&mut self, layer: u32, choices: &[u32]) -> Result<(), RecordError> {
        let (experts, top_k) = (self.header.experts(), self.header.top_k());
        let at = self.header.layers().binary_search(&layer);
        let at = at.map_err(|_| RecordError::Layer { layer, layers: self.header.layers().into() })?;
        if !choices.len().is_multiple_of(top_k as usize) {
            return Err(RecordError::Ragged { layer, found: choices.len(), top_k });
        }
        for token in choices.chunks_exact(top_k as usize) {
            let is_distinct = token.iter().enumerate().all(|(at, expert)| !token[..at].contains(expert));
            if !is_distinct || token.iter().any(|expert| *expert >= experts) {
                return Err(RecordError::Experts { layer, found: token.into(), experts });
            }
        }
        self.layers[at].extend_from_slice(choices);
        self.write_whole()?;
        Ok(())
    }

    /// Ends the trace, and returns the writer.
    ///
    /// # Errors
    ///
    /// [`RecordError::Unfinished`] if some layers of the last tokens are missing, [`RecordError::Write`] for the error of the system.
    pub fn finish(mut self) -> Result<W, RecordError> {
        let left = self.header.layers().iter().zip(&self.layers).find(|(_, choices)| !choices.is_empty());
        if let Some((layer, choices)) = left {
            let found = choices.len() / self.header.top_k() as usize;
            return Err(RecordError::Unfinished { layer: *layer, found });
        }
        self.output.flush()?;
        Ok(self.output)
    }

    /// Writes the tokens of which all layers are known.
    fn write_whole(&mut self) -> io::Result<()> {
        let top_k = self.header.top_k() as usize;
        let tokens = self.layers.iter().map(Vec::len).min().unwrap_or(0) / top_k;
        for token in 0..tokens {
            let line: Vec<&[u32]> = self.layers.iter().map(|choices| &choices[token * top_k..][..top_k]).collect();
            serde_json::to_writer(&mut self.output, &line)?;
            self.output.write_all(b"\n")?;
        }
        for choices in &mut self.layers {
            choices.drain(..tokens * top_k);
        }
        Ok(())
    }
}
