//! Feed-forward blocks: one for all tokens, or experts that a router chooses.

use longshore_quant::matmul::{ExpertRows, Multiplier, Precision};

use super::{
    math, route,
    state::{Decoder, Hooks, Scratch},
};
use crate::{
    spec::{Activation, MoeSpec},
    weights::{Dense, ExpertLayer, Ffn, Linear},
};

impl Decoder<'_, '_> {
    /// Computes what the feed-forward block of a layer adds for the normalised rows.
    pub(super) fn ffn(&self, ffn: &Ffn<'_>, scratch: &mut Scratch, hooks: &mut Hooks<'_>) {
        let Scratch { normed, added, gate, up, .. } = scratch;
        match (ffn, &self.spec.moe) {
            (Ffn::Experts(layer), Some(moe)) => self.experts(moe, layer, normed, added, (gate, up), hooks),
            (Ffn::Dense(dense), _) => self.dense(dense, normed, added, (gate, up), hooks),
            (Ffn::Experts(_), None) => unreachable!("BUG: binding takes experts where there are sizes"),
        }
    }

    fn dense(
        &self,
        dense: &Dense<'_>,
        x: &[f32],
        out: &mut [f32],
        (gate, up): (&mut Vec<f32>, &mut Vec<f32>),
        hooks: &mut Hooks<'_>,
    ) {
        let rows = x.len() / self.spec.hidden;
        let width = dense.up.out();
        up.resize(rows * width, 0.0);
        let inner = if let Some(layer) = &dense.gate {
            gate.resize(rows * width, 0.0);
            hooks.show(&[&layer.name, &dense.up.name], None, self.spec.hidden, x);
            Linear::apply_all(self.multiplier, [layer, &dense.up], (rows, x), [gate, up]);
            let up = &*up;
            math::each_pair(self.threads, gate, up, |gate, up| math::gate(self.spec.activation, gate, up));
            gate
        } else {
            hooks.show(&[&dense.up.name], None, self.spec.hidden, x);
            dense.up.apply(self.multiplier, rows, x, up);
            math::each_row(self.threads, up, width, |_, row| math::activate(self.spec.activation, row));
            up
        };
        hooks.show(&[&dense.down.name], None, width, inner);
        dense.down.apply(self.multiplier, rows, inner, out);
    }

    fn experts(
        &self,
        moe: &MoeSpec,
        layer: &ExpertLayer<'_>,
        x: &[f32],
        out: &mut [f32],
        (gate, up): (&mut Vec<f32>, &mut Vec<f32>),
        hooks: &mut Hooks<'_>,
    ) {
        let hidden = self.spec.hidden;
        let rows = x.len() / hidden;
        match &layer.shared {
            Some(shared) => self.dense(shared, x, out, (gate, up), hooks),
            None => out.fill(0.0),
        }
        let mut logits = vec![0.0; rows * moe.experts];
        hooks.show(&[&layer.router.name], None, hidden, x);
        // Rounding could choose other experts.
        layer.router.apply(Multiplier::new(Precision::Exact), rows, x, &mut logits);
        let mut picked: Vec<(Vec<usize>, Vec<f32>)> = vec![Default::default(); moe.experts];
        for (row, logits) in logits.chunks_exact_mut(moe.experts).enumerate() {
            for (expert, weight) in route::choose(moe, logits, layer.correction) {
                picked[expert].0.push(row);
                picked[expert].1.push(weight);
            }
        }
        let chosen = || picked.iter().enumerate().filter(|(_, (rows, _))| !rows.is_empty());
        let picks: Vec<_> = chosen().map(|(expert, (rows, _))| ExpertRows { expert, rows }).collect();
        let inner = self.gated(moe, layer, (rows, x), &picks, (gate, up), hooks);
        let places: Vec<usize> = (0..inner.len() / moe.intermediate).collect();
        let mut rest = &places[..];
        let inner_picks: Vec<_> = picks
            .iter()
            .map(|pick| {
                let rows = rest.split_off(..pick.rows.len()).expect("there is a place for each pick");
                ExpertRows { expert: pick.expert, rows }
            })
            .collect();
        for pick in &inner_picks {
            let (Some(first), Some(last)) = (pick.rows.first(), pick.rows.last()) else { continue };
            let input = &inner[first * moe.intermediate..(last + 1) * moe.intermediate];
            hooks.show(&layer.down.shown(pick.expert), Some(pick.expert), moe.intermediate, input);
        }
        let mut results = vec![0.0; places.len() * hidden];
        layer.down.apply(self.multiplier, moe.experts, (places.len(), inner), &inner_picks, &mut results);
        let targets = chosen().flat_map(|(_, (rows, weights))| rows.iter().zip(weights));
        for ((row, weight), result) in targets.zip(results.chunks_exact(hidden)) {
            math::add_scaled(&mut out[row * hidden..][..hidden], *weight, result);
        }
    }

    /// Computes the gated inner rows of the picked experts, in the order of the picks.
    fn gated<'b>(
        &self,
        moe: &MoeSpec,
        layer: &ExpertLayer<'_>,
        (rows, x): (usize, &[f32]),
        picks: &[ExpertRows<'_>],
        (gate, up): (&'b mut Vec<f32>, &mut Vec<f32>),
        hooks: &mut Hooks<'_>,
    ) -> &'b [f32] {
        let inner = moe.intermediate;
        let count: usize = picks.iter().map(|pick| pick.rows.len()).sum();
        if hooks.observer.is_some() {
            let hidden = self.spec.hidden;
            for pick in picks {
                let input: Vec<f32> = pick.rows.iter().flat_map(|row| &x[row * hidden..][..hidden]).copied().collect();
                let mut names = layer.up.shown(pick.expert);
                names.extend(layer.gate.iter().flat_map(|gate| gate.shown(pick.expert)));
                hooks.show(&names, Some(pick.expert), hidden, &input);
            }
        }
        gate.resize(count * inner, 0.0);
        if let Some(layer_gate) = &layer.gate {
            up.resize(count * inner, 0.0);
            layer_gate.apply(self.multiplier, moe.experts, (rows, x), picks, gate);
            layer.up.apply(self.multiplier, moe.experts, (rows, x), picks, up);
        } else {
            let mut both = vec![0.0; count * 2 * inner];
            layer.up.apply(self.multiplier, moe.experts, (rows, x), picks, &mut both);
            up.clear();
            // gpt-oss alternates the rows of the two projections.
            if matches!(self.spec.activation, Activation::Clamped { .. }) {
                gate.iter_mut().zip(both.iter().step_by(2)).for_each(|(gate, value)| *gate = *value);
                up.extend(both.iter().skip(1).step_by(2));
            } else {
                for (gate, both) in gate.chunks_exact_mut(inner).zip(both.chunks_exact(2 * inner)) {
                    gate.copy_from_slice(&both[..inner]);
                    up.extend_from_slice(&both[inner..]);
                }
            }
        }
        let up = &*up;
        math::each_pair(self.threads, gate, up, |gate, up| math::gate(self.spec.activation, gate, up));
        gate
    }
}
