//! What low-rank factors of the projections to keys and values lose.

use std::sync::atomic::Ordering;

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

/// Keys and values of a token together, at most, in a layer that is computed: 32 heads of 128 numbers for each. The work for a layer
/// grows with the cube: some seconds at 2,048, some minutes here.
const MOST: usize = 8192;

/// Progress of [`kv_losses`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KvProgress {
    /// So many tokens of all passes were run. The whole number rises when the number of passes is known.
    Tokens {
        /// Tokens that were run.
        done: usize,
        /// Their whole number.
        all: usize,
    },
    /// The losses of so many layers were computed.
    Layers {
        /// Layers that are done.
        done: usize,
        /// Number of layers.
        all: usize,
    },
}

/// Runs the windows of a text, and computes for each layer what factors of rank `rank` of the projections to keys and values,
/// one below the other, lose of them. Nothing is written. `memory` bounds the products of inputs that are collected at a time, in
/// bytes. The flag that the model was opened with stops it between two windows and between two layers.
///
/// # Errors
///
/// [`CalibrateError`]: [`Projections`](CalibrateError::Projections) for a model whose layers have no such projections,
/// [`Rows`](CalibrateError::Rows) for one that has more keys and values than 8,192 in a layer, [`Memory`](CalibrateError::Memory) where the
/// products of one input take more than `memory`.
pub fn kv_losses(
    model: &Model,
    windows: Windows<'_>,
    rank: usize,
    memory: usize,
    progress: &mut dyn FnMut(KvProgress),
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
    check_rows(projections.iter().map(|parts| parts.iter().map(|part| part.out()).sum()))?;
    let is_key = |name: &str| projections.iter().any(|[k, _]| k.name == name);
    let mut squares = Squares::new(model.spec().moe.as_ref().map_or(0, |moe| moe.experts));
    pass(model, windows, &mut squares, &mut |done| progress(KvProgress::Tokens { done, all: in_pass }))?;
    let layers = squares.layers(Some(&is_key));
    let passes = layers.split(memory)?;
    let all = in_pass * (1 + passes.len());
    let mut losses = Vec::with_capacity(projections.len());
    for (at, chosen) in passes.iter().enumerate() {
        let mut grams = Grams::new(&layers, chosen.clone());
        let before = in_pass * (at + 1);
        pass(model, windows, &mut grams, &mut |done| progress(KvProgress::Tokens { done: before + done, all }))?;
        for (input, products) in grams.finish() {
            let of_input =
                projections.iter().enumerate().filter(|(_, [k, _])| layers.of_weight.get(&k.name) == Some(&input));
            for (layer, parts) in of_input {
                if model.options().cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                    return Err(RunError::Cancelled.into());
                }
                let columns = parts[0].weights.columns();
                let weights: Vec<f32> = parts.iter().flat_map(|part| decoded(part)).collect();
                let Loss { plain, weighted } = loss(&weights, columns, &products, rank);
                losses.push(KvLoss { layer, full: weights.len() / columns, plain, weighted });
                progress(KvProgress::Layers { done: losses.len(), all: projections.len() });
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

/// Refuses layers of more keys and values of a token than are computed.
fn check_rows(layers: impl Iterator<Item = usize>) -> Result<(), CalibrateError> {
    match layers.enumerate().find(|(_, rows)| *rows > MOST) {
        Some((layer, rows)) => Err(CalibrateError::Rows { layer, rows, most: MOST }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_that_would_take_hours_are_refused() {
        check_rows([64, MOST].into_iter()).expect("they are small enough");
        let error = check_rows([64, MOST + 1, 2 * MOST].into_iter()).expect_err("one is too large").to_string();
        assert!(error.contains("layer 1 has 8193 keys and values of a token, expected at most 8192"), "{error}");
    }
}
