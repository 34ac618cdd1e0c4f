//! The layer of an EAGLE-3 head: it reads the embedding of a token beside the state of the one before.
//!
//! ```text
//! x = attention([norm(embedding) | norm(state)]) + state
//! y = ffn(norm(x)) + x                                     the state from which the next token is read
//! ```

use super::state::{Decoder, Hooks, Scratch, Segment};
use crate::{decoder::math, error::RunError, weights::Norm};

/// The norm of an EAGLE-3 head's states, and its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateNorm<'w> {
    pub(crate) norm: Norm<'w>,
    /// Whether the residual stream goes on from the normalised states.
    pub(crate) is_residual: bool,
}

impl Decoder<'_, '_> {
    /// Runs the tokens of a segment, which are in the vocabulary, through the layer. `states` has a row for each; what the layer gives
    /// takes its place. After an error the cache is as before.
    pub(crate) fn draft(
        &self,
        state_norm: StateNorm<'_>,
        segment: Segment<'_>,
        states: &mut Vec<f32>,
        scratch: &mut Scratch,
    ) -> Result<(), RunError> {
        let (start, count) = (segment.cache.len(), segment.tokens.len());
        let mut segments = [segment];
        let done = self.draft_layer(state_norm, &mut segments, states, scratch);
        let [segment] = segments;
        segment.cache.set_len(if done.is_ok() { start + count } else { start });
        done
    }

    fn draft_layer(
        &self,
        StateNorm { norm, is_residual }: StateNorm<'_>,
        segments: &mut [Segment<'_>; 1],
        states: &mut Vec<f32>,
        scratch: &mut Scratch,
    ) -> Result<(), RunError> {
        let Self { spec, bound, .. } = *self;
        let (hidden, layer) = (spec.hidden, &bound.layers[0]);
        let ids: Vec<usize> = segments[0].tokens.iter().map(|id| *id as usize).collect();
        let positions: Vec<usize> = (segments[0].cache.len()..).take(ids.len()).collect();
        scratch.rotations.fill(&spec.ropes, &positions);
        let mut embedded = vec![0.0; ids.len() * hidden];
        bound.embedding.weights.decode_rows(&ids, &mut embedded).expect("tokens are in the vocabulary");
        let (mut of_tokens, mut of_states) = (vec![0.0; embedded.len()], vec![0.0; embedded.len()]);
        self.norm(layer.attention_in, &embedded, &mut of_tokens);
        self.norm(Some(norm), states, &mut of_states);
        let pairs = of_tokens.chunks_exact(hidden).zip(of_states.chunks_exact(hidden));
        scratch.normed.clear();
        scratch.normed.extend(pairs.flat_map(|(token, state)| token.iter().chain(state)));
        scratch.x.clone_from(if is_residual { &of_states } else { &*states });
        scratch.added.resize(embedded.len(), 0.0);
        let mut hooks = Hooks::default();
        self.mix(0, &layer.attention, segments, scratch, &mut hooks);
        self.add(None, scratch);
        scratch.normed.resize(embedded.len(), 0.0);
        self.norm(layer.ffn_in, &scratch.x, &mut scratch.normed);
        self.ffn(0, &layer.ffn, scratch, &mut hooks)?;
        self.add(None, scratch);
        if !math::is_finite(&scratch.x) {
            return Err(RunError::NotFinite { place: "the draft head".to_owned() });
        }
        states.clone_from(&scratch.x);
        Ok(())
    }

    /// Computes the logits of a state, over the vocabulary of the head.
    pub(crate) fn draft_logits(&self, state: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; state.len()];
        self.norm(Some(self.bound.norm), state, &mut normed);
        let mut logits = vec![0.0; self.bound.head.out()];
        self.bound.head.apply(self.multiplier, 1, &normed, &mut logits);
        logits
    }
}
