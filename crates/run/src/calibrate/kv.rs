//! What low-rank factors of the projections to keys and values lose.

use longshore_transform::low_rank::{Loss, loss};

use super::{
    collect::{Grams, Squares},
    error::CalibrateError,
    passes::pass,
};
use crate::{
    error::RunError,
    model::Model,
    perplexity::Windows,
    weights::{Linear, Projections},
};

/// What factors of one layer's keys and values lose.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct KvLoss {
    /// Number of the layer.
    pub layer: usize,
    /// Keys and values of a token together, which is the full rank.
    pub full: usize,
    /// Norm of the error over the norm of keys and values, with factors that the weights alone decide.
    pub plain: f64,
    /// The same with factors that the inputs decide, too.
    pub weighted: f64,
}

/// Runs the windows of a text, and computes for each layer what factors of rank `rank` of the projections to keys and values,
/// one below the other, lose of them. Nothing is written. `memory` bounds the products of inputs that are collected at a time, in
/// bytes. `progress` hears of the tokens that were run and of their whole number.
///
/// # Errors
///
/// [`CalibrateError`]: also for a model whose layers have no such projections.
pub fn kv_losses(
    model: &Model,
    windows: Windows<'_>,
    rank: usize,
    memory: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<KvLoss>, CalibrateError> {
    let in_pass = windows.count() * windows.size;
    if in_pass == 0 {
        return Err(RunError::Empty.into());
    }
    let bound = model.bind();
    let projections = bound.layers.iter().map(|layer| match &layer.attention.projections {
        Projections::Plain { k, v, .. } => Ok([k, v]),
        Projections::Grouped { .. } => Err("one matrix for queries, keys and values of each head"),
        Projections::Latent { .. } => Err("keys and values that are compressed already"),
    });
    let projections: Vec<[&Linear<'_>; 2]> =
        projections.collect::<Result<_, _>>().map_err(|found| CalibrateError::Projections { found })?;
    let is_key = |name: &str| projections.iter().any(|[k, _]| k.name == name);
    let mut squares = Squares::new(model.spec().moe.as_ref().map_or(0, |moe| moe.experts));
    pass(model, windows, &mut squares, &mut |done| progress(done, in_pass))?;
    let layers = squares.layers(Some(&is_key));
    let passes = layers.split(memory)?;
    let all = in_pass * (1 + passes.len());
    let mut losses = Vec::with_capacity(projections.len());
    for (at, chosen) in passes.iter().enumerate() {
        let mut grams = Grams::new(&layers, chosen.clone());
        pass(model, windows, &mut grams, &mut |done| progress(in_pass * (at + 1) + done, all))?;
        for (input, products) in grams.finish() {
            let of_input =
                projections.iter().enumerate().filter(|(_, [k, _])| layers.of_weight.get(&k.name) == Some(&input));
            for (layer, parts) in of_input {
                let columns = parts[0].weights.columns();
                let weights: Vec<f32> = parts.iter().flat_map(|part| decoded(part)).collect();
                let Loss { plain, weighted } = loss(&weights, columns, &products, rank);
                losses.push(KvLoss { layer, full: weights.len() / columns, plain, weighted });
            }
        }
    }
    losses.sort_by_key(|loss| loss.layer);
    Ok(losses)
}

fn decoded(linear: &Linear<'_>) -> Vec<f32> {
    let rows: Vec<usize> = (0..linear.out()).collect();
    let mut values = vec![0.0; rows.len() * linear.weights.columns()];
    linear.weights.decode_rows(&rows, &mut values).expect("they are its rows");
    values
}
