//! State of a forward pass: the decoder, segments, buffers and hooks.

use std::sync::{Arc, atomic::AtomicBool};

use longshore_quant::matmul::{Multiplier, Threads};

use super::{cache::Cache, rotate::Rotations};
use crate::{
    experts::{Reach, Routed},
    observe::Observer,
    spec::Spec,
    weights::Bound,
};

/// Decoder with its weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder<'d, 'w> {
    pub(crate) spec: &'d Spec,
    pub(crate) bound: &'d Bound<'w>,
    pub(crate) multiplier: Multiplier,
    pub(crate) threads: &'d Threads,
    pub(crate) reach: &'d Reach,
}

/// Tokens that continue one sequence.
#[derive(Debug)]
pub(crate) struct Segment<'s> {
    pub(crate) tokens: &'s [u32],
    pub(crate) cache: &'s mut Cache,
}

/// Tokens whose logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// None.
    Nothing,
    /// The last of each segment.
    Last,
    /// All.
    All,
    /// The hidden states of all tokens in place of logits.
    Hidden,
}

/// Buffers of a forward pass, kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The residual stream, `[rows, hidden]`.
    pub(super) x: Vec<f32>,
    pub(super) normed: Vec<f32>,
    /// Sum that a block adds to the residual stream.
    pub(super) added: Vec<f32>,
    pub(super) queries: Vec<f32>,
    pub(super) keys: Vec<f32>,
    pub(super) values: Vec<f32>,
    pub(super) mixed: Vec<f32>,
    pub(super) gate: Vec<f32>,
    pub(super) up: Vec<f32>,
    pub(super) rotations: Rotations,
}

/// The residual stream before some layers.
#[derive(Debug)]
pub(crate) struct Features<'f> {
    /// The layers, in ascending order. The number of layers stands for what the last one gives.
    taps: [usize; 3],
    /// Elements of earlier passes.
    start: usize,
    /// A row for each token: the streams one after another.
    rows: &'f mut Vec<f32>,
}

impl<'f> Features<'f> {
    /// Keeps the streams before these layers, behind what `rows` has.
    pub(crate) fn new(taps: [usize; 3], rows: &'f mut Vec<f32>) -> Self {
        Self { taps, start: rows.len(), rows }
    }

    /// Keeps the stream `x` before a layer, if it is one of those.
    pub(super) fn take(&mut self, layer: usize, hidden: usize, x: &[f32]) {
        let Some(at) = self.taps.iter().position(|tap| *tap == layer) else { return };
        let width = self.taps.len() * hidden;
        self.rows.resize(self.start + x.len() / hidden * width, 0.0);
        for (row, x) in self.rows[self.start..].chunks_exact_mut(width).zip(x.chunks_exact(hidden)) {
            row[at * hidden..][..hidden].copy_from_slice(x);
        }
    }
}

/// Receiver of what a forward pass is asked to show, and the wish to stop it.
#[derive(Default)]
pub(crate) struct Hooks<'h> {
    pub(crate) observer: Option<&'h mut dyn Observer>,
    /// Receiver of the experts that tokens choose.
    pub(crate) routed: Option<&'h mut dyn Routed>,
    pub(crate) features: Option<Features<'h>>,
    /// Flags, any of which stops the pass.
    pub(crate) cancel: &'h [Arc<AtomicBool>],
}

impl Hooks<'_> {
    /// Keeps the residual stream before a layer, where it is wanted.
    pub(super) fn keep(&mut self, layer: usize, hidden: usize, x: &[f32]) {
        if let Some(features) = &mut self.features {
            features.take(layer, hidden, x);
        }
    }

    /// Shows the input of linear layers to the observer, if there is one.
    pub(crate) fn show(&mut self, weights: &[&str], expert: Option<usize>, columns: usize, x: &[f32]) {
        if let Some(observer) = &mut self.observer {
            observer.input(weights, expert, columns, x);
        }
    }
}
