//! Routing: the choice of a token's experts.

use super::math;
use crate::spec::MoeSpec;

/// Chooses the experts of a token from the router's logits. Returns each with its weight, in ascending order of experts.
pub(crate) fn choose(spec: &MoeSpec, logits: &mut [f32], correction: Option<&[f32]>) -> Vec<(usize, f32)> {
    if spec.sigmoid {
        for logit in logits.iter_mut() {
            *logit = math::sigmoid(*logit);
        }
    } else {
        let sum = math::exponentials(logits, None);
        math::scale(logits, sum.recip());
    }
    let scores = &*logits;
    let mut choice: Vec<f32> = match correction {
        Some(correction) => scores.iter().zip(correction).map(|(score, add)| score + add).collect(),
        None => scores.to_vec(),
    };
    let (groups, allowed) = spec.groups;
    if groups > allowed {
        let size = spec.experts / groups;
        let best = choice.chunks_exact(size).map(|group| {
            let mut group = group.to_vec();
            group.sort_by(|a, b| b.total_cmp(a));
            // Without a correction, DeepSeek's second generation compares groups by their best expert.
            let count = if correction.is_some() { 2 } else { 1 };
            group.iter().take(count).sum::<f32>()
        });
        let kept = largest(&best.collect::<Vec<_>>(), allowed);
        for (at, group) in choice.chunks_exact_mut(size).enumerate() {
            if !kept.contains(&at) {
                group.fill(f32::NEG_INFINITY);
            }
        }
    }
    let mut chosen: Vec<(usize, f32)> =
        largest(&choice, spec.top_k).into_iter().map(|expert| (expert, scores[expert])).collect();
    let sum: f32 = chosen.iter().map(|(_, weight)| weight).sum();
    let factor = if spec.normalises { spec.scaling / (sum + 1e-20) } else { spec.scaling };
    for (_, weight) in &mut chosen {
        *weight *= factor;
    }
    chosen.sort_by_key(|(expert, _)| *expert);
    chosen
}

/// Indices of the `count` largest values. Of equal ones, the first counts.
fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order.truncate(count);
    order
}
