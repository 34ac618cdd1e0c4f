//! Linear layers: matrices that are multiplied as they are stored.

use longshore_quant::matmul::{ExpertRows, Multiplier, Product, Weights};

use super::update::Update;

/// A linear layer.
#[derive(Debug, Clone)]
pub(crate) struct Linear<'w> {
    /// Name of the weight in the model.
    pub(crate) name: String,
    pub(crate) weights: Weights<'w>,
    pub(crate) bias: Option<&'w [f32]>,
    /// What an adapter adds.
    pub(crate) updates: Vec<Update<'w>>,
}

impl Linear<'_> {
    /// Number of elements that the layer gives for each row.
    pub(crate) fn out(&self) -> usize {
        self.weights.rows()
    }

    /// Computes `y`, `[rows, out]`, from `x`, `[rows, in]`.
    pub(crate) fn apply(&self, multiplier: Multiplier, rows: usize, x: &[f32], y: &mut [f32]) {
        multiplier.multiply(self.weights, rows, x, y).expect("buffers are as long as the shapes say");
        self.add(multiplier, (rows, x), y);
    }

    /// Computes layers that share an input.
    pub(crate) fn apply_all<const N: usize>(
        multiplier: Multiplier,
        layers: [&Self; N],
        (rows, x): (usize, &[f32]),
        mut outputs: [&mut [f32]; N],
    ) {
        let mut products = Vec::with_capacity(N);
        for (layer, y) in layers.iter().zip(&mut outputs) {
            products.push(Product { weights: layer.weights, y });
        }
        multiplier.multiply_all(rows, x, &mut products).expect("buffers are as long as the shapes say");
        for (layer, y) in layers.iter().zip(outputs) {
            layer.add(multiplier, (rows, x), y);
        }
    }

    /// Adds what adapters and the bias give.
    fn add(&self, multiplier: Multiplier, input: (usize, &[f32]), y: &mut [f32]) {
        for update in &self.updates {
            update.add(multiplier, input, self.out(), y);
        }
        let Some(bias) = self.bias else { return };
        for row in y.chunks_exact_mut(bias.len().max(1)) {
            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    }
}

/// The same linear layer of all experts.
#[derive(Debug, Clone)]
pub(crate) struct Experts<'w> {
    /// Name of the stack, or names of the experts' weights.
    pub(crate) names: Vec<String>,
    stack: Option<Weights<'w>>,
    each: Vec<Weights<'w>>,
    /// `[experts, out]`.
    bias: Option<&'w [f32]>,
    /// For each expert of a list.
    biases: Vec<Option<&'w [f32]>>,
}

impl<'w> Experts<'w> {
    /// Makes the layer of a stack, `[experts × out, in]`, which may have a global scale, or one for each expert.
    pub(crate) fn stacked(
        name: String,
        stack: Weights<'w>,
        experts: usize,
        scales: &[f32],
        bias: Option<&'w [f32]>,
    ) -> Self {
        let out = stack.rows() / experts.max(1);
        let of = |at: usize| stack.range(at * out..(at + 1) * out).expect("the stack has that many rows");
        let (stack, each) = match scales {
            [] => (Some(stack), Vec::new()),
            [scale] => (Some(stack.with_global_scale(*scale)), Vec::new()),
            scales => (None, scales.iter().enumerate().map(|(at, scale)| of(at).with_global_scale(*scale)).collect()),
        };
        Self { names: vec![name], stack, each, bias, biases: Vec::new() }
    }

    /// Makes the layer of matrices of their own.
    pub(crate) fn listed(layers: Vec<Linear<'w>>) -> Self {
        let biases = layers.iter().map(|layer| layer.bias).collect();
        let (names, each) = layers.into_iter().map(|layer| (layer.name, layer.weights)).unzip();
        Self { names, stack: None, each, bias: None, biases }
    }

    /// Number of elements that one expert gives for each row.
    pub(crate) fn out(&self, experts: usize) -> usize {
        self.stack.map_or_else(|| self.each.first().map_or(0, Weights::rows), |stack| stack.rows() / experts.max(1))
    }

    /// Name of the weight of an expert: its own, or that of the stack.
    pub(crate) fn shown(&self, expert: usize) -> Vec<&str> {
        vec![if self.names.len() == 1 { &self.names[0] } else { &self.names[expert] }]
    }

    /// Weights of one expert, as they are mapped.
    pub(crate) fn of(&self, expert: usize, experts: usize) -> Weights<'w> {
        let Some(stack) = self.stack else { return self.each[expert] };
        let out = self.out(experts);
        stack.range(expert * out..(expert + 1) * out).expect("the stack has that many rows")
    }

    /// Computes a row of `y` for each row that an expert is picked for, in the order of the picks. `held` has the weights of each pick
    /// where they are elsewhere than mapped.
    pub(crate) fn apply(
        &self,
        multiplier: Multiplier,
        experts: usize,
        (rows, x): (usize, &[f32]),
        (picks, held): (&[ExpertRows<'_>], Option<&[Weights<'_>]>),
        y: &mut [f32],
    ) {
        let out = self.out(experts);
        if let (Some(stack), None) = (self.stack, held) {
            multiplier.multiply_experts(stack, experts, (rows, x), picks, y).expect("picks are within the shapes");
        } else {
            let mut rest = &mut *y;
            for (at, pick) in picks.iter().enumerate() {
                let weights = held.map_or_else(|| self.each[pick.expert], |held| held[at]);
                let columns = weights.columns();
                let input: Vec<f32> =
                    pick.rows.iter().flat_map(|row| &x[row * columns..][..columns]).copied().collect();
                let y = rest.split_off_mut(..pick.rows.len() * out).expect("y has a row for each pick");
                multiplier.multiply(weights, pick.rows.len(), &input, y).expect("the shapes were checked");
            }
        }
        let picked = picks.iter().flat_map(|pick| pick.rows.iter().map(|_| pick.expert));
        for (expert, y) in picked.zip(y.chunks_exact_mut(out.max(1))) {
            let bias = match self.bias {
                Some(bias) => &bias[expert * out..][..out],
                None => self.biases.get(expert).copied().flatten().unwrap_or_default(),
            };
            y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_quant::{FloatType, matmul::Precision};

    use super::*;

    #[test]
    fn a_bias_stays_with_its_expert() {
        let bytes: Vec<u8> = [1.0f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let weights = Weights::plain(FloatType::F32, [1, 2], &bytes).expect("the shape is that of the bytes");
        let layer = |bias| Linear { name: String::new(), weights, bias, updates: Vec::new() };
        let experts = Experts::listed(vec![layer(None), layer(Some(&[10.0][..]))]);
        let picks = [0, 1].map(|expert| ExpertRows { expert, rows: &[0] });
        let mut y = [0.0; 2];
        experts.apply(Multiplier::new(Precision::Exact), 2, (1, &[3.0, 4.0]), (&picks, None), &mut y);
        assert_eq!(y.map(f32::to_bits), [11.0f32, 21.0].map(f32::to_bits));
    }
}
