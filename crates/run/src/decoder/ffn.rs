//! Feed-forward blocks: one for all tokens, or experts that a router chooses.

use longshore_quant::matmul::{ExpertRows, Multiplier, Precision};

use super::{
    math,
    route::{self, Pick},
    state::{Decoder, Hooks, Scratch},
};
use crate::{
    error::RunError,
    experts::Held,
    spec::{Activation, MoeSpec},
    weights::{Dense, ExpertLayer, Ffn, Linear},
};

impl Decoder<'_, '_> {
    /// Computes what the feed-forward block of a layer adds for the normalised rows.
    pub(super) fn ffn(
        &self,
        at: usize,
        ffn: &Ffn<'_>,
        scratch: &mut Scratch,
        hooks: &mut Hooks<'_>,
    ) -> Result<(), RunError> {
        let Scratch { normed, added, gate, up, .. } = scratch;
        match (ffn, &self.spec.moe) {
            (Ffn::Experts(layer), Some(moe)) => self.experts(at, (moe, layer), normed, added, (gate, up), hooks)?,
            (Ffn::Dense(dense), _) => self.dense(dense, normed, added, (gate, up), hooks),
            (Ffn::Experts(_), None) => unreachable!("BUG: binding takes experts where there are sizes"),
        }
        Ok(())
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
        at: usize,
        (moe, layer): (&MoeSpec, &ExpertLayer<'_>),
        x: &[f32],
        out: &mut [f32],
        (gate, up): (&mut Vec<f32>, &mut Vec<f32>),
        hooks: &mut Hooks<'_>,
    ) -> Result<(), RunError> {
        let hidden = self.spec.hidden;
        let picks = self.route(at, (moe, layer), x, hooks)?;
        let experts: Vec<u32> = picks.iter().map(|pick| pick.expert).collect();
        let number = at as u32;
        self.reach.ask(number, &experts);
        match &layer.shared {
            Some(shared) => self.dense(shared, x, out, (gate, up), hooks),
            None => out.fill(0.0),
        }
        // In ascending order of experts, so that sums are the same however many are computed together.
        self.reach.each(number, &experts, |range, held| {
            let picks = &picks[range];
            let results = self.results((moe, layer), x, (picks, held), (gate, up), hooks);
            let targets = picks.iter().flat_map(|pick| pick.rows.iter().zip(&pick.weights));
            for ((row, weight), result) in targets.zip(results.chunks_exact(hidden)) {
                math::add_scaled(&mut out[row * hidden..][..hidden], *weight, result);
            }
        })
    }

    /// Chooses the experts of all rows, before any of them is computed.
    fn route(
        &self,
        at: usize,
        (moe, layer): (&MoeSpec, &ExpertLayer<'_>),
        x: &[f32],
        hooks: &mut Hooks<'_>,
    ) -> Result<Vec<Pick>, RunError> {
        let hidden = self.spec.hidden;
        let rows = x.len() / hidden;
        let mut logits = vec![0.0; rows * moe.experts];
        hooks.show(&[&layer.router.name], None, hidden, x);
        // Rounding could choose other experts.
        layer.router.apply(Multiplier::new(Precision::Exact), rows, x, &mut logits);
        if !math::is_finite(&logits) || layer.correction.is_some_and(|correction| !math::is_finite(correction)) {
            return Err(RunError::NotFinite { place: format!("the router of layer {at}") });
        }
        let choose = |logits: &mut [f32]| route::choose(moe, logits, layer.correction);
        let choices: Vec<_> = logits.chunks_exact_mut(moe.experts).map(choose).collect();
        let picks = route::group(at, moe.experts, &choices)?;
        if let Some(routed) = &mut hooks.routed {
            routed.chosen(at as u32, &route::by_weight(&choices)).map_err(RunError::Record)?;
        }
        Ok(picks)
    }

    /// Computes the results of the picked experts, a row for each row that picked one, in the order of the picks.
    fn results(
        &self,
        (moe, layer): (&MoeSpec, &ExpertLayer<'_>),
        x: &[f32],
        (picks, held): (&[Pick], Option<&Held<'_>>),
        (gate, up): (&mut Vec<f32>, &mut Vec<f32>),
        hooks: &mut Hooks<'_>,
    ) -> Vec<f32> {
        let hidden = self.spec.hidden;
        let outer: Vec<_> =
            picks.iter().map(|pick| ExpertRows { expert: pick.expert as usize, rows: &pick.rows }).collect();
        let inner = self.gated((moe, layer), x, (&outer, held), (gate, up), hooks);
        let places: Vec<usize> = (0..inner.len() / moe.intermediate).collect();
        let mut rest = &places[..];
        let inner_picks: Vec<_> = outer
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
        let held = held.map(|held| held.weights(2, &layer.down, moe.experts));
        let (inner, picks) = ((places.len(), inner), (&*inner_picks, held.as_deref()));
        layer.down.apply(self.multiplier, moe.experts, inner, picks, &mut results);
        results
    }

    /// Computes the gated inner rows of the picked experts, in the order of the picks.
    fn gated<'b>(
        &self,
        (moe, layer): (&MoeSpec, &ExpertLayer<'_>),
        x: &[f32],
        (picks, held): (&[ExpertRows<'_>], Option<&Held<'_>>),
        (gate, up): (&'b mut Vec<f32>, &mut Vec<f32>),
        hooks: &mut Hooks<'_>,
    ) -> &'b [f32] {
        let (inner, hidden) = (moe.intermediate, self.spec.hidden);
        let input = (x.len() / hidden, x);
        let count: usize = picks.iter().map(|pick| pick.rows.len()).sum();
        if hooks.observer.is_some() {
            for pick in picks {
                let input: Vec<f32> = pick.rows.iter().flat_map(|row| &x[row * hidden..][..hidden]).copied().collect();
                let mut names = layer.up.shown(pick.expert);
                names.extend(layer.gate.iter().flat_map(|gate| gate.shown(pick.expert)));
                hooks.show(&names, Some(pick.expert), hidden, &input);
            }
        }
        let held_up = held.map(|held| held.weights(1, &layer.up, moe.experts));
        let up_picks = (picks, held_up.as_deref());
        gate.resize(count * inner, 0.0);
        if let Some(layer_gate) = &layer.gate {
            let held_gate = held.map(|held| held.weights(0, layer_gate, moe.experts));
            up.resize(count * inner, 0.0);
            layer_gate.apply(self.multiplier, moe.experts, input, (picks, held_gate.as_deref()), gate);
            layer.up.apply(self.multiplier, moe.experts, input, up_picks, up);
        } else {
            let mut both = vec![0.0; count * 2 * inner];
            layer.up.apply(self.multiplier, moe.experts, input, up_picks, &mut both);
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
