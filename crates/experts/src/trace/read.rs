//! Reading of a trace, line by line.

use std::io::{BufRead, Read as _};

use super::{error::TraceError, header::TraceHeader, limits::TraceLimits, recorded::Trace};

/// A trace that is read token by token. It keeps one line in memory.
#[derive(Debug)]
pub struct TraceReader<R> {
    input: R,
    limits: TraceLimits,
    header: TraceHeader,
    /// Number of the last line.
    line: u64,
    text: Vec<u8>,
    choices: Vec<u32>,
}

impl<R: BufRead> TraceReader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    ///
    /// [`TraceError`] for an empty text, for a line that is not of the form, too long or of another version, and for the error of the
    /// system.
    pub fn new(mut input: R, limits: &TraceLimits) -> Result<Self, TraceError> {
        let mut text = Vec::new();
        if !line(&mut input, limits, 1, &mut text)? {
            return Err(TraceError::Empty);
        }
        let header = TraceHeader::parse(&text, limits)?;
        Ok(Self { input, limits: *limits, header, line: 1, text, choices: Vec::new() })
    }

    /// Returns the first line.
    #[must_use]
    pub fn header(&self) -> &TraceHeader {
        &self.header
    }

    /// Reads the choices of the next token: `top_k` experts of each layer in order, one layer after the other. `None` at the end.
    ///
    /// # Errors
    ///
    /// [`TraceError`], which names the line. After an error the trace is not read further.
    pub fn token(&mut self) -> Result<Option<&[u32]>, TraceError> {
        if !line(&mut self.input, &self.limits, self.line + 1, &mut self.text)? {
            return Ok(None);
        }
        self.line += 1;
        let line = self.line;
        let lists: Vec<Vec<u32>> = serde_json::from_slice(&self.text).map_err(|error| TraceError::Line {
            line,
            expected: "a list of lists of experts",
            problem: error.to_string(),
        })?;
        let (layers, experts, top_k) = (self.header.layers(), self.header.experts(), self.header.top_k());
        if lists.len() != layers.len() {
            return Err(TraceError::Layers { line, found: lists.len(), expected: layers.len() });
        }
        self.choices.clear();
        for (list, layer) in lists.iter().zip(layers) {
            let layer = *layer;
            if list.len() != top_k as usize {
                return Err(TraceError::TopK { line, layer, found: list.len(), expected: top_k });
            }
            if let Some(found) = list.iter().find(|expert| **expert >= experts) {
                return Err(TraceError::Expert { line, layer, found: *found, experts });
            }
            let start = self.choices.len();
            self.choices.extend_from_slice(list);
            let mut sorted = list.clone();
            sorted.sort_unstable();
            if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
                self.choices.truncate(start);
                return Err(TraceError::Twice { line, layer, expert: twice[0] });
            }
        }
        Ok(Some(&self.choices))
    }

    /// Reads the rest into memory.
    ///
    /// # Errors
    ///
    /// The errors of [`Self::token`], and [`TraceError::Limit`] for more choices than the limits allow.
    pub fn into_trace(mut self) -> Result<Trace, TraceError> {
        let mut all = Vec::new();
        let (each, limit) = (self.header.choices(), self.limits.choices);
        while let Some(choices) = self.token()? {
            if each > limit - all.len() {
                return Err(TraceError::Limit { line: self.line, what: "choices", limit: limit as u64 });
            }
            all.extend_from_slice(choices);
        }
        Ok(Trace { header: self.header, choices: all })
    }
}

impl Trace {
    /// Reads a whole trace.
    ///
    /// # Errors
    ///
    /// [`TraceError`], which names the line at fault.
    pub fn read(input: impl BufRead, limits: &TraceLimits) -> Result<Self, TraceError> {
        TraceReader::new(input, limits)?.into_trace()
    }
}

/// Reads a line without its end into `text`. The last one may lack the end. Returns whether there was one.
fn line(input: &mut impl BufRead, limits: &TraceLimits, line: u64, text: &mut Vec<u8>) -> Result<bool, TraceError> {
    text.clear();
    let most = limits.line_bytes as u64 + 1;
    input.take(most).read_until(b'\n', text).map_err(|source| TraceError::Read { line, source })?;
    if text.is_empty() {
        return Ok(false);
    }
    if text.last() == Some(&b'\n') {
        text.pop();
    } else if text.len() > limits.line_bytes {
        return Err(TraceError::Limit { line, what: "bytes in a line", limit: limits.line_bytes as u64 });
    }
    Ok(true)
}
