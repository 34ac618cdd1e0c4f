//! The forward pass through all layers.

use std::sync::atomic::Ordering;

use super::{
    math,
    state::{Decoder, Hooks, Scratch, Segment, Wanted},
};
use crate::{error::RunError, weights::Norm};

impl Decoder<'_, '_> {
    /// Runs the tokens of the segments, which are in their vocabularies, through all layers, and appends the wanted logits to
    /// `logits`. After an error the caches are as before.
    pub(crate) fn forward(
        &self,
        segments: &mut [Segment<'_>],
        wanted: Wanted,
        scratch: &mut Scratch,
        mut hooks: Hooks<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<(), RunError> {
        let done = self.layers(segments, scratch, &mut hooks);
        let done = done.and_then(|()| self.logits(segments, wanted, scratch, &mut hooks, logits));
        for segment in segments {
            let len = segment.cache.len() + if done.is_ok() { segment.tokens.len() } else { 0 };
            segment.cache.set_len(len);
        }
        done
    }

    fn layers(
        &self,
        segments: &mut [Segment<'_>],
        scratch: &mut Scratch,
        hooks: &mut Hooks<'_>,
    ) -> Result<(), RunError> {
        let Self { spec, bound, .. } = *self;
        let hidden = spec.hidden;
        let ids: Vec<usize> = segments.iter().flat_map(|segment| segment.tokens).map(|id| *id as usize).collect();
        let positions = segments.iter().flat_map(|segment| (segment.cache.len()..).take(segment.tokens.len()));
        let positions: Vec<usize> = positions.collect();
        scratch.rotations.fill(&spec.ropes, &positions);
        let rows = ids.len();
        scratch.x.resize(rows * hidden, 0.0);
        scratch.normed.resize(rows * hidden, 0.0);
        scratch.added.resize(rows * hidden, 0.0);
        bound.embedding.weights.decode_rows(&ids, &mut scratch.x).expect("tokens are in the vocabulary");
        if spec.embedding_scale.to_bits() != 1.0f32.to_bits() {
            math::scale(&mut scratch.x, spec.embedding_scale);
        }
        if let Some(table) = &bound.positions {
            table.weights.decode_rows(&positions, &mut scratch.added).expect("a sequence is no longer than the table");
            math::add(&mut scratch.x, &scratch.added);
        }
        check(&scratch.x, || bound.embedding.name.clone())?;
        for (at, layer) in bound.layers.iter().enumerate() {
            if hooks.cancel.iter().any(|cancel| cancel.load(Ordering::Relaxed)) {
                return Err(RunError::Cancelled);
            }
            hooks.keep(at, hidden, &scratch.x);
            self.norm(layer.attention_in, &scratch.x, &mut scratch.normed);
            self.mix(at, &layer.attention, segments, scratch, hooks);
            if spec.parallel {
                scratch.mixed.clone_from(&scratch.added);
                if layer.ffn_in.is_some() {
                    self.norm(layer.ffn_in, &scratch.x, &mut scratch.normed);
                }
                self.ffn(at, &layer.ffn, scratch, hooks)?;
                math::each_pair(self.threads, &mut scratch.added, &scratch.mixed, math::add);
            } else {
                self.add(layer.attention_out, scratch);
                self.norm(layer.ffn_in, &scratch.x, &mut scratch.normed);
                self.ffn(at, &layer.ffn, scratch, hooks)?;
            }
            self.add(layer.ffn_out, scratch);
            check(&scratch.x, || format!("layer {at}"))?;
        }
        hooks.keep(bound.layers.len(), hidden, &scratch.x);
        Ok(())
    }

    /// Adds what a block gave to the residual stream, after a norm if there is one.
    pub(super) fn add(&self, norm: Option<Norm<'_>>, scratch: &mut Scratch) {
        let Scratch { x, normed, added, .. } = scratch;
        let factor = self.spec.residual_scale;
        if norm.is_some() {
            self.norm(norm, added, normed);
            math::each_pair(self.threads, x, normed, |x, normed| math::add_scaled(x, factor, normed));
        } else {
            math::each_pair(self.threads, x, added, |x, added| math::add_scaled(x, factor, added));
        }
    }

    /// Normalises the rows of `x` into `out`, or copies them where there is no norm.
    pub(super) fn norm(&self, norm: Option<Norm<'_>>, x: &[f32], out: &mut [f32]) {
        let Some(Norm { weight, bias }) = norm else { return out.copy_from_slice(x) };
        let hidden = weight.len();
        math::each_row(self.threads, out, hidden, |at, out| {
            math::norm(self.spec.norm, &x[at * hidden..][..hidden], weight, bias, out);
        });
    }

    fn logits(
        &self,
        segments: &[Segment<'_>],
        wanted: Wanted,
        scratch: &mut Scratch,
        hooks: &mut Hooks<'_>,
        logits: &mut Vec<f32>,
    ) -> Result<(), RunError> {
        let Self { spec, bound, .. } = *self;
        let hidden = spec.hidden;
        match wanted {
            Wanted::Nothing => return Ok(()),
            Wanted::All | Wanted::Hidden => {}
            Wanted::Last => {
                // The last rows move to the front: none of them moves behind its place.
                let mut end = 0;
                for (at, segment) in segments.iter().enumerate() {
                    end += segment.tokens.len();
                    scratch.x.copy_within((end - 1) * hidden..end * hidden, at * hidden);
                }
                scratch.x.truncate(segments.len() * hidden);
            }
        }
        let rows = scratch.x.len() / hidden;
        scratch.normed.truncate(rows * hidden);
        self.norm(Some(bound.norm), &scratch.x, &mut scratch.normed);
        check(&scratch.normed, || "the last norm".to_owned())?;
        hooks.show(&[&bound.head.name], None, hidden, &scratch.normed);
        if wanted == Wanted::Hidden {
            logits.extend_from_slice(&scratch.normed);
            return Ok(());
        }
        let start = logits.len();
        logits.resize(start + rows * spec.vocabulary, 0.0);
        let out = &mut logits[start..];
        bound.head.apply(self.multiplier, rows, &scratch.normed, out);
        if spec.logit_scale.to_bits() != 1.0f32.to_bits() {
            math::scale(out, spec.logit_scale);
        }
        math::soft_cap(out, spec.logit_cap);
        check(out, || bound.head.name.clone())
    }
}

fn check(x: &[f32], place: impl FnOnce() -> String) -> Result<(), RunError> {
    if math::is_finite(x) { Ok(()) } else { Err(RunError::NotFinite { place: place() }) }
}
