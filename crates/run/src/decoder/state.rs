//! State of a forward pass: the decoder, segments, buffers and hooks.

use std::sync::{Arc, atomic::AtomicBool};

use longshore_quant::matmul::{Multiplier, Threads};

use super::{cache::Cache, rotate::Rotations};
use crate::{observe::Observer, spec::Spec, weights::Bound};

/// Decoder with its weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder<'d, 'w> {
    pub(crate) spec: &'d Spec,
    pub(crate) bound: &'d Bound<'w>,
    pub(crate) multiplier: Multiplier,
    pub(crate) threads: &'d Threads,
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

/// Receiver of what a forward pass is asked to show, and the wish to stop it.
#[derive(Default)]
pub(crate) struct Hooks<'h> {
    pub(crate) observer: Option<&'h mut dyn Observer>,
    /// Flags, any of which stops the pass.
    pub(crate) cancel: &'h [Arc<AtomicBool>],
}

impl Hooks<'_> {
    /// Shows the input of linear layers to the observer, if there is one.
    pub(crate) fn show(&mut self, weights: &[&str], expert: Option<usize>, columns: usize, x: &[f32]) {
        if let Some(observer) = &mut self.observer {
            observer.input(weights, expert, columns, x);
        }
    }
}
