//! Predictors: which experts a layer will choose.

use std::cmp::Reverse;

use crate::trace::{Trace, TraceHeader};

/// A guess of the experts that the next token will choose in a layer, made of what was seen before. Layers are counted by their place in
/// the header.
pub trait Predictor {
    /// Learns what a token chose in a layer. Layers come in order, token by token.
    fn observe(&mut self, layer: usize, chosen: &[u32]);

    /// Adds at most `count` distinct experts to `into`, the likeliest first.
    fn predict(&self, layer: usize, count: usize, into: &mut Vec<u32>);
}

/// Predicts the experts that a layer has chosen most often. Ties go to the lower number.
#[derive(Debug, Clone)]
pub struct MostUsed {
    counts: Vec<Vec<u64>>,
}

impl MostUsed {
    /// Makes a predictor that has seen nothing.
    #[must_use]
    pub fn new(header: &TraceHeader) -> Self {
        Self { counts: vec![vec![0; header.experts() as usize]; header.layers().len()] }
    }
}

impl Predictor for MostUsed {
    fn observe(&mut self, layer: usize, chosen: &[u32]) {
        let Some(counts) = self.counts.get_mut(layer) else { return };
        for expert in chosen {
            if let Some(count) = counts.get_mut(*expert as usize) {
                *count += 1;
            }
        }
    }

    fn predict(&self, layer: usize, count: usize, into: &mut Vec<u32>) {
        let Some(counts) = self.counts.get(layer) else { return };
        let mut order: Vec<u32> = (0..).take(counts.len()).collect();
        order.sort_by_key(|expert| Reverse(counts[*expert as usize]));
        into.extend(order.into_iter().take(count));
    }
}

/// Predicts the experts that the same layer chose for the token before.
#[derive(Debug, Clone)]
pub struct SameAgain {
    last: Vec<Vec<u32>>,
}

impl SameAgain {
    /// Makes a predictor that has seen nothing.
    #[must_use]
    pub fn new(header: &TraceHeader) -> Self {
        Self { last: vec![Vec::new(); header.layers().len()] }
    }
}

impl Predictor for SameAgain {
    fn observe(&mut self, layer: usize, chosen: &[u32]) {
        if let Some(last) = self.last.get_mut(layer) {
            last.clear();
            last.extend_from_slice(chosen);
        }
    }

    fn predict(&self, layer: usize, count: usize, into: &mut Vec<u32>) {
        into.extend(self.last.get(layer).into_iter().flatten().take(count));
    }
}

/// Predicts the experts that the layer before chose for the same token. Experts of different layers have nothing in common but their
/// numbers, and on the synthetic trace on which it was measured this is right no more often than chance. It is here to be measured.
#[derive(Debug, Clone)]
pub struct LayerBefore(SameAgain);

impl LayerBefore {
    /// Makes a predictor that has seen nothing.
    #[must_use]
    pub fn new(header: &TraceHeader) -> Self {
        Self(SameAgain::new(header))
    }
}

impl Predictor for LayerBefore {
    fn observe(&mut self, layer: usize, chosen: &[u32]) {
        self.0.observe(layer, chosen);
    }

    fn predict(&self, layer: usize, count: usize, into: &mut Vec<u32>) {
        if let Some(before) = layer.checked_sub(1) {
            self.0.predict(before, count, into);
        }
    }
}

/// Measures a predictor: the share of the experts that tokens chose among as many that it predicted just before. All layers but the
/// first of the tokens after the first `warm` ones are counted, and everything is learned from. `None` if nothing is counted.
#[expect(clippy::cast_precision_loss, reason = "a share of 1 does not need more digits")]
pub fn recall(trace: &Trace, warm: usize, predictor: &mut dyn Predictor) -> Option<f64> {
    let top_k = trace.header().top_k() as usize;
    let (mut guess, mut right, mut all) = (Vec::new(), 0_u64, 0_u64);
    for (at, token) in trace.tokens().enumerate() {
        for (layer, chosen) in token.chunks_exact(top_k).enumerate() {
            if at >= warm && layer > 0 {
                guess.clear();
                predictor.predict(layer, top_k, &mut guess);
                right += chosen.iter().filter(|expert| guess.contains(expert)).count() as u64;
                all += top_k as u64;
            }
            predictor.observe(layer, chosen);
        }
    }
    (all > 0).then(|| right as f64 / all as f64)
}
