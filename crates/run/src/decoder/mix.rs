//! Mixing of tokens: projections, rotation, and attention over the cache.

use longshore_quant::matmul::Threads;

use super::{
    attention::Attend,
    math,
    rotate::Rotations,
    state::{Decoder, Hooks, Scratch, Segment},
};
use crate::{
    spec::{Latent, QkNorm, RopeSpec, Spec},
    weights::{Attention, Linear, Norm, Projections},
};

impl Decoder<'_, '_> {
    /// Computes what the attention of a layer adds for the normalised rows, and adds their keys and values to the caches.
    pub(super) fn mix(
        &self,
        layer: usize,
        weights: &Attention<'_>,
        segments: &mut [Segment<'_>],
        scratch: &mut Scratch,
        hooks: &mut Hooks<'_>,
    ) {
        let spec = self.spec;
        let rows = scratch.x.len() / spec.hidden;
        scratch.queries.resize(rows * spec.heads * spec.head_dim, 0.0);
        scratch.keys.resize(rows * spec.kv_heads * spec.head_dim, 0.0);
        scratch.values.resize(rows * spec.kv_heads * spec.value_dim, 0.0);
        let rope = spec.layers[layer].rope.map(|at| (at, &spec.ropes[at]));
        match (&weights.projections, &spec.latent) {
            (Projections::Plain { q, k, v, q_norm, k_norm }, _) => {
                self.project([q, k, v], [*q_norm, *k_norm], rope, rows, scratch, hooks);
            }
            (Projections::Latent { q_down, q, kv_down, kv_norm, kv }, Some(latent)) => {
                self.project_latent(latent, (q_down.as_ref(), q), (kv_down, *kv_norm, kv), rope, scratch, hooks);
            }
            (Projections::Latent { .. }, None) => {
                unreachable!("BUG: binding takes latent projections where there are sizes")
            }
        }
        let (mut keys, mut values) = (&scratch.keys[..], &scratch.values[..]);
        for segment in &mut *segments {
            let count = segment.tokens.len();
            let key = keys.split_off(..count * spec.kv_heads * spec.head_dim).expect("there is a row for each token");
            let value =
                values.split_off(..count * spec.kv_heads * spec.value_dim).expect("there is a row for each token");
            segment.cache.append(layer, key, value);
        }
        let places = segments.iter().flat_map(|segment| {
            let cache = &*segment.cache;
            (cache.len()..).take(segment.tokens.len()).map(move |position| (cache.layer(layer), position))
        });
        let places: Vec<_> = places.collect();
        let width = spec.heads * spec.value_dim;
        scratch.mixed.resize(rows * width, 0.0);
        Attend {
            spec,
            threads: self.threads,
            window: spec.layers[layer].window,
            sinks: weights.sinks,
            rows: &places,
            queries: &scratch.queries,
        }
        .run(&mut scratch.mixed);
        hooks.show(&[&weights.output.name], None, width, &scratch.mixed);
        weights.output.apply(self.multiplier, rows, &scratch.mixed, &mut scratch.added);
    }

    fn project(
        &self,
        [q, k, v]: [&Linear<'_>; 3],
        [q_norm, k_norm]: [Option<Norm<'_>>; 2],
        rope: Option<(usize, &RopeSpec)>,
        rows: usize,
        scratch: &mut Scratch,
        hooks: &mut Hooks<'_>,
    ) {
        let spec = self.spec;
        let Scratch { normed, queries, keys, values, rotations, .. } = scratch;
        hooks.show(&[&q.name, &k.name, &v.name], None, spec.hidden, normed);
        Linear::apply_all(self.multiplier, [q, k, v], (rows, normed), [queries, keys, values]);
        turn(spec, self.threads, q_norm, rope, rotations, spec.heads, queries);
        turn(spec, self.threads, k_norm, rope, rotations, spec.kv_heads, keys);
    }

    fn project_latent(
        &self,
        latent: &Latent,
        (q_down, q): (Option<&(Linear<'_>, Norm<'_>)>, &Linear<'_>),
        (kv_down, kv_norm, kv): (&Linear<'_>, Norm<'_>, &Linear<'_>),
        rope: Option<(usize, &RopeSpec)>,
        scratch: &mut Scratch,
        hooks: &mut Hooks<'_>,
    ) {
        let spec = self.spec;
        let Scratch { normed, queries, keys, values, rotations, .. } = scratch;
        let rows = normed.len() / spec.hidden;
        let inputs: Vec<&str> =
            [q_down.map_or(&q.name, |(down, _)| &down.name), &kv_down.name].map(String::as_str).into();
        hooks.show(&inputs, None, spec.hidden, normed);
        if let Some((down, norm)) = q_down {
            let width = down.out();
            let mut compressed = vec![0.0; rows * width];
            down.apply(self.multiplier, rows, normed, &mut compressed);
            math::each_row(self.threads, &mut compressed, width, |_, row| {
                math::norm_in_place(spec.norm, row, norm.weight);
            });
            hooks.show(&[&q.name], None, width, &compressed);
            q.apply(self.multiplier, rows, &compressed, queries);
        } else {
            q.apply(self.multiplier, rows, normed, queries);
        }
        let width = latent.kv_rank + latent.rope;
        let mut compressed = vec![0.0; rows * width];
        kv_down.apply(self.multiplier, rows, normed, &mut compressed);
        let mut inner = vec![0.0; rows * latent.kv_rank];
        for (inner, row) in inner.chunks_exact_mut(latent.kv_rank).zip(compressed.chunks_exact(width)) {
            math::norm(spec.norm, &row[..latent.kv_rank], kv_norm.weight, kv_norm.bias, inner);
        }
        hooks.show(&[&kv.name], None, latent.kv_rank, &inner);
        let per_head = latent.nope + spec.value_dim;
        let mut expanded = vec![0.0; rows * spec.heads * per_head];
        kv.apply(self.multiplier, rows, &inner, &mut expanded);
        for row in 0..rows {
            let rotated = &mut compressed[row * width + latent.kv_rank..][..latent.rope];
            if let Some(rope) = rope {
                rotations.apply(rope, row, rotated);
            }
            for head in 0..spec.heads {
                let place = row * spec.heads + head;
                let source = &expanded[place * per_head..][..per_head];
                let key = &mut keys[place * spec.head_dim..][..spec.head_dim];
                key[..latent.nope].copy_from_slice(&source[..latent.nope]);
                key[latent.nope..].copy_from_slice(rotated);
                values[place * spec.value_dim..][..spec.value_dim].copy_from_slice(&source[latent.nope..]);
                if let Some(rope) = rope {
                    rotations.apply(rope, row, &mut queries[place * spec.head_dim + latent.nope..][..latent.rope]);
                }
            }
        }
    }
}

/// Normalises and rotates the heads of queries or keys.
fn turn(
    spec: &Spec,
    threads: &Threads,
    norm: Option<Norm<'_>>,
    rope: Option<(usize, &RopeSpec)>,
    rotations: &Rotations,
    heads: usize,
    x: &mut [f32],
) {
    math::each_row(threads, x, heads * spec.head_dim, |at, row| {
        match (spec.qk_norm, norm) {
            (QkNorm::Row, Some(norm)) => math::norm_in_place(spec.norm, row, norm.weight),
            (QkNorm::Head, Some(norm)) => {
                row.chunks_exact_mut(spec.head_dim).for_each(|head| math::norm_in_place(spec.norm, head, norm.weight));
            }
            _ => {}
        }
        if let Some(rope) = rope {
            row.chunks_exact_mut(spec.head_dim).for_each(|head| rotations.apply(rope, at, head));
        }
    });
}
