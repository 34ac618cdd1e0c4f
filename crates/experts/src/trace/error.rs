//! Errors of traces.

use std::io;

/// Reason why a text is not a trace.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The text cannot be read.
    #[error("cannot read line {line} of the trace")]
    Read {
        /// Number of the line, counted from 1.
        line: u64,
        /// Error of the system.
        source: io::Error,
    },
    /// The text has no line.
    #[error(
        "the trace is empty: expected a first line such as {{\"version\":1,\"layers\":[0,1],\"experts\":64,\"top_k\":6}}"
    )]
    Empty,
    /// A line is not JSON of the form of a trace.
    #[error("line {line} of the trace is not {expected}: {problem}")]
    Line {
        /// Number of the line, counted from 1.
        line: u64,
        /// Form of the line.
        expected: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The first line states a version that this release does not know.
    #[error("the trace has version {found}, expected {expected}")]
    Version {
        /// Version of the trace.
        found: u64,
        /// Version that this release reads.
        expected: u64,
    },
    /// The first line contradicts itself.
    #[error("the first line of the trace says {found}: expected {expected}")]
    Header {
        /// Statement at fault.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A line has another number of layers.
    #[error("line {line} of the trace has the experts of {found} layers, expected {expected}")]
    Layers {
        /// Number of the line, counted from 1.
        line: u64,
        /// Number of lists in the line.
        found: usize,
        /// Number of layers in the first line.
        expected: usize,
    },
    /// A token chose another number of experts.
    #[error("line {line} of the trace has {found} experts in layer {layer}, expected {expected}")]
    TopK {
        /// Number of the line, counted from 1.
        line: u64,
        /// Number of the layer.
        layer: u32,
        /// Number of experts in the list.
        found: usize,
        /// Number that the first line states.
        expected: u32,
    },
    /// There is no such expert.
    #[error("line {line} of the trace has expert {found} in layer {layer}, expected one below {experts}")]
    Expert {
        /// Number of the line, counted from 1.
        line: u64,
        /// Number of the layer.
        layer: u32,
        /// Number of the expert.
        found: u32,
        /// Number of experts that the first line states.
        experts: u32,
    },
    /// A token chose an expert twice.
    #[error("line {line} of the trace has expert {expert} twice in layer {layer}")]
    Twice {
        /// Number of the line, counted from 1.
        line: u64,
        /// Number of the layer.
        layer: u32,
        /// Number of the expert.
        expert: u32,
    },
    /// The trace is larger than the limits allow.
    #[error("the trace has more than {limit} {what}, as of line {line}")]
    Limit {
        /// Number of the line, counted from 1.
        line: u64,
        /// What there are too many of.
        what: &'static str,
        /// Most that the limits allow.
        limit: u64,
    },
}
