//! Collection of squares and of products of inputs.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use longshore_quant::{
    FloatType,
    matmul::{Multiplier, Precision, Weights},
};

use super::error::CalibrateError;
use crate::observe::Observer;

/// Sums of the squares of the inputs of one weight.
#[derive(Debug)]
pub(super) struct Sums {
    /// Number of input channels.
    pub(super) columns: usize,
    /// Number of experts, for a stack.
    pub(super) experts: Option<usize>,
    /// `[columns]`, or `[experts, columns]`.
    pub(super) squares: Vec<f64>,
    /// Number of rows, for each expert of a stack.
    pub(super) rows: Vec<u64>,
    /// First weight that reads the same input.
    input: String,
}

/// Collector of squares.
#[derive(Debug)]
pub(super) struct Squares {
    experts: usize,
    pub(super) weights: BTreeMap<String, Sums>,
}

impl Squares {
    /// Creates a collector for a model with this many experts in a layer.
    pub(super) fn new(experts: usize) -> Self {
        Self { experts, weights: BTreeMap::new() }
    }

    /// Lists the inputs whose products are to be collected: those of the weights that `chosen` takes.
    pub(super) fn layers(&self, chosen: Option<&dyn Fn(&str) -> bool>) -> Layers {
        let mut layers = Layers::default();
        for (name, sums) in self.weights.iter().filter(|(name, _)| chosen.is_none_or(|chosen| chosen(name))) {
            let at = *layers.places.entry(sums.input.clone()).or_insert_with(|| {
                layers.inputs.push(Input {
                    name: sums.input.clone(),
                    columns: sums.columns,
                    experts: sums.experts,
                    rows: sums.rows.clone(),
                });
                layers.inputs.len() - 1
            });
            layers.of_weight.insert(name.clone(), at);
        }
        layers
    }
}

impl Observer for Squares {
    fn input(&mut self, weights: &[&str], expert: Option<usize>, columns: usize, x: &[f32]) {
        let mut of_input = vec![0.0f64; columns];
        for row in x.chunks_exact(columns) {
            of_input.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
        }
        let rows = (x.len() / columns) as u64;
        for (at, name) in weights.iter().enumerate() {
            if weights[..at].contains(name) {
                continue;
            }
            // The experts of a checkpoint may be weights of their own, whose names say which.
            let stacked = expert.filter(|expert| !name.contains(&format!("experts.{expert}.")));
            let experts = stacked.map(|_| self.experts);
            let sums = self.weights.entry((*name).to_owned()).or_insert_with(|| Sums {
                columns,
                experts,
                squares: vec![0.0; columns * experts.unwrap_or(1)],
                rows: vec![0; experts.unwrap_or(1)],
                input: weights[0].to_owned(),
            });
            let place = stacked.unwrap_or(0);
            sums.rows[place] += rows;
            sums.squares[place * columns..][..columns].iter_mut().zip(&of_input).for_each(|(sum, more)| *sum += more);
        }
    }
}

/// Inputs whose products are collected.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) inputs: Vec<Input>,
    places: HashMap<String, usize>,
    /// Number of the input of each weight.
    pub(super) of_weight: BTreeMap<String, usize>,
}

/// One input, named by the first weight that reads it.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) columns: usize,
    pub(super) experts: Option<usize>,
    pub(super) rows: Vec<u64>,
}

impl Input {
    /// Number of products.
    pub(super) fn len(&self) -> usize {
        self.columns * self.columns * self.experts.unwrap_or(1)
    }
}

impl Layers {
    pub(super) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Divides the inputs into passes, so that the products of each take at most `memory` bytes.
    pub(super) fn split(&self, memory: usize) -> Result<Vec<Range<usize>>, CalibrateError> {
        let (mut passes, mut start, mut bytes) = (Vec::new(), 0, 0usize);
        for (at, input) in self.inputs.iter().enumerate() {
            // The sums, and the products of one block beside them.
            let needed = 4 * (input.len() + input.columns * input.columns);
            if needed > memory {
                return Err(CalibrateError::Memory { tensor: input.name.clone(), needed, memory });
            }
            if bytes + needed > memory {
                passes.push(start..at);
                (start, bytes) = (at, 0);
            }
            bytes += needed;
        }
        if start < self.inputs.len() {
            passes.push(start..self.inputs.len());
        }
        Ok(passes)
    }
}

/// Collector of products.
#[derive(Debug)]
pub(super) struct Grams<'l> {
    layers: &'l Layers,
    chosen: Range<usize>,
    sums: Vec<Vec<f32>>,
}

impl<'l> Grams<'l> {
    /// Creates a collector for some of the inputs.
    pub(super) fn new(layers: &'l Layers, chosen: Range<usize>) -> Self {
        let sums = layers.inputs[chosen.clone()].iter().map(|input| vec![0.0; input.len()]).collect();
        Self { layers, chosen, sums }
    }

    /// Returns the means of the products, with the numbers of the inputs.
    pub(super) fn finish(mut self) -> Vec<(usize, Vec<f32>)> {
        for (at, sums) in self.chosen.clone().zip(&mut self.sums) {
            let input = &self.layers.inputs[at];
            for (sums, rows) in sums.chunks_exact_mut(input.columns * input.columns).zip(&input.rows) {
                let factor = 1.0 / (*rows).max(1) as f32;
                for sum in sums {
                    *sum *= factor;
                }
            }
        }
        self.chosen.zip(self.sums).collect()
    }
}

impl Observer for Grams<'_> {
    fn input(&mut self, weights: &[&str], expert: Option<usize>, columns: usize, x: &[f32]) {
        let Some(at) = self.layers.places.get(weights[0]).copied().filter(|at| self.chosen.contains(at)) else {
            return;
        };
        let place = expert.filter(|_| self.layers.inputs[at].experts.is_some()).unwrap_or(0);
        let sums = &mut self.sums[at - self.chosen.start][place * columns * columns..][..columns * columns];
        // The columns of the input, as rows: their products with each other are those that are wanted.
        let rows = x.len() / columns;
        let mut turned = vec![0.0f32; x.len()];
        for (row, x) in x.chunks_exact(columns).enumerate() {
            x.iter().enumerate().for_each(|(column, x)| turned[column * rows + row] = *x);
        }
        let weights = Weights::plain(FloatType::F32, [columns, rows], bytemuck::cast_slice(&turned));
        let mut products = vec![0.0f32; columns * columns];
        Multiplier::new(Precision::Exact)
            .multiply(weights.expect("the shape is that of the slice"), columns, &turned, &mut products)
            .expect("the shapes fit");
        sums.iter_mut().zip(&products).for_each(|(sum, product)| *sum += product);
    }
}
