//! Attention of each token over those before it.

use std::ops::Range;

use rayon::prelude::*;

use super::{cache::LayerCache, math};
use crate::spec::Spec;

/// Products of elements from which heads are divided among threads.
const PARALLEL: usize = 1 << 17;

/// Attention of the rows of a batch in one layer.
#[derive(Debug)]
pub(crate) struct Attend<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) window: Option<usize>,
    pub(crate) sinks: Option<&'a [f32]>,
    /// For each row, the keys and values that it looks at, and its position among them.
    pub(crate) rows: &'a [(&'a LayerCache, usize)],
    /// `[rows, heads × head_dim]`.
    pub(crate) queries: &'a [f32],
}

impl Attend<'_> {
    /// Computes `out`, `[rows, heads × value_dim]`.
    pub(crate) fn run(&self, out: &mut [f32]) {
        let spec = self.spec;
        let group = spec.heads / spec.kv_heads;
        let width = group * spec.value_dim;
        let span: usize = self.rows.iter().map(|(_, position)| self.range(*position).len()).sum();
        let task = |scratch: &mut Scratch, at: usize, out: &mut [f32]| {
            self.group(at / spec.kv_heads, at % spec.kv_heads, scratch, out);
        };
        if span * spec.heads * (spec.head_dim + spec.value_dim) >= PARALLEL {
            let tasks = out.par_chunks_exact_mut(width).enumerate();
            tasks.for_each_init(Scratch::default, |scratch, (at, out)| task(scratch, at, out));
        } else {
            let mut scratch = Scratch::default();
            out.chunks_exact_mut(width).enumerate().for_each(|(at, out)| task(&mut scratch, at, out));
        }
    }

    /// Tokens that the token at a position looks at.
    fn range(&self, position: usize) -> Range<usize> {
        let end = position + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// Computes the heads of one row that share a key.
    fn group(&self, row: usize, kv_head: usize, scratch: &mut Scratch, out: &mut [f32]) {
        let Spec { heads, kv_heads, head_dim, value_dim, .. } = *self.spec;
        let group = heads / kv_heads;
        let (cache, position) = self.rows[row];
        let range = self.range(position);
        let first = kv_head * group;
        let queries = &self.queries[(row * heads + first) * head_dim..][..group * head_dim];
        let Scratch { logits, buffer } = scratch;
        let count = range.len();
        logits.resize(group * count, 0.0);
        for block in blocks(&range) {
            let at = block.start - range.start;
            let (keys, stride) = cache.keys().get(block.clone(), kv_head * head_dim, head_dim, buffer);
            for (head, query) in queries.chunks_exact(head_dim).enumerate() {
                let logits = &mut logits[head * count + at..][..block.len()];
                for (logit, key) in logits.iter_mut().zip(keys.chunks(stride)) {
                    *logit = math::dot(query, &key[..head_dim]) * self.spec.attention_scale;
                }
            }
        }
        math::soft_cap(logits, self.spec.attention_cap);
        out.fill(0.0);
        for (head, logits) in logits.chunks_exact_mut(count).enumerate() {
            let sum = math::exponentials(logits, self.sinks.map(|sinks| sinks[first + head]));
            math::scale(logits, sum.recip());
        }
        for block in blocks(&range) {
            let at = block.start - range.start;
            let (values, stride) = cache.values().get(block.clone(), kv_head * value_dim, value_dim, buffer);
            for (head, out) in out.chunks_exact_mut(value_dim).enumerate() {
                math::add_weighted(out, &logits[head * count + at..][..block.len()], values, stride);
            }
        }
    }
}

/// Computes attention without a window, `out`, for rows that each look at the keys and values up to a position.
pub(crate) fn attend(spec: &Spec, rows: &[(&LayerCache, usize)], queries: &[f32], out: &mut [f32]) {
    Attend { spec, window: None, sinks: None, rows, queries }.run(out);
}

/// Cuts tokens into blocks whose keys, or values, stay in the fastest cache.
fn blocks(range: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    const TOKENS: usize = 64;
    let end = range.end;
    range.clone().step_by(TOKENS).map(move |start| start..end.min(start + TOKENS))
}

/// Memory of a thread.
#[derive(Debug, Default)]
struct Scratch {
    logits: Vec<f32>,
    buffer: Vec<f32>,
}
