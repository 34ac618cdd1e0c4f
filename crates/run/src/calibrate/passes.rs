//! Calibration of a model on a text.

use std::{collections::BTreeMap, path::Path};

use super::{
    collect::{Grams, Layers, Squares},
    error::CalibrateError,
    file::{Output, Statistics},
};
use crate::{error::RunError, model::Model, observe::Observer, perplexity::Windows};

/// Statistics that a calibration collects, and the memory for them.
pub struct CalibrateOptions<'o> {
    /// Whether mean products of pairs of input channels are collected as well as mean squares.
    pub hessians: bool,
    /// Weights whose products are collected, by name. `None` for all.
    pub layers: Option<&'o dyn Fn(&str) -> bool>,
    /// Bytes of memory that the products may take at a time. The text is run as often as that needs.
    pub memory: usize,
}

impl std::fmt::Debug for CalibrateOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CalibrateOptions")
            .field("hessians", &self.hessians)
            .field("memory", &self.memory)
            .finish_non_exhaustive()
    }
}

impl Default for CalibrateOptions<'_> {
    fn default() -> Self {
        Self { hessians: false, layers: None, memory: 4 << 30 }
    }
}

/// Outcome of a calibration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calibration {
    /// Number of tokens that were run.
    pub tokens: usize,
    /// Number of weights that have statistics.
    pub weights: usize,
    /// Number of arrays of products.
    pub hessians: usize,
    /// Number of times that the text was run.
    pub passes: usize,
}

/// Runs the windows of a text, collects the mean squares of every input channel of every linear layer, experts apart, and
/// writes them to the file `out`, with the given `metadata`. `progress` hears of the tokens that were run and of their whole
/// number; the second rises when the number of passes is known.
///
/// # Errors
///
/// [`CalibrateError`]. No file is left then.
pub fn calibrate(
    model: &Model,
    windows: Windows<'_>,
    options: &CalibrateOptions<'_>,
    metadata: &BTreeMap<String, String>,
    out: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Calibration, CalibrateError> {
    let count = windows.count();
    let in_pass = count * windows.size;
    if in_pass == 0 {
        return Err(RunError::Empty.into());
    }
    // A place that takes no file is told before the work.
    let output = Output::create(out)?;
    let mut squares = Squares::new(model.spec().moe.as_ref().map_or(0, |moe| moe.experts));
    pass(model, windows, &mut squares, &mut |done| progress(done, in_pass))?;
    let layers = if options.hessians { squares.layers(options.layers) } else { Layers::default() };
    if options.hessians && layers.is_empty() {
        return Err(CalibrateError::NoLayers);
    }
    let passes = layers.split(options.memory)?;
    let mut file = Statistics::begin(output, &squares, &layers, metadata)?;
    let all = in_pass * (1 + passes.len());
    for (at, chosen) in passes.iter().enumerate() {
        let mut grams = Grams::new(&layers, chosen.clone());
        pass(model, windows, &mut grams, &mut |done| progress(in_pass * (at + 1) + done, all))?;
        file.write_hessians(&grams.finish())?;
    }
    file.finish()?;
    Ok(Calibration {
        tokens: in_pass,
        weights: squares.weights.len(),
        hessians: layers.len(),
        passes: 1 + passes.len(),
    })
}

/// Runs all windows once.
pub(super) fn pass(
    model: &Model,
    windows: Windows<'_>,
    observer: &mut dyn Observer,
    progress: &mut dyn FnMut(usize),
) -> Result<(), RunError> {
    let mut session = model.session();
    for window in 0..windows.count() {
        session.truncate(0);
        session.observe(&windows.get(window), observer)?;
        progress((window + 1) * windows.size);
    }
    Ok(())
}
