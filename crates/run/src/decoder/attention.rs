//! Attention of each token over those before it.
#![expect(clippy::inline_always, reason = "what calls it is compiled for each set of instructions")]

use std::{cell::Cell, ops::Range, ptr};

use longshore_quant::matmul::Threads;

use super::{
    cache::{BLOCK, LayerCache},
    math,
};
use crate::{
    spec::Spec,
    wide::{Work, wide},
};

/// Products of elements from which rows, or heads, are divided among threads.
const PARALLEL: usize = 1 << 16;

/// Heads of queries that pass over keys and values together.
const TILE: usize = 16;

/// Queries whose products with keys are summed side by side.
const ABREAST: usize = 4;

/// Tokens whose values stay in the fastest cache.
const VALUES: usize = 64;

/// Attention of the rows of a batch in one layer.
#[derive(Debug)]
pub(crate) struct Attend<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) threads: &'a Threads,
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
        let Spec { heads, kv_heads, head_dim, value_dim, .. } = *self.spec;
        let (rows, width) = (self.rows.len(), heads * value_dim);
        let span: usize = self.rows.iter().map(|(_, position)| self.range(*position).len()).sum();
        if span * heads * (head_dim + value_dim) < PARALLEL {
            self.part(0..rows, 0..kv_heads, out);
        } else if rows < 2 * self.threads.count() {
            self.threads.each_chunk(out, width / kv_heads, |at, out| {
                let (row, head) = (at / kv_heads, at % kv_heads);
                self.part(row..row + 1, head..head + 1, out);
            });
        } else {
            let count = self.tile_rows();
            self.threads.each_chunk(out, count * width, |at, out| {
                self.part(at * count..rows.min((at + 1) * count), 0..kv_heads, out);
            });
        }
    }

    /// Number of rows whose queries of one key pass over it together.
    fn tile_rows(&self) -> usize {
        (TILE * self.spec.kv_heads / self.spec.heads).max(1)
    }

    /// Tokens that the token at a position looks at.
    fn range(&self, position: usize) -> Range<usize> {
        let end = position + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    /// Computes some rows of the heads that share some keys: `out` is `[rows, heads × value_dim]`.
    fn part(&self, rows: Range<usize>, kv_heads: Range<usize>, out: &mut [f32]) {
        thread_local! {
            static KEPT: Cell<Scratch> = const { Cell::new(Scratch { logits: Vec::new(), buffer: Vec::new() }) };
        }
        let mut scratch = KEPT.take();
        let group = self.spec.heads / self.spec.kv_heads * self.spec.value_dim;
        let stride = kv_heads.len() * group;
        let mut start = rows.start;
        while start < rows.end {
            let cache = self.rows[start].0;
            let next = self.rows[start..rows.end].iter().take(self.tile_rows());
            let count = next.take_while(|(other, _)| ptr::eq(*other, cache)).count();
            for (at, head) in kv_heads.clone().enumerate() {
                let out = &mut out[(start - rows.start) * stride + at * group..];
                let rows = start..start + count;
                wide(Tile { attend: self, cache, rows, kv_head: head, scratch: &mut scratch, out, stride });
            }
            start += count;
        }
        KEPT.set(scratch);
    }
}

/// The heads of some rows that share a key of one cache. Rows of `out` lie `stride` elements apart.
struct Tile<'t> {
    attend: &'t Attend<'t>,
    cache: &'t LayerCache,
    rows: Range<usize>,
    kv_head: usize,
    scratch: &'t mut Scratch,
    out: &'t mut [f32],
    stride: usize,
}

impl Work for Tile<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { attend, cache, rows, kv_head, scratch, out, stride } = self;
        let Spec { heads, kv_heads, head_dim, value_dim, attention_scale, attention_cap, .. } = *attend.spec;
        let group = heads / kv_heads;
        let (first, count) = (kv_head * group, rows.len() * group);
        let range = |query: usize| attend.range(attend.rows[rows.start + query / group].1);
        let query = |query: usize| {
            let place = (rows.start + query / group) * heads + first + query % group;
            &attend.queries[place * head_dim..][..head_dim]
        };
        let start = (0..count).map(|query| range(query).start).min().unwrap_or(0) / BLOCK;
        let end = (0..count).map(|query| range(query).end).max().unwrap_or(0);
        let width = (end.div_ceil(BLOCK) - start) * BLOCK;
        let Scratch { logits, buffer } = scratch;
        logits.resize(count * width, 0.0);
        for block in start..end.div_ceil(BLOCK) {
            let keys = cache.keys().block(block, kv_head, buffer);
            let logits = &mut logits[(block - start) * BLOCK..];
            let mut put = Put { logits, width, scale: attention_scale };
            let mut at = 0;
            while at + ABREAST <= count {
                put.rows(at, products([query(at), query(at + 1), query(at + 2), query(at + 3)], keys));
                at += ABREAST;
            }
            match count - at {
                3 => put.rows(at, products([query(at), query(at + 1), query(at + 2)], keys)),
                2 => put.rows(at, products([query(at), query(at + 1)], keys)),
                1 => put.rows(at, products([query(at)], keys)),
                _ => {}
            }
        }
        let base = start * BLOCK;
        for at in 0..count {
            let range = range(at);
            let logits = &mut logits[at * width + range.start - base..][..range.len()];
            math::soft_cap(logits, attention_cap);
            let sum = math::exponentials(logits, attend.sinks.map(|sinks| sinks[first + at % group]));
            math::scale(logits, sum.recip());
            out[at / group * stride + at % group * value_dim..][..value_dim].fill(0.0);
        }
        for from in (base..end).step_by(VALUES) {
            let block = from..end.min(from + VALUES);
            let (values, distance) = cache.values().get(block.clone(), kv_head * value_dim, value_dim, buffer);
            for at in 0..count {
                let range = range(at);
                let seen = range.start.max(block.start)..range.end.min(block.end);
                if seen.is_empty() {
                    continue;
                }
                let out = &mut out[at / group * stride + at % group * value_dim..][..value_dim];
                let weights = &logits[at * width + seen.start - base..][..seen.len()];
                math::add_weighted(out, weights, &values[(seen.start - block.start) * distance..], distance);
            }
        }
    }
}

/// Computes attention without a window, `out`, for rows that each look at the keys and values up to a position.
pub(crate) fn attend(spec: &Spec, threads: &Threads, rows: &[(&LayerCache, usize)], queries: &[f32], out: &mut [f32]) {
    Attend { spec, threads, window: None, sinks: None, rows, queries }.run(out);
}

/// Places of the products of a block with each query, `width` elements apart.
struct Put<'l> {
    logits: &'l mut [f32],
    width: usize,
    scale: f32,
}

impl Put<'_> {
    #[inline(always)]
    fn rows<const N: usize>(&mut self, first: usize, products: [[f32; BLOCK]; N]) {
        for (at, products) in products.iter().enumerate() {
            let logits: &mut [f32; BLOCK] =
                self.logits[(first + at) * self.width..].first_chunk_mut().expect("a row is whole blocks");
            for lane in 0..BLOCK {
                logits[lane] = products[lane] * self.scale;
            }
        }
    }
}

/// Products of queries and the keys of a block, `[elements, BLOCK]`.
#[inline(always)]
fn products<const N: usize>(queries: [&[f32]; N], keys: &[f32]) -> [[f32; BLOCK]; N] {
    let keys = keys.as_chunks::<BLOCK>().0;
    let queries = queries.map(|query| &query[..keys.len()]);
    let mut sums = [[0.0; BLOCK]; N];
    for (at, key) in keys.iter().enumerate() {
        for (sums, query) in sums.iter_mut().zip(&queries) {
            let factor = query[at];
            for lane in 0..BLOCK {
                sums[lane] += factor * key[lane];
            }
        }
    }
    sums
}

/// Memory of a thread.
#[derive(Debug, Default)]
struct Scratch {
    /// A row for each query, from the first block of keys to the last.
    logits: Vec<f32>,
    buffer: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use longshore_manifest::document::Facts;

    use super::*;
    use crate::{decoder::Cache, options::KvType, spec};

    /// Heads of queries, of keys, and elements of a head, none of which fills a vector.
    const SHAPE: [usize; 3] = [6, 2, 24];

    fn spec() -> Spec {
        let number = |number: usize| Some(u64::try_from(number).expect("it is small"));
        let facts = Facts {
            hidden_size: number(SHAPE[0] * SHAPE[2]),
            heads: number(SHAPE[0]),
            kv_heads: number(SHAPE[1]),
            head_dim: number(SHAPE[2]),
            layers: number(1),
            vocabulary: number(8),
            intermediate_size: number(8),
            ..Facts::default()
        };
        spec::decoder(&facts, spec::find("llama").expect("it is in the table"), None, None).expect("it is a decoder")
    }

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
    }

    /// Attention of one row in f64.
    fn expected(
        spec: &Spec,
        window: Option<usize>,
        sink: Option<f32>,
        position: usize,
        inputs: [&[f32]; 3],
    ) -> Vec<f64> {
        let [queries, keys, values] = inputs;
        let [heads, kv_heads, dim] = SHAPE;
        let mut out = vec![0.0; heads * dim];
        let first = window.map_or(0, |window| (position + 1).saturating_sub(window));
        for head in 0..heads {
            let kv = head / (heads / kv_heads);
            let row = |x: &[f32], token: usize| -> Vec<f64> {
                x[(token * kv_heads + kv) * dim..][..dim].iter().map(|x| f64::from(*x)).collect()
            };
            let query = &queries[(position * heads + head) * dim..][..dim];
            let weights = (first..=position).map(|token| {
                let sum: f64 = row(keys, token).iter().zip(query).map(|(key, query)| key * f64::from(*query)).sum();
                (sum * f64::from(spec.attention_scale)).exp()
            });
            let weights: Vec<f64> = weights.collect();
            let total = weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| f64::from(sink).exp());
            for (token, weight) in (first..=position).zip(&weights) {
                let out = &mut out[head * dim..][..dim];
                out.iter_mut().zip(row(values, token)).for_each(|(out, value)| *out += weight / total * value);
            }
        }
        out
    }

    #[test]
    fn rows_together_give_what_each_gives_alone() {
        const ROWS: usize = 70;
        let spec = spec();
        let [heads, kv_heads, dim] = SHAPE;
        let (queries, width) = (numbers(ROWS * heads * dim, 1), heads * dim);
        let (keys, values) = (numbers(ROWS * kv_heads * dim, 2), numbers(ROWS * kv_heads * dim, 3));
        let threads = Threads::new(3).expect("threads start");
        let sinks = vec![0.5; heads];
        for (kv, tolerance) in [(KvType::F32, 1e-5), (KvType::F16, 2e-3)] {
            let mut cache = Cache::new(&spec, kv);
            // In pieces, which end within blocks and at their ends.
            for piece in [0..5, 5..16, 16..49, 49..ROWS] {
                let part = |x: &[f32]| x[piece.start * kv_heads * dim..piece.end * kv_heads * dim].to_vec();
                cache.append(0, &part(&keys), &part(&values));
            }
            for (window, sinks) in [(None, None), (Some(17), Some(&sinks[..])), (Some(1), None)] {
                let rows: Vec<_> = (0..ROWS).map(|position| (cache.layer(0), position)).collect();
                let attend = |rows, queries| Attend { spec: &spec, threads: &threads, window, sinks, rows, queries };
                let mut together = vec![f32::NAN; ROWS * width];
                attend(&rows, &queries).run(&mut together);
                // Fewer rows than threads take at once are divided by their heads.
                let mut last = vec![f32::NAN; 4 * width];
                attend(&rows[ROWS - 4..], &queries[(ROWS - 4) * width..]).run(&mut last);
                assert!(last == together[(ROWS - 4) * width..], "{kv:?} {window:?}");
                for (position, found) in together.chunks_exact(width).enumerate() {
                    let mut alone = vec![f32::NAN; width];
                    attend(&rows[position..=position], &queries[position * width..][..width]).run(&mut alone);
                    assert!(alone == found, "{kv:?} {window:?}, row {position}");
                    let sink = sinks.map(|sinks| sinks[0]);
                    let expected = expected(&spec, window, sink, position, [&queries, &keys, &values]);
                    for (found, expected) in found.iter().zip(expected) {
                        assert!((f64::from(*found) - expected).abs() < tolerance, "{kv:?} {window:?}, row {position}");
                    }
                }
            }
        }
    }

    #[test]
    fn dropped_tokens_leave_nothing_behind() {
        let spec = spec();
        let row = SHAPE[1] * SHAPE[2];
        let (keys, values, queries) = (numbers(40 * row, 2), numbers(40 * row, 3), numbers(SHAPE[0] * SHAPE[2], 1));
        let threads = Threads::new(1).expect("threads start");
        let run = |cache: &Cache| {
            let mut out = vec![0.0; queries.len()];
            attend(&spec, &threads, &[(cache.layer(0), 19)], &queries, &mut out);
            out
        };
        let mut fresh = Cache::new(&spec, KvType::F32);
        fresh.append(0, &keys[..20 * row], &values[..20 * row]);
        let mut cut = Cache::new(&spec, KvType::F32);
        cut.append(0, &[&keys[..18 * row], &keys[..row], &[9.0].repeat(12 * row)].concat(), &values[..31 * row]);
        cut.set_len(18);
        cut.append(0, &keys[18 * row..20 * row], &values[18 * row..20 * row]);
        assert!(run(&fresh) == run(&cut));
    }
}
