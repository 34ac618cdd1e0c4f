//! Routing: the choice of a token's experts.

use super::math;
use crate::{error::RunError, spec::MoeSpec};

/// Rows of a batch that chose an expert, with the weights of its results.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Pick {
    pub(crate) expert: u32,
    pub(crate) rows: Vec<usize>,
    pub(crate) weights: Vec<f32>,
}

/// Groups the choices of the rows of a batch by experts, in ascending order. One that cannot be computed is an error of the whole batch.
pub(crate) fn group(layer: usize, experts: usize, choices: &[Vec<(usize, f32)>]) -> Result<Vec<Pick>, RunError> {
    let mut picks: Vec<Pick> = vec![Pick::default(); experts];
    for (row, chosen) in choices.iter().enumerate() {
        for (expert, weight) in chosen {
            let pick = picks.get_mut(*expert).filter(|pick| weight.is_finite() && pick.rows.last() != Some(&row));
            let (expert, weight) = (*expert, *weight);
            let pick = pick.ok_or(RunError::Routing { layer, row, expert, experts, weight })?;
            pick.rows.push(row);
            pick.weights.push(weight);
        }
    }
    for (expert, pick) in (0..).zip(&mut picks) {
        pick.expert = expert;
    }
    picks.retain(|pick| !pick.rows.is_empty());
    Ok(picks)
}

/// The experts of each row in order of their weight, one row after the other. Of equal weights, the lower number comes first.
pub(crate) fn by_weight(choices: &[Vec<(usize, f32)>]) -> Vec<u32> {
    let sorted = choices.iter().flat_map(|chosen| {
        let mut chosen = chosen.clone();
        chosen.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        chosen
    });
    sorted.map(|(expert, _)| expert as u32).collect()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_grouped_by_experts() {
        let choices = [vec![(0, 0.5), (3, 0.25)], vec![(3, 1.0), (5, 2.0)]];
        let pick =
            |expert, rows: &[usize], weights: &[f32]| Pick { expert, rows: rows.into(), weights: weights.into() };
        let found = group(2, 6, &choices).expect("the choices are fine");
        assert_eq!(found, [pick(0, &[0], &[0.5]), pick(3, &[0, 1], &[0.25, 1.0]), pick(5, &[1], &[2.0])]);
        assert_eq!(by_weight(&choices), [0, 3, 5, 3]);
        assert_eq!(by_weight(&[vec![(1, 0.5), (2, 0.5), (4, 0.75)]]), [4, 1, 2]);
    }

    #[test]
    fn one_bad_choice_fails_the_batch() {
        let good = vec![(0, 0.5), (3, 0.25)];
        for bad in [(6, 1.0), (usize::MAX, 1.0), (1, f32::NAN), (1, f32::INFINITY), (3, 1.0)] {
            let chosen = if bad.0 == 3 { vec![(3, 0.5), bad] } else { vec![bad] };
            let error = group(2, 6, &[good.clone(), chosen]).expect_err("one is bad");
            let RunError::Routing { layer: 2, row: 1, expert, experts: 6, .. } = error else { panic!("{error}") };
            assert_eq!(expert, bad.0);
        }
    }
}
